"""Protects both keys of a node by a passphrase, changes it, or removes it."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from silogan.client.ledger.keys import PrivateKey, is_protected, opened_key, pem, protected
from silogan.client.ledger.passphrase import new_passphrase, remember
from silogan.client.node.node import SITE_KEY
from silogan.client.node.node_key import NODE_KEY, openssh
from silogan.common.errors import DataError, VerificationError
from silogan.common.files import replace_secret, writing
from silogan.common.operations.supervise import only_one


def protect(folder: Path) -> None:
    """Protects the keys by a new passphrase, which is asked for, after the current one if there is one.

    Killed half-way it leaves one key under each passphrase; run again, it asks for one after the other.

    Raises:
        DataError: a file is missing, holds no key, or cannot be written.
        UsageError: no passphrase is given, or the node is running.
        VerificationError: a key does not open with the passphrase that it is under.
    """
    with only_one(folder, "node"):
        keys = _opened(folder)
        word = new_passphrase()
        for path, key in keys.items():
            _replace(path, protected(key, word))


def unprotect(folder: Path) -> None:
    """Removes the passphrase from the keys.

    Raises:
        DataError, UsageError, VerificationError: see `protect`.
    """
    with only_one(folder, "node"):
        for path, key in _opened(folder).items():
            _replace(path, _plain(key))


def are_protected(folder: Path) -> bool:
    """Whether a passphrase protects both keys.

    Raises:
        OSError: a file cannot be read.
    """
    return all(is_protected((folder / name).read_bytes()) for name in (SITE_KEY, NODE_KEY))


def _opened(folder: Path) -> dict[Path, PrivateKey]:
    found: dict[Path, PrivateKey] = {}
    for path in (folder / SITE_KEY, folder / NODE_KEY):
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        try:
            key = opened_key(path.name, content)
        except VerificationError:
            remember(b"")  # it may be under another one than the key before it
            key = opened_key(path.name, content)
        if key is None:
            raise DataError(f"key '{path.name}'", "is missing or not a key", "restore it from its backup")
        found[path] = key
    remember(b"")
    return found


def _plain(key: PrivateKey) -> bytes:
    return openssh(key) if isinstance(key, EllipticCurvePrivateKey) else pem(key)


def _replace(path: Path, content: bytes) -> None:
    with writing(f"key '{path.name}'", "free the disk", DataError):
        replace_secret(path, content)
