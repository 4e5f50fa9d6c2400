"""What a certificate says and whether it holds; and what a real server presents, over real sockets."""

import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.errors import ConfigError, FederationError, SiloganError, VerificationError
from silogan.common.operations.certificates import (
    CertificateFacts,
    clock_skew,
    fetch_certificate,
    load_authorities,
    load_certificates,
    parse_name,
    verify_server_certificate,
)
from silogan.server.operations.authority import Authority
from tests.tls import Server, serving

NOW = datetime.now(UTC)
YEARS = timedelta(days=800)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def made(folder: Path, names: list[str] | None = None, at: datetime = NOW) -> Authority:
    folder.mkdir()
    authority = Authority.create(folder, at=at)
    authority.renew(names or ["fl.example.org", "10.0.0.1"], at=at)
    return authority


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return made(tmp_path_factory.mktemp("certificates") / "server")


@pytest.fixture
def server(good: Authority) -> Iterator[Server]:
    with serving(good.folder) as running:
        yield running


def verify(
    authority: Authority, name: str, *, trusted: Authority | None = None, at: datetime = NOW
) -> CertificateFacts:
    authorities = load_authorities((trusted or authority).ca_pem)
    return verify_server_certificate(load_certificates(authority.server_pem), authorities, [name], at)


# --- what it says ----------------------------------------------------------------------------------------------------


def test_facts_are_the_certificate_s_own(good: Authority) -> None:
    facts = CertificateFacts.of(load_certificates(good.server_pem)[0])
    assert facts.names == ("fl.example.org", "10.0.0.1", "localhost", "127.0.0.1")
    assert facts.issuer == load_certificates(good.ca_pem)[0].subject.rfc4514_string()
    assert facts.not_before < NOW < facts.not_after
    assert facts.days_left(NOW) in (396, 397)  # whole seconds are cut off
    assert facts.days_left(NOW + timedelta(days=398)) < 0


@pytest.mark.parametrize("name", ["fl.example.org", "FL.Example.ORG", "10.0.0.1", "a.b.example.org", "2001:db8::1"])
def test_name_is_covered(name: str) -> None:
    assert CertificateFacts(("fl.example.org", "*.b.example.org", "10.0.0.1", "2001:db8:0::1"), "", NOW, NOW).covers(
        name
    )


@pytest.mark.parametrize("name", ["example.org", "x.fl.example.org", "10.0.0.2", "b.example.org", "x.y.b.example.org"])
def test_name_is_not_covered(name: str) -> None:
    assert not CertificateFacts(("fl.example.org", "*.b.example.org", "10.0.0.1"), "", NOW, NOW).covers(name)


@pytest.mark.parametrize(
    "name",
    ["", " ", "https://fl.example.org", "fl.example.org:443", "fl.example.org.", "-a.org", "a..b", "hôpital.fr", "a_b",
     "10.0.0.256", "10.0.0.0/8", "fe80::1%eth0", "[::1]", "*", "*.", "a.*.b", "x" * 64, ".".join("x" * 128), "a\nb"],
)  # fmt: skip
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a host name or IP address"):
        parse_name(name)


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_an_error_of_ours(text: str) -> None:
    try:
        assert str(parse_name(text).value).isascii()
    except ConfigError:
        assert not text.isalpha() or not text.isascii() or text == ""


# --- whether it holds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fl.example.org", "10.0.0.1", "localhost"])
def test_good_certificate_holds(good: Authority, name: str) -> None:
    assert name in verify(good, name).names


@pytest.mark.parametrize(
    ("at", "words"), [(NOW - timedelta(days=2), "is not valid before"), (NOW + YEARS, r"expired on 20\d\d-")]
)
def test_dates_are_checked(good: Authority, at: datetime, words: str) -> None:
    with pytest.raises(VerificationError, match=f"server certificate: {words}"):
        verify(good, "fl.example.org", at=at)


def test_wrong_name_is_told_with_the_right_ones(good: Authority) -> None:
    with pytest.raises(VerificationError, match=r"is for fl\.example\.org, .* not for other\.example\.org"):
        verify(good, "other.example.org")


def test_authority_of_another_is_not_enough(good: Authority, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="is not validly signed by 'CN=SiloGAN"):
        verify(good, "fl.example.org", trusted=made(tmp_path / "other"))


def test_authority_that_has_expired_is_named(good: Authority, tmp_path: Path) -> None:
    old = made(tmp_path / "old", at=NOW - timedelta(days=4000))
    with pytest.raises(VerificationError, match=r"authority 'CN=SiloGAN .*expired on"):
        verify(good, "fl.example.org", trusted=old)


def test_bundle_of_two_authorities_serves_both(good: Authority, tmp_path: Path) -> None:
    new = made(tmp_path / "new")
    new.ca_pem.write_bytes(new.ca_pem.read_bytes() + good.ca_pem.read_bytes())
    assert len(load_authorities(new.ca_pem)) == 2
    for signer in (good, new):
        verify(signer, "fl.example.org", trusted=new)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no readable certificate"),
        (b"\xff\x00" * 500, "holds no readable certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no readable certificate"),
        (b"x" * (2 << 20), "too large"),
    ],
)
def test_file_without_a_certificate(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        load_certificates(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "ca.pem", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_certificates(path)


def test_private_key_is_not_taken_for_something_to_give_away(good: Authority, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(good.ca_pem.read_bytes() + good.ca_key.read_bytes())
    with pytest.raises(ConfigError, match="holds a private key"):
        load_certificates(path)


def test_server_certificate_is_no_authority(good: Authority) -> None:
    with pytest.raises(ConfigError, match="may not sign certificates"):
        load_authorities(good.server_pem)


# --- what a server presents ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_presented_certificate_is_fetched(good: Authority, server: Server, host: str) -> None:
    assert fetch_certificate(host, server.port, good.ca_pem) == CertificateFacts.of(
        load_certificates(good.server_pem)[0]
    )


@pytest.mark.parametrize(
    ("at", "words"), [(NOW - YEARS, "has expired; have the coordinator renew"), (NOW + YEARS, "not yet valid; .*clock")]
)
def test_presented_certificate_s_dates_are_checked(tmp_path: Path, good: Authority, at: datetime, words: str) -> None:
    """The authority holds throughout; the server's certificate does not."""
    folder = tmp_path / "server"
    authority = made(folder, at=NOW - timedelta(days=1000))
    authority.renew(at=at)
    with serving(folder) as server, pytest.raises(VerificationError, match=words):
        fetch_certificate("localhost", server.port, authority.ca_pem)


@pytest.mark.parametrize("host", ["127.0.0.2", "ip6-localhost"])
def test_presented_certificate_must_have_the_name(
    good: Authority, server: Server, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, *rest, **kinds: resolve("127.0.0.1", *rest, **kinds))
    with pytest.raises(VerificationError, match="certificate for another name"):
        fetch_certificate(host, server.port, good.ca_pem)


def test_presented_certificate_must_be_signed_by_ours(server: Server, tmp_path: Path) -> None:
    other = made(tmp_path / "other")
    with pytest.raises(VerificationError, match="certificate that is not trusted"):
        fetch_certificate("localhost", server.port, other.ca_pem)


def test_plain_http_is_told_from_tls(good: Authority) -> None:
    with serving(None) as server, pytest.raises(FederationError, match="does not speak TLS"):
        fetch_certificate("localhost", server.port, good.ca_pem)


def test_refused_connection(good: Authority) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # but nobody listens
        with pytest.raises(FederationError, match="refuses the connection"):
            fetch_certificate("127.0.0.1", bound.getsockname()[1], good.ca_pem)


def test_silence_times_out(good: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(FederationError, match="not answer in time"):
        fetch_certificate("127.0.0.1", silent.getsockname()[1], good.ca_pem, seconds=0.2)


def test_connection_that_is_ended_at_once(good: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def end() -> None:
            connection, _ = listening.accept()
            connection.recv(4096)
            connection.close()

        thread = Thread(target=end)
        thread.start()
        with pytest.raises(FederationError, match="closes the connection"):
            fetch_certificate("127.0.0.1", listening.getsockname()[1], good.ca_pem)
        thread.join()


def test_name_that_is_not_resolved(good: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:  # a real resolver may take its time
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(FederationError, match=r"server 'fl\.example\.invalid:443': has a name that cannot be resolved"):
        fetch_certificate("fl.example.invalid", 443, good.ca_pem)


def test_faults_of_the_arguments_come_first(good: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a host name"):
        fetch_certificate("https://localhost", 443, good.ca_pem)
    with pytest.raises(ConfigError, match=r"'none\.pem': cannot be read"):
        fetch_certificate("localhost", 443, tmp_path / "none.pem")


# --- the clock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-3600, 0, 86400])
def test_clock_skew_is_this_clock_s_lead(good: Authority, server: Server, ahead: int) -> None:
    server.date = format_datetime(datetime.now(UTC) - timedelta(seconds=ahead), usegmt=True)
    assert clock_skew("localhost", server.port, good.ca_pem) == pytest.approx(ahead, abs=60)  # a slow machine


@pytest.mark.parametrize("date", ["", "soon", "Mon, 99 Foo 2026 00:00:00 GMT", "Mon, 01 Jan 99999999999 00:00:00 GMT"])
def test_answer_without_a_date(good: Authority, server: Server, date: str) -> None:
    server.date = date
    with pytest.raises(FederationError, match="answers without a date"):
        clock_skew("localhost", server.port, good.ca_pem)


# --- through a proxy -------------------------------------------------------------------------------------------------


@pytest.fixture
def http_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], list[bytes]]]:
    """`http_proxy(answer)`: sets HTTPS_PROXY to a proxy that so answers one CONNECT, then passes bytes on."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(10)
    threads: list[Thread] = []

    def start(answer: bytes) -> list[bytes]:
        asked: list[bytes] = []

        def serve() -> None:
            with listening.accept()[0] as client:
                asked.append(client.recv(4096))
                client.sendall(answer)
                if b" 200 " in answer:
                    port = int(asked[0].split()[1].rpartition(b":")[2])
                    with socket.create_connection(("127.0.0.1", port)) as server:
                        back = Thread(target=pump, args=(server, client))
                        back.start()
                        pump(client, server)
                        back.join()

        threads.append(Thread(target=serve))
        threads[0].start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hidden@127.0.0.1:{listening.getsockname()[1]}")
        return asked

    yield start
    for thread in threads:
        thread.join()
    listening.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while content := source.recv(4096):
            sink.sendall(content)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_proxy_is_used_where_one_is_set(
    good: Authority, server: Server, http_proxy: Callable[[bytes], list[bytes]]
) -> None:
    asked = http_proxy(b"HTTP/1.1 200 Connection established\r\n\r\n")
    assert "localhost" in fetch_certificate("localhost", server.port, good.ca_pem).names
    assert asked[0].startswith(f"CONNECT localhost:{server.port} ".encode())


def test_proxy_that_refuses_is_told_from_the_server(
    good: Authority, http_proxy: Callable[[bytes], list[bytes]]
) -> None:
    http_proxy(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(FederationError, match=r"through the proxy of HTTPS_PROXY.*blocked by the proxy") as refused:
        fetch_certificate("fl.example.org", 443, good.ca_pem)
    assert "hidden" not in str(refused.value)


def test_no_proxy_is_obeyed(good: Authority, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(SiloganError, match="through the proxy"):
        fetch_certificate("localhost", server.port, good.ca_pem)
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert fetch_certificate("localhost", server.port, good.ca_pem)


@pytest.mark.parametrize("url", ["nonsense://x", "http://[::1", "http://proxy:port"])
def test_proxy_that_is_no_address(good: Authority, server: Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(ConfigError, match="HTTPS_PROXY: is not a proxy address"):
        fetch_certificate("localhost", server.port, good.ca_pem)


def test_own_authorities_please_openssl_when_it_is_strict(good: Authority, server: Server) -> None:
    """Python 3.13 sets this flag by default."""
    context = ssl.create_default_context(cafile=str(good.ca_pem))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", server.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() == "TLSv1.3"
