"""The coordinator's own authority, an institution's certificates, and what becomes of both."""

import errno
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from silogan.common.errors import ConfigError, VerificationError
from silogan.common.operations.certificates import (
    CertificateFacts,
    fetch_certificate,
    load_authorities,
    load_certificates,
)
from silogan.server.operations.authority import Authority
from tests.tls import serving

NOW = datetime.now(UTC)
NAMES = ["fl.example.org"]
posix = pytest.mark.skipif(os.name != "posix", reason="this system has other permissions")


@pytest.fixture
def own(tmp_path: Path) -> Authority:
    authority = Authority.create(tmp_path)
    authority.renew(NAMES)
    return authority


def contents(authority: Authority) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in authority.folder.iterdir()}


# --- an authority of its own -----------------------------------------------------------------------------------------


def test_folder_holds_four_files_that_fit(own: Authority) -> None:
    assert sorted(contents(own)) == ["ca.key", "ca.pem", "server.key", "server.pem"]
    assert own.check([*NAMES, "localhost", "127.0.0.1"]).names == ("fl.example.org", "localhost", "127.0.0.1")


def test_authority_signs_servers_only_and_for_ten_years(own: Authority) -> None:
    (certificate,) = load_authorities(own.ca_pem)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    assert 3650 <= CertificateFacts.of(certificate).days_left() <= 3653
    (server,) = load_certificates(own.server_pem)
    purposes = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@posix
def test_keys_are_their_owner_s_alone(own: Authority) -> None:
    assert {path.stat().st_mode & 0o777 for path in (own.ca_key, own.server_key)} == {0o600}
    own.ca_key.chmod(0o640)
    with pytest.raises(VerificationError, match=r"ca\.key.*open to other users"):
        own.renew()
    own.server_key.chmod(0o644)
    with pytest.raises(VerificationError, match=r"server\.key.*open to other users"):
        own.check(NAMES)


def test_what_is_there_is_never_overwritten(own: Authority) -> None:
    before = contents(own)
    Authority.create(own.folder, "another")
    assert contents(own) == before


def test_interrupted_creation_is_completed_with_the_same_key(own: Authority) -> None:
    key = own.ca_key.read_bytes()
    own.ca_pem.unlink()
    Authority.create(own.folder)
    assert own.ca_key.read_bytes() == key
    own.check(NAMES)


def test_certificate_without_its_key_is_not_replaced(own: Authority) -> None:
    own.ca_key.unlink()
    before = contents(own)
    Authority.create(own.folder)
    assert contents(own) == before


def test_two_authorities_of_one_name_can_be_told_apart(tmp_path: Path) -> None:
    subjects: set[str] = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        authority = Authority.create(tmp_path / name, "Hospital network")
        subjects.add(load_authorities(authority.ca_pem)[0].subject.rfc4514_string())
    assert len(subjects) == 2
    assert all(subject.startswith("CN=Hospital network ") for subject in subjects)


@pytest.mark.parametrize("name", ["", "x" * 51])
def test_name_of_an_authority(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 50 characters"):
        Authority.create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca\.key.*cannot be written"):
        Authority.create(tmp_path / "none")


# --- renewal ---------------------------------------------------------------------------------------------------------


def test_renewed_certificate_needs_nothing_at_the_hospitals(own: Authority, tmp_path: Path) -> None:
    hospital = tmp_path / "hospital.pem"
    hospital.write_bytes(own.ca_pem.read_bytes())
    first = load_certificates(own.server_pem)[0].serial_number
    key = own.server_key.read_bytes()
    facts = own.renew()
    assert facts.names == ("fl.example.org", "localhost", "127.0.0.1"), "names were not kept"
    assert load_certificates(own.server_pem)[0].serial_number != first
    assert own.server_key.read_bytes() == key
    with serving(own.folder) as server:
        assert fetch_certificate("localhost", server.port, hospital) == facts


def test_names_may_change(own: Authority) -> None:
    assert own.renew(["*.new.example.org", "2001:db8::1"]).covers("a.new.example.org")
    own.check(["a.new.example.org", "2001:db8::1"])
    with pytest.raises(VerificationError, match=r"not for fl\.example\.org"):
        own.check(NAMES)


def test_deleted_key_is_made_anew(own: Authority) -> None:
    key = own.server_key.read_bytes()
    own.server_key.unlink()
    own.renew()
    assert own.server_key.read_bytes() != key
    own.check(NAMES)


def test_days_are_as_asked_but_within_the_authority_s(own: Authority) -> None:
    assert own.renew(days=7).days_left() in (6, 7)
    assert own.renew(days=10_000).not_after == load_authorities(own.ca_pem)[0].not_valid_after_utc
    with pytest.raises(ConfigError, match="days=0"):
        own.renew(days=0)


def test_renewal_says_that_the_key_is_off_line(own: Authority) -> None:
    own.ca_key.unlink()
    before = contents(own)
    with pytest.raises(ConfigError, match=r"ca\.key.*is missing.*bring ca\.key"):
        own.renew()
    assert contents(own) == before
    own.check(NAMES)


def test_expired_authority_signs_nothing(own: Authority) -> None:
    before = contents(own)
    with pytest.raises(VerificationError, match=r"authority in ca\.pem: has expired"):
        own.renew(at=NOW + timedelta(days=4000))
    assert contents(own) == before


@pytest.mark.parametrize("names", [["fl.example.org:443"], ["https://x.org"], ["fl.example.org", ""]])
def test_mistaken_names_leave_the_certificate(own: Authority, names: list[str]) -> None:
    before = contents(own)
    with pytest.raises(ConfigError, match="not a host name"):
        own.renew(names)
    assert contents(own) == before


@pytest.mark.parametrize("file", ["ca.key", "server.key"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 99])
def test_spoilt_key(own: Authority, file: str, content: bytes) -> None:
    (own.folder / file).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{file}.*holds no readable private key"):
        own.renew()


def test_key_of_another_kind(own: Authority) -> None:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    own.ca_key.write_bytes(key)
    with pytest.raises(ConfigError, match=r"ca\.key.*is not an EC key"):
        own.renew()


def test_full_disk_leaves_the_old_certificate(own: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(own)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"server\.pem.*No space left"):
        own.renew()
    assert contents(own) == before


# --- a new authority -------------------------------------------------------------------------------------------------


def test_authority_changes_while_hospitals_keep_their_connection(own: Authority, tmp_path: Path) -> None:
    """Old ca.pem and bundle both work until the new authority signs; then the bundle and the new one."""
    old, fresh = tmp_path / "old.pem", tmp_path / "fresh"
    old.write_bytes(own.ca_pem.read_bytes())
    fresh.mkdir()
    new = Authority.create(fresh)
    own.ca_pem.write_bytes(old.read_bytes() + new.ca_pem.read_bytes())
    own.renew()
    with serving(own.folder) as server:
        for trusted in (old, own.ca_pem):
            fetch_certificate("localhost", server.port, trusted)
    new.ca_key.replace(own.ca_key)
    own.renew()
    with serving(own.folder) as server:
        for trusted in (new.ca_pem, own.ca_pem):
            fetch_certificate("localhost", server.port, trusted)
        with pytest.raises(VerificationError, match="not trusted"):
            fetch_certificate("localhost", server.port, old)
    own.ca_pem.write_bytes(new.ca_pem.read_bytes())
    own.check(NAMES)


def test_key_that_fits_no_certificate(own: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Authority.create(tmp_path / "other").ca_key.replace(own.ca_key)
    with pytest.raises(VerificationError, match=r"matches no certificate in ca\.pem"):
        own.renew()


# --- how long --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "warning"),
    [(100, None), (31, None), (29, "expires in 2[89] days"), (1, "expires in [01] days")],
)
def test_warning_comes_thirty_days_before(own: Authority, days: int, warning: str | None) -> None:
    own.renew(days=days)
    status = own.status()
    assert status.days_left in (days - 1, days)
    assert len(status.warnings) == (warning is not None)
    assert all(re.fullmatch(rf"server\.pem {warning}; renew it", found) for found in status.warnings)


def test_status_of_what_has_expired(own: Authority) -> None:
    status = own.status(NOW + timedelta(days=4000))
    assert status.days_left < 0
    assert [warning.split(" ago")[0].split()[:2] for warning in status.warnings] == [
        ["server.pem", "expired"],
        ["ca.pem", "expired"],
    ]


def test_status_without_the_authority_s_key_says_where_to_get_a_new_one(own: Authority) -> None:
    own.ca_key.unlink()
    assert "bring ca.key" in own.status(NOW + timedelta(days=390)).warnings[0]


# --- an institution's ------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """Files as an institution hands them out: root, intermediate and server certificate, and its key."""

    chain: Path
    key: Path
    authorities: Path


@pytest.fixture
def given(tmp_path: Path) -> Given:
    folder = tmp_path / "institution"
    folder.mkdir()
    (folder.parent / "server").mkdir()
    keys = [generate_private_key(SECP256R1()) for _ in range(3)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("root", "between", "leaf")]
    made: list[x509.Certificate] = []
    for level in range(3):
        signer = max(level - 1, 0)
        builder = (
            x509.CertificateBuilder(names[signer], names[level], keys[level].public_key(), x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=20 if level == 1 else 90))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[level].public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[signer].public_key()), critical=False
            )
            .add_extension(x509.BasicConstraints(level < 2, None), critical=True)
        )
        if level == 2:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in (*NAMES, "localhost")]), critical=False
            ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        else:
            usage = (False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(x509.KeyUsage(*usage), critical=True)
        made.append(builder.sign(keys[signer], SHA256()))
    files = Given(folder / "chain.pem", folder / "key.pem", folder / "root.pem")
    root, between, leaf = (one.public_bytes(Encoding.PEM) for one in made)
    files.chain.write_bytes(leaf + between)
    files.authorities.write_bytes(root)
    files.key.write_bytes(keys[2].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return files


@pytest.fixture
def server(tmp_path: Path, given: Given) -> Path:
    return tmp_path / "server"


def test_given_certificates_are_copied_and_serve(server: Path, given: Given) -> None:
    authority = Authority.install(server, **given._asdict(), names=NAMES)
    assert sorted(contents(authority)) == ["ca.pem", "server.key", "server.pem"]
    assert authority.server_key.stat().st_mode & 0o077 == 0
    authority.check(NAMES)
    with serving(server) as running:
        assert fetch_certificate("localhost", running.port, authority.ca_pem).issuer == "CN=between"
    with pytest.raises(ConfigError, match="institution"):
        authority.renew()


def test_given_certificates_can_be_given_again(server: Path, given: Given) -> None:
    for _ in range(2):
        Authority.install(server, **given._asdict(), names=NAMES)


def test_intermediate_that_expires_first_is_what_counts(server: Path, given: Given) -> None:
    status = Authority.install(server, **given._asdict(), names=NAMES).status()
    assert status.days_left in (19, 20)
    assert [warning.split(" expires")[0] for warning in status.warnings] == ["intermediate certificate"]


def other_key(given: Given) -> None:
    key = generate_private_key(SECP256R1())
    given.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def locked_key(given: Given) -> None:
    key = load_pem_private_key(given.key.read_bytes(), None)
    given.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def certificates(path: Path) -> list[bytes]:
    return [one.public_bytes(Encoding.PEM) for one in load_certificates(path)]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_key, "does not belong to the key"),
        (locked_key, "has a password"),
        (lambda given: given.key.write_bytes(b"no key"), "no readable private key"),
        (lambda given: given.key.unlink(), "key.pem.*cannot be read"),
        (lambda given: given.chain.write_bytes(certificates(given.chain)[0]), "not validly signed by 'CN=root'"),
        (lambda given: given.chain.write_bytes(b"".join(certificates(given.chain)[::-1])), "is for no name"),
        (lambda given: given.chain.write_bytes(given.chain.read_bytes() + given.key.read_bytes()), "private key"),
        (lambda given: given.authorities.write_bytes(certificates(given.chain)[0]), "may not sign"),
    ],
    ids=["other key", "password", "no key", "missing", "no intermediate", "wrong order", "key inside", "no authority"],
)  # fmt: skip
def test_what_does_not_fit_is_not_copied(
    server: Path, given: Given, spoil: Callable[[Given], object], words: str
) -> None:
    spoil(given)
    with pytest.raises((ConfigError, VerificationError), match=words):
        Authority.install(server, **given._asdict(), names=NAMES)
    assert list(server.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [
        (["other.org"], 0, "not for other.org"),
        (NAMES, 100, "expired on"),
        (NAMES, -5, "not valid before"),
        ([], 0, "names: are missing"),
    ],
)
def test_names_and_dates_are_checked_before_copying(
    server: Path, given: Given, names: list[str], days: int, words: str
) -> None:
    with pytest.raises((ConfigError, VerificationError), match=words):
        Authority.install(server, **given._asdict(), names=names, at=NOW + timedelta(days=days))
    assert list(server.iterdir()) == []


def test_authority_of_its_own_is_not_mixed_with_another(server: Path, given: Given) -> None:
    own = Authority.create(server)
    before = contents(own)
    with pytest.raises(ConfigError, match="private authority"):
        Authority.install(server, **given._asdict(), names=NAMES)
    assert contents(own) == before


def test_interrupted_copy_is_seen_and_mended_by_another(server: Path, given: Given) -> None:
    authority = Authority.install(server, **given._asdict(), names=NAMES)
    authority.server_key.write_bytes(
        generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(VerificationError, match="does not belong to the key"):
        authority.check(NAMES)
    Authority.install(server, **given._asdict(), names=NAMES).check(NAMES)
