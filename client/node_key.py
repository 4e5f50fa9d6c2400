"""The key by which a coordinator knows a node: ECDSA on P-384, as Flower's node authentication wants it.

It is not the key that signs the ledger: either can be replaced without the other.
"""

from pathlib import Path

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from client.keys import write_new_key
from common.errors import DataError
from common.files import write_bytes_atomically

NODE_KEY, NODE_PUBLIC_KEY = "node.key", "node.pub"


def create_node_key(folder: Path) -> str:
    """Makes the node's key pair in its folder, or keeps the one that is there.

    Returns:
        The public key in OpenSSH's format, one line, which may be given to anybody.

    Raises:
        DataError: a file cannot be written, or holds no such key.
    """
    private = ec.generate_private_key(ec.SECP384R1())
    write_new_key(folder / NODE_KEY, private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = node_public_key(folder)
    write_bytes_atomically(folder / NODE_PUBLIC_KEY, f"{public}\n".encode())
    return public


def node_public_key(folder: Path) -> str:
    """The public half of the node's key, one line in OpenSSH's format.

    Raises:
        DataError: the private key is missing or is none of this kind.
    """
    try:
        private = load_ssh_private_key((folder / NODE_KEY).read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, InternalError, NotImplementedError):
        private = None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        mend = "restore it, or delete it and have the coordinator enrol a new one"
        raise DataError(f"key '{NODE_KEY}'", "is missing or is no ECDSA key", mend)
    return private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
