"""The key that signs releases: Ed25519 (Bernstein et al., 2011), for this purpose alone.

release.key  the private half, in the coordinator's folder; whoever has it can sign releases in the coordinator's name
release.pub  the public half, PEM, which may be given to anybody; recipients must have it from the coordinator itself
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from silogan.common.errors import ConfigError, VerificationError
from silogan.common.files import create_secret, write_bytes_atomically, writing
from silogan.common.operations.certificates import read_pem

RELEASE_KEY, RELEASE_PUBLIC_KEY = "release.key", "release.pub"
_OTHERS = 0o077  # permissions of group and world


def create_release_key(folder: Path) -> Ed25519PrivateKey:
    """Makes both halves in a folder, or keeps the key that is there.

    Raises:
        ConfigError: a file cannot be written, or holds no such key.
        VerificationError: the key is open to others.
    """
    path = folder / RELEASE_KEY
    with writing(f"key '{path}'", "choose another place"):
        with suppress(FileExistsError):
            fresh = Ed25519PrivateKey.generate()
            create_secret(path, fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key = load_release_key(path)
        write_bytes_atomically(folder / RELEASE_PUBLIC_KEY, public_pem(key.public_key()))
    return key


def load_release_key(path: Path) -> Ed25519PrivateKey:
    """Reads the private half.

    Raises:
        ConfigError: the file is missing or holds no such key.
        VerificationError: the file is open to others.
    """
    content = read_pem(path, "release key")
    if os.name == "posix" and path.stat().st_mode & _OTHERS:
        raise VerificationError(f"release key '{path.name}'", "is open to other users", "chmod 600")
    try:
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        hint = "give a private Ed25519 key (PEM) without a password, as `silogan server init` makes"
        raise ConfigError(f"release key '{path.name}'", "is not one", hint)
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Reads the public half.

    Raises:
        ConfigError: the file is missing or holds no such key.
    """
    content = read_pem(path, "public key")
    thing = f"public key '{path.name}'"
    if b"PRIVATE KEY" in content:
        raise ConfigError(thing, "is a private key", f"give {RELEASE_PUBLIC_KEY}, and keep this one secret")
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        hint = f"give the coordinator's {RELEASE_PUBLIC_KEY}, whose text has -----BEGIN PUBLIC KEY-----"
        raise ConfigError(thing, "holds no Ed25519 public key", hint)
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """The public half as it lies in its file."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of a public key (its 32 bytes), in hexadecimal digits: to compare on the telephone, say."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def is_signed(message: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether `signature` is that of `message` under this key."""
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
