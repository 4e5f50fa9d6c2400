"""The site's signing key: Ed25519 (Bernstein et al., 2011), made at the site, and never sent anywhere."""

import os
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from common.errors import DataError, VerificationError
from common.files import create_secret

_OTHERS = 0o077  # permissions of group and world


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
        write_new_key(
            path, Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return SiteKey.load(path)

    @staticmethod
    def load(path: Path) -> "SiteKey":
        """Reads a key back.

        Raises:
            DataError: the file is missing or holds no Ed25519 key.
            VerificationError: the file is open to others than its owner.
        """
        try:
            with path.open("rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & _OTHERS:
                    raise VerificationError(f"key '{path.name}'", "is open to other users", "chmod 600")
                private = load_pem_private_key(file.read(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm, InternalError):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise DataError(f"key '{path.name}'", "is missing or is no Ed25519 key", "restore it from its backup")
        return SiteKey(private)

    @lru_cache(maxsize=8)  # noqa: B019  (a site has one key, for as long as it runs)
    def derived(self, purpose: bytes) -> bytes:
        """A secret of 32 bytes for one purpose (HKDF, RFC 5869), which says nothing of the key itself."""
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


def write_new_key(path: Path, content: bytes) -> None:
    """Writes a private key, readable by its owner only; if there is a file already, that one stays.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        create_secret(path, content)
    except FileExistsError:
        pass
    except OSError as error:
        raise DataError(
            f"key '{path.name}'", f"cannot be written ({error.strerror})", "mend the disk or the folder's rights"
        ) from None
