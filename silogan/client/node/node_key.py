"""The key by which a coordinator knows a node: ECDSA on P-384, as Flower's node authentication wants it.

It is not the key that signs the ledger: either can be replaced without the other.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from silogan.client.ledger.keys import opened_key, write_new_key
from silogan.common.errors import DataError
from silogan.common.files import write_bytes_atomically

NODE_KEY, NODE_PUBLIC_KEY = "node.key", "node.pub"
KEY_OPTION = "--auth-supernode-private-key"
"""By which Flower's SuperNode is told where the key is."""


def create_node_key(folder: Path) -> str:
    """Makes the node's key pair in its folder, or keeps the one that is there.

    Returns:
        The public key in OpenSSH's format, one line, which may be given to anybody.

    Raises:
        DataError: a file cannot be written, or holds no such key.
    """
    write_new_key(folder / NODE_KEY, openssh(ec.generate_private_key(ec.SECP384R1())))
    public = node_public_key(folder)
    write_bytes_atomically(folder / NODE_PUBLIC_KEY, f"{public}\n".encode())
    return public


def node_public_key(folder: Path) -> str:
    """The public half of the node's key, one line in OpenSSH's format.

    Raises:
        DataError, VerificationError, UsageError: see `node_private_key`.
    """
    public = node_private_key(folder / NODE_KEY).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def node_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The node's key, in memory.

    Raises:
        DataError: the file is missing or holds none of this kind.
        VerificationError, UsageError: a passphrase protects it, and a wrong one or none is given.
    """
    try:
        private = opened_key(path.name, path.read_bytes())
    except OSError:
        private = None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        hint = "restore it, or delete it and have the coordinator enrol a new one"
        raise DataError(f"key '{path.name}'", "is missing or not an ECDSA key", hint)
    return private


def openssh(private: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as Flower reads it: OpenSSH's format, under no passphrase."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
