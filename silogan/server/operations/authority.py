"""The coordinator's certificates: from its own private authority, or from its institution.

ca.pem      the authorities that the hospitals trust: one, or the old and the new one while they change
ca.key      signs with the authority in ca.pem; may be kept offline between renewals; absent for an institution's
server.pem  the server's certificate, then intermediate ones
server.key  its key, which is kept when the certificate is renewed: delete it first to have a new one

A new server certificate from the same authority requires no change at the hospitals. A new authority does: put both
into ca.pem (`trust`), give it to every hospital, only then sign with the new one, and finally remove the old one.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from silogan.common.errors import ConfigError, VerificationError
from silogan.common.files import create_secret, replace_secret, write_bytes_atomically, writing
from silogan.common.operations import certificates
from silogan.common.operations.certificates import CertificateFacts

SERVER_DAYS = 397
"""How long a server certificate holds: the longest that browsers accept."""

INNER_NAMES = ("localhost", "127.0.0.1")
"""Names that our own server certificates always have: the proxy and the ServerApp reach the SuperLink under them."""

_CA_DAYS = 3653
_WARN_DAYS = 30
_BACKDATED = timedelta(hours=1)  # for hospitals whose clocks are behind
_OTHERS = 0o077  # permissions of group and world


@dataclass(frozen=True)
class CertificateStatus:
    """The state of the coordinator's certificates.

    Attributes:
        server: what the server's certificate says.
        authorities: what each certificate in ca.pem says.
        days_left: whole days until the first certificate expires that the connection depends on.
        warnings: what should be done soon, in words.
    """

    server: CertificateFacts
    authorities: tuple[CertificateFacts, ...]
    days_left: int
    warnings: tuple[str, ...]


class Authority:
    """The certificates in the coordinator's folder.

    Args:
        folder: the folder; each method says what it needs in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_pem, self.ca_key = folder / "ca.pem", folder / "ca.key"
        self.server_pem, self.server_key = folder / "server.pem", folder / "server.key"

    @staticmethod
    def create(folder: Path, name: str = "SiloGAN", *, at: datetime | None = None) -> "Authority":
        """Makes a private authority (EC P-256, ten years, path length 0) in a folder that has none.

        What is there already stays; a creation that was interrupted is completed.

        Args:
            folder: the coordinator's folder, which must exist.
            name: for people to know it by, up to 50 characters; eight digits of its key are added.
            at: when it begins; now, if not given.

        Raises:
            ConfigError: the folder cannot be written, the name is too long or empty, or ca.key is not an EC key.
            VerificationError: ca.key is open to other users.
        """
        authority = Authority(folder)
        if authority.ca_pem.exists():
            return authority
        if not 0 < len(name) <= 50:
            raise ConfigError("authority's name", "must have 1 to 50 characters", "shorten it")
        with _writing(authority.ca_key), suppress(FileExistsError):  # of a creation that was interrupted
            create_secret(authority.ca_key, _new_key())
        certificate = _self_signed(_load_ec_key(authority.ca_key), name, at or datetime.now(UTC))
        with _writing(authority.ca_pem):
            write_bytes_atomically(authority.ca_pem, _pem([certificate]))
        return authority

    @staticmethod
    def install(
        folder: Path, *, chain: Path, key: Path, authorities: Path, names: Sequence[str], at: datetime | None = None
    ) -> "Authority":
        """Copies certificates that the institution has given, once they were checked; also its renewed ones.

        Args:
            folder: the coordinator's folder, which must exist.
            chain: PEM file of the server's certificate and, behind it, intermediate ones.
            key: PEM file of its private key, without a password.
            authorities: PEM file of the authorities that hospitals are to trust.
            names: host names and addresses under which hospitals call the server.
            at: the time for which to check; now, if not given.

        Raises:
            ConfigError: a file cannot be read or holds something else; the folder has an authority of its own, or
                cannot be written.
            VerificationError: the key is another's, or see `verify_server_certificate`. Nothing was copied.
        """
        authority = Authority(folder)
        if authority.ca_key.exists():
            problem = "already holds a private authority (ca.key), which conflicts with the institution's"
            raise ConfigError("server folder", problem, "move ca.key away, or take another folder")
        _required(names)
        given, trusted = certificates.load_certificates(chain), certificates.load_authorities(authorities)
        private = _load_key(key, secret=False)
        certificates.verify_server_certificate(given, trusted, names, at)
        _check_fit(private, given[0], chain)
        content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with _writing(authority.ca_pem):
            write_bytes_atomically(authority.ca_pem, _pem(trusted))
        with _writing(authority.server_key):
            replace_secret(authority.server_key, content)
        with _writing(authority.server_pem):
            write_bytes_atomically(authority.server_pem, _pem(given))
        return authority

    def renew(
        self, names: Sequence[str] = (), *, days: int = SERVER_DAYS, at: datetime | None = None
    ) -> CertificateFacts:
        """Signs a new certificate for the server; who listens with it must read it again.

        Args:
            names: host names and IP addresses under which hospitals call the server, `INNER_NAMES` aside; those of
                the present certificate, if none is given.
            days: how long it holds, but never longer than the authority.
            at: when it begins; now, if not given.

        Returns:
            What the new certificate says.

        Raises:
            ConfigError: ca.key is missing, a name is invalid, or a file cannot be read or written.
            VerificationError: ca.key matches no certificate in ca.pem, a key is open to others, or the authority has
                expired.
        """
        at = at or datetime.now(UTC)
        if not names:
            names = CertificateFacts.of(certificates.load_certificates(self.server_pem)[0]).names
        if days < 1:
            raise ConfigError(f"days={days}", "is not a time", "give at least 1")
        every = [certificates.parse_name(name) for name in dict.fromkeys([*names, *INNER_NAMES])]
        authority, authority_key = self._signer()
        if at >= authority.not_valid_after_utc:
            problem, hint = "has expired", "create a new authority and give it to the hospitals"
            raise VerificationError("authority in ca.pem", problem, hint)
        if not self.server_key.exists():
            with _writing(self.server_key):
                create_secret(self.server_key, _new_key())
        key = _load_ec_key(self.server_key)
        until = min(at + timedelta(days=days), authority.not_valid_after_utc)
        certificate = _signed(key, every, authority, authority_key, (at - _BACKDATED, until))
        facts = certificates.verify_server_certificate([certificate], [authority], [*names, *INNER_NAMES], at)
        with _writing(self.server_pem):
            write_bytes_atomically(self.server_pem, _pem([certificate]))
        return facts

    def check(self, names: Sequence[str], at: datetime | None = None) -> CertificateFacts:
        """Checks the files as a server would use them: key, dates, names and signatures.

        Raises:
            ConfigError: a file is missing or holds something else.
            VerificationError: something does not fit; see `verify_server_certificate`.
        """
        _required(names)
        chain = certificates.load_certificates(self.server_pem)
        _check_fit(_load_key(self.server_key), chain[0], self.server_pem)
        return certificates.verify_server_certificate(chain, certificates.load_authorities(self.ca_pem), names, at)

    def status(self, at: datetime | None = None) -> CertificateStatus:
        """How long the certificates are valid.

        Raises:
            ConfigError: ca.pem or server.pem is missing or holds something else.
        """
        at = at or datetime.now(UTC)
        chain = certificates.load_certificates(self.server_pem)
        server, *intermediate = (CertificateFacts.of(one) for one in chain)
        authorities = tuple(CertificateFacts.of(one) for one in certificates.load_authorities(self.ca_pem))
        hint = "renew it" if self.ca_key.exists() else "bring ca.key and renew it, or install the institution's new one"
        ages = [("server.pem", server, hint)]
        ages += [("intermediate certificate", one, "install the institution's new chain") for one in intermediate]
        longest = max(authorities, key=lambda one: one.not_after)
        ages.append(("ca.pem", longest, "add a new authority beside it"))
        warnings = [
            f"{what} {_expiry(facts.days_left(at))}; {hint}"
            for what, facts, hint in ages
            if facts.days_left(at) < _WARN_DAYS
        ]
        days_left = min(facts.days_left(at) for _, facts, _ in ages)
        return CertificateStatus(server, authorities, days_left, tuple(warnings))

    def _signer(self) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
        """The certificate in ca.pem whose key is here, and the key."""
        if not self.ca_key.exists():
            problem = "is missing: it is kept offline, or an institution's authority signs"
            hint = "bring ca.key for the renewal, or install the institution's new certificate"
            raise ConfigError("authority's key 'ca.key'", problem, hint)
        key = _load_ec_key(self.ca_key)
        for authority in certificates.load_authorities(self.ca_pem):
            if _raw(authority.public_key()) == _raw(key.public_key()):
                return authority, key
        hint = "restore the key or the certificate that belongs to it"
        raise VerificationError("authority's key 'ca.key'", "matches no certificate in ca.pem", hint)


def _self_signed(key: EllipticCurvePrivateKey, name: str, at: datetime) -> x509.Certificate:
    identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # two authorities of one coordinator must not have the same name
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {identity.digest.hex()[:8]}")])
    dates = at - _BACKDATED, at + timedelta(days=_CA_DAYS)
    return _builder(subject, key, subject, key, dates, is_authority=True).sign(key, SHA256())


def _signed(
    key: EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    authority: x509.Certificate,
    authority_key: EllipticCurvePrivateKey,
    dates: tuple[datetime, datetime],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SiloGAN coordinator")])
    builder = _builder(subject, key, authority.subject, authority_key, dates, is_authority=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(authority_key, SHA256())


def _builder(
    subject: x509.Name,
    key: EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuers_key: EllipticCurvePrivateKey,
    dates: tuple[datetime, datetime],
    *,
    is_authority: bool,
) -> x509.CertificateBuilder:
    """What both kinds of certificates say."""
    own, issuers = key.public_key(), issuers_key.public_key()
    return (
        x509.CertificateBuilder(issuer, subject, own, x509.random_serial_number())
        .not_valid_before(dates[0])
        .not_valid_after(dates[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers), critical=False)
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
        .add_extension(_key_usage(signs_certificates=is_authority), critical=True)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _new_key() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_ec_key(path: Path) -> EllipticCurvePrivateKey:
    key = _load_key(path)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ConfigError(f"key '{path.name}'", "is not an EC key", "restore it from its backup")
    return key


def _load_key(path: Path, *, secret: bool = True) -> PrivateKeyTypes:
    """Reads a private key; `secret` says that the file must be its owner's alone."""
    content = certificates.read_pem(path, "key")
    if secret and path.stat().st_mode & _OTHERS:
        raise VerificationError(f"key '{path.name}'", "is open to other users", "chmod 600")
    try:
        return serialization.load_pem_private_key(content, password=None)
    except TypeError:
        hint = "remove the password with `openssl pkey`"
        raise ConfigError(f"key '{path.name}'", "has a password", hint) from None
    except (ValueError, UnsupportedAlgorithm):
        hint = "restore it from its backup, or delete it and renew the certificate"
        raise ConfigError(f"key '{path.name}'", "holds no readable private key", hint) from None


def _check_fit(key: PrivateKeyTypes, certificate: x509.Certificate, path: Path) -> None:
    if _raw(key.public_key()) != _raw(certificate.public_key()):
        hint = "give the key that the certificate was made for, or renew the certificate"
        raise VerificationError(f"certificate '{path.name}'", "does not belong to the key", hint)


def _required(names: Sequence[str]) -> None:
    if not names:
        raise ConfigError("names", "are missing", "give the host name under which hospitals call the server")


def _raw(public: PublicKeyTypes) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def _writing(path: Path) -> AbstractContextManager[None]:
    return writing(f"file '{path.name}'", "repair the disk or the folder's permissions")


def _expiry(days: int) -> str:
    return f"expires in {days} days" if days >= 0 else f"expired {-days} days ago"
