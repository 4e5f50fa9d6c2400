"""Server certificates (X.509, RFC 5280): their content, their validity, and the one that a server presents.

A failed check says in one line which part is wrong: the name, the date, or the signature.
`ca.pem` may hold several authorities, so that a new one can be trusted before the old one goes.
"""

import re
import ssl
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from socket import gaierror

import httpx
from cryptography import x509
from cryptography.x509 import verification

from silogan.common.errors import ConfigError, FederationError, SiloganError, VerificationError

_MOST_BYTES = 1 << 20  # of a PEM file: a bundle of every public authority has a quarter of that
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_DNS_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.IGNORECASE)

# OpenSSL's X509_V_ERR_ numbers, as `SSLCertVerificationError.verify_code` has them
_NOT_YET_VALID, _EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 9, 10, 62, 64
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}


@dataclass(frozen=True)
class CertificateFacts:
    """What a certificate says.

    Attributes:
        names: host names and addresses that it is for (subject alternative names).
        issuer: who signed it.
        not_before, not_after: when it begins and ceases to hold, in UTC.
    """

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime

    @staticmethod
    def of(certificate: x509.Certificate) -> "CertificateFacts":
        """The facts of a parsed certificate.

        Raises:
            VerificationError: its list of names cannot be read.
        """
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            names = ()
        except ValueError:
            raise VerificationError("certificate", "has extensions that cannot be read", "have it reissued") from None
        return CertificateFacts(
            tuple(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)),
            certificate.issuer.rfc4514_string(),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        )

    def days_left(self, at: datetime | None = None) -> int:
        """Whole days until it expires, counted from `at` (now); negative once it has."""
        return (self.not_after - (at or datetime.now(UTC))).days

    def covers(self, name: str) -> bool:
        """Whether it is for a host name or address; `*` stands for one label (RFC 6125)."""
        own = {each.lower() for each in self.names}
        if isinstance(parse_name(name), x509.IPAddress):
            return any(_is_address(each) and ip_address(each) == ip_address(name) for each in own)
        parent = name.lower().partition(".")[2]
        return name.lower() in own or (bool(parent) and f"*.{parent}" in own)


def parse_name(name: str) -> x509.DNSName | x509.IPAddress:
    """A host name or IP address as certificates hold them.

    Raises:
        ConfigError: it is neither.
    """
    if _is_address(name):
        return x509.IPAddress(ip_address(name))
    if len(name) > 253 or not _DNS_NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
        hint = "give a name like fl.example.org (beyond ASCII its xn-- form) or an IP address, without port"
        raise ConfigError(f"name {name!r}", "is not a host name or IP address", hint)
    return x509.DNSName(name.lower())


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Reads the certificates of a PEM file, in their order; at least one.

    Raises:
        ConfigError: the file cannot be read, holds no certificate, or a private key.
    """
    content = read_pem(path, "certificate")
    if b"PRIVATE KEY" in content:
        problem = "holds a private key, but certificates are public"
        raise ConfigError(f"certificate '{path.name}'", problem, "keep the key in a separate file")
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        hint = "give a PEM file, whose text has -----BEGIN CERTIFICATE-----"
        raise ConfigError(f"certificate '{path.name}'", "holds no readable certificate", hint) from None


def read_pem(path: Path, what: str) -> bytes:
    """The content of a small file; `what` is what an error calls it.

    Raises:
        ConfigError: it cannot be read, or is far too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{what} '{path.name}'", f"cannot be read ({error.strerror})", "give its PEM file") from None
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{what} '{path.name}'", "is too large for a PEM file", "give its PEM file")
    return content


def load_authorities(path: Path) -> list[x509.Certificate]:
    """Reads `ca.pem`: the authorities that are trusted, one or, while they change, more.

    Raises:
        ConfigError: see `load_certificates`; or one of them is not an authority.
    """
    authorities = load_certificates(path)
    for authority in authorities:
        try:
            is_authority = authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, ValueError):
            is_authority = False
        if not is_authority:
            hint = "give the certificate of the authority, not the server's"
            raise ConfigError(f"authority '{path.name}'", f"{_subject(authority)} may not sign certificates", hint)
    return authorities


def verify_server_certificate(
    chain: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    names: Sequence[str],
    at: datetime | None = None,
) -> CertificateFacts:
    """Checks that a server with this certificate will be believed.

    Args:
        chain: the server's certificate, then those of intermediate authorities.
        authorities: whom the hospitals trust.
        names: host names and addresses under which the server is called; at least one.
        at: the time for which to check, with its zone; now, if not given.

    Returns:
        What the server's certificate says.

    Raises:
        VerificationError: it does not hold yet, or no longer; it lacks one of the names; or no trusted authority has
            signed it (path validation of `cryptography.x509.verification`, the profile of the CA/Browser Forum).
        ConfigError: one of `names` is not a valid name.
    """
    at = at or datetime.now(UTC)
    facts = CertificateFacts.of(chain[0])
    _check_dates("server certificate", facts, at)
    for name in names:
        if not facts.covers(name):
            has = ", ".join(facts.names) or "no name"
            raise VerificationError(
                "server certificate", f"is for {has}, not for {name}", "have it issued for that name"
            )
    current = [one for one in authorities if one.not_valid_before_utc <= at <= one.not_valid_after_utc]
    if not current:
        _check_dates(f"authority {_subject(authorities[0])}", CertificateFacts.of(authorities[0]), at)
    subject = parse_name(names[0].replace("*", "any"))
    policy = verification.PolicyBuilder().store(verification.Store(current)).time(at)
    try:
        policy.build_server_verifier(subject).verify(chain[0], list(chain[1:]))
    except verification.VerificationError as error:
        problem = f"is not validly signed by {', '.join(map(_subject, current))} ({_reason(error)})"
        hint = "give the authority that signed it, and its intermediate certificates behind the server's own"
        raise VerificationError("server certificate", problem, hint) from None
    return facts


def fetch_certificate(host: str, port: int, ca_file: Path, seconds: float = 10.0) -> CertificateFacts:
    """What the certificate says that a server presents, once it was verified against `ca_file`.

    The way is that of a SuperNode: through the proxy in `HTTPS_PROXY`, if one is set and `NO_PROXY` does not except the
    host.

    Args:
        host: host name or IP address.
        port: of its HTTPS.
        ca_file: the trusted authorities, PEM.
        seconds: for each of connecting, asking and answering.

    Raises:
        ConfigError: the authorities cannot be read, or `host` or the proxy's address is not valid.
        FederationError: the name is not resolved, the connection is refused or times out, or no TLS is spoken.
        VerificationError: the certificate is not trusted, has expired, does not hold yet, or is for another name.
    """
    return _ask(host, port, ca_file, seconds).certificate


def clock_skew(host: str, port: int, ca_file: Path, seconds: float = 10.0) -> float:
    """By how many seconds this machine's clock is ahead of a server's (behind: negative), to about a second.

    Flower refuses what a SuperNode signed more than 305 s ago, or 5 s in the future. The server's time is the `Date` of
    its HTTPS answer, whatever that answers; arguments as for `fetch_certificate`.

    Raises:
        ConfigError, VerificationError: see `fetch_certificate`.
        FederationError: likewise; or the answer has no date.
    """
    answer = _ask(host, port, ca_file, seconds)
    try:
        server = parsedate_to_datetime(answer.date)
        # the header is cut to the second, so half of one is missing in the mean
        return (answer.received - server.astimezone(UTC)).total_seconds() - 0.5
    except (ValueError, OverflowError):
        problem, hint = "answers without a date", "have the coordinator look at its proxy"
        raise FederationError(_called(host, port), problem, hint) from None


@dataclass(frozen=True)
class _Answer:
    """One answer over HTTPS: the certificate, the `Date` header, and the time here halfway through."""

    certificate: CertificateFacts
    date: str
    received: datetime


def _ask(host: str, port: int, ca_file: Path, seconds: float) -> _Answer:
    parse_name(host)
    load_authorities(ca_file)  # faults of the file have better words here than in OpenSSL
    context = ssl.create_default_context(cafile=str(ca_file))
    url = httpx.URL(scheme="https", host=host, port=port, path="/")
    asked = datetime.now(UTC)
    try:
        with httpx.Client(verify=context, timeout=seconds) as client, client.stream("GET", url) as response:
            received = asked + (datetime.now(UTC) - asked) / 2
            tls: ssl.SSLObject = response.extensions["network_stream"].get_extra_info("ssl_object")
            presented = x509.load_der_x509_certificate(tls.getpeercert(True) or b"")
            return _Answer(CertificateFacts.of(presented), response.headers.get("date", ""), received)
    except httpx.TransportError as error:
        raise _fault(error, host, port) from None
    except (ValueError, httpx.InvalidURL):  # of httpx, which reads it when the client is made
        problem, hint = "is not a proxy address", "for example: http://proxy.example.org:3128"
        raise ConfigError("environment variable HTTPS_PROXY", problem, hint) from None


def _fault(error: httpx.TransportError, host: str, port: int) -> SiloganError:
    """What a failed connection means; httpx and httpcore wrap what the socket said."""
    thing, causes = _called(host, port), list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _distrust(cause, thing)
        if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
            return FederationError(thing, "does not speak TLS (plain HTTP?)", "check the port")
    faults: tuple[tuple[type[Exception], str, str], ...] = (
        (httpx.ProxyError, "is blocked by the proxy", "have the network's operators allow this host and port"),
        (gaierror, "has a name that cannot be resolved", "check the name, and this machine's DNS"),
        (ConnectionRefusedError, "refuses the connection", "check the port, and that the server is running"),
        (httpx.TimeoutException, "does not answer in time", "check the address, and that firewalls allow it"),
        (
            ssl.SSLEOFError,
            "closes the connection during the TLS handshake",
            "check the port, and that firewalls allow TLS",
        ),
        (ConnectionError, "closes the connection", "check the port, and that firewalls allow TLS"),
    )
    for kind, problem, hint in faults:
        if any(isinstance(cause, kind) for cause in causes):
            return FederationError(thing, problem, hint)
    last = causes[-1]
    reason = getattr(last, "reason", None) or getattr(last, "strerror", None) or type(last).__name__
    return FederationError(thing, f"cannot be reached ({reason})", "check the address and the network")


def _distrust(error: ssl.SSLCertVerificationError, thing: str) -> VerificationError:
    faults = {
        _EXPIRED: (
            "has a certificate that has expired",
            "have the coordinator renew it, or correct this machine's clock",
        ),
        _NOT_YET_VALID: ("has a certificate that is not yet valid", "correct this machine's clock"),
    }
    wrong_name = ("has a certificate for another name", "use a name in its certificate, or have it reissued")
    faults |= {_WRONG_NAME: wrong_name, _WRONG_ADDRESS: wrong_name}
    untrusted = (
        f"has a certificate that is not trusted ({error.verify_message})",
        "get the coordinator's current ca.pem; if a proxy inspects TLS, exempt this host",
    )
    return VerificationError(thing, *faults.get(error.verify_code, untrusted))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _called(host: str, port: int) -> str:
    """What errors call a server; where a proxy stands between, the fault may be the proxy's."""
    proxies = urllib.request.getproxies()
    proxied = ("https" in proxies or "all" in proxies) and not urllib.request.proxy_bypass(host)
    return f"server '{host}:{port}'" + (" (through the proxy of HTTPS_PROXY)" if proxied else "")


def _check_dates(thing: str, facts: CertificateFacts, at: datetime) -> None:
    if at < facts.not_before:
        problem = f"is not valid before {facts.not_before:%Y-%m-%d %H:%M} UTC"
        raise VerificationError(thing, problem, "correct the clock, or wait")
    if at > facts.not_after:
        raise VerificationError(thing, f"expired on {facts.not_after:%Y-%m-%d %H:%M} UTC", "renew it")


def _subject(certificate: x509.Certificate) -> str:
    return f"'{certificate.subject.rfc4514_string()}'"


def _reason(error: verification.VerificationError) -> str:
    """The innermost reason, without the certificates that the message repeats."""
    text = str(error).partition("(encountered")[0].removeprefix("validation failed: ")
    parts = [part.strip() for part in text.split(":")]
    return ": ".join(dict.fromkeys([parts[0], *(after for _, after in pairwise(parts))]))


def _is_address(name: str) -> bool:
    try:
        return "%" not in name and bool(ip_address(name))
    except ValueError:
        return False
