"""The site's signing key: Ed25519 (Bernstein et al., 2011), made at the site, and never sent anywhere.

A passphrase may protect a key: its file is then PKCS#12 (RFC 7292) with PBES2, PBKDF2-HMAC-SHA256 and AES-256.
"""

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, pkcs12

from silogan.client.ledger.passphrase import passphrase
from silogan.common.errors import DataError, VerificationError
from silogan.common.files import create_secret, writing

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
_OTHERS = 0o077  # permissions of group and world
_DER = b"\x30"  # what a PKCS#12 file begins with
_KDF_ROUNDS = 600_000  # of PBKDF2, as OWASP asks (2023)


class SiteKey:
    """A private key in memory.

    Args:
        private: the key.

    Attributes:
        public: the public half, 64 hexadecimal digits; may be given to anybody.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    @staticmethod
    def create(path: Path) -> "SiteKey":
        """Makes a key and writes it to `path`, readable by its owner only; if there is one, that one is loaded.

        Raises:
            DataError: the file cannot be written, or holds no key.
            VerificationError: the file is open to others.
        """
        write_new_key(path, pem(Ed25519PrivateKey.generate()))
        return SiteKey.load(path)

    @staticmethod
    def load(path: Path) -> "SiteKey":
        """Loads a key.

        Raises:
            DataError: the file is missing or holds no Ed25519 key.
            VerificationError: the file is open to others than its owner, or does not open with the passphrase.
            UsageError: a passphrase protects it, and none is given.
        """
        try:
            with path.open("rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & _OTHERS:
                    raise VerificationError(f"key '{path.name}'", "is open to other users", "chmod 600")
                private = opened_key(path.name, file.read())
        except OSError:
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise DataError(f"key '{path.name}'", "is missing or not an Ed25519 key", "restore it from its backup")
        return SiteKey(private)

    @lru_cache(maxsize=8)  # noqa: B019  (a site has one key, for as long as it runs)
    def derived(self, purpose: bytes) -> bytes:
        """A secret of 32 bytes for one purpose (HKDF, RFC 5869), which reveals nothing about the key."""
        raw = self._private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return HKDF(SHA256(), 32, salt=None, info=b"silogan " + purpose).derive(raw)

    def sign(self, message: bytes) -> str:
        """The signature of a message, in hexadecimal digits."""
        return self._private.sign(message).hex()


def is_signed(message: bytes, signature: str, public: str) -> bool:
    """Whether `signature` is that of `message` under the public key `public`, both in hexadecimal digits."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def opened_key(name: str, content: bytes) -> PrivateKey | None:
    """The private key that a file holds, in memory; None if it holds none of ours.

    Raises:
        VerificationError: a passphrase protects it, and the given one is wrong.
        UsageError: a passphrase protects it, and none is given.
    """
    if is_protected(content):
        private = _unlocked(content, passphrase())
        if private is None:
            hint = "give the passphrase of the keys, or restore the file from its backup"
            raise VerificationError(f"key '{name}'", "does not open with this passphrase", hint)
        return private
    load = serialization.load_ssh_private_key if b"OPENSSH" in content[:40] else serialization.load_pem_private_key
    try:
        private = load(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError, NotImplementedError):
        return None
    return private if isinstance(private, PrivateKey) else None


def pem(private: Ed25519PrivateKey) -> bytes:
    """The site's key in the format of its file, without a passphrase."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def is_protected(content: bytes) -> bool:
    """Whether a passphrase protects a key's file."""
    return content.startswith(_DER)


def protected(private: PrivateKey, word: bytes) -> bytes:
    """A key's file with a passphrase; it takes some tenths of a second to write or to open one."""
    scheme = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(_KDF_ROUNDS)
    scheme = scheme.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).hmac_hash(SHA256())
    return pkcs12.serialize_key_and_certificates(None, private, None, None, scheme.build(word))


@lru_cache(maxsize=8)
def _unlocked(content: bytes, word: bytes) -> PrivateKey | None:
    """The key in a file with a passphrase; None if this is not its passphrase, or it holds no key."""
    try:
        private = pkcs12.load_key_and_certificates(content, word)[0]
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        return None
    return private if isinstance(private, PrivateKey) else None


def write_new_key(path: Path, content: bytes) -> None:
    """Writes a private key, readable by its owner only; if there is a file already, that one stays.

    Raises:
        DataError: the file cannot be written.
    """
    with writing(f"key '{path.name}'", "repair the disk or the folder's rights", DataError), suppress(FileExistsError):
        create_secret(path, content)
