"""Hospitals' nodes as the SuperLink knows them: keys and status."""

from typing import NamedTuple

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from silogan.common.errors import ConfigError

_CURVES = (ec.SECP192R1, ec.SECP224R1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
"""Those that Flower takes (`flwr.supercore.primitives.asymmetric`, which takes a second to import)."""


class NodeFacts(NamedTuple):
    """What the SuperLink knows of a node.

    Attributes:
        status: online, offline, registered or unregistered.
        public_key: as `key_bytes` gives it.
        heard: when an online one was last heard of, or since when it is offline, in seconds since 1970; None if never.
    """

    status: str
    public_key: bytes
    heard: float | None


def parse_node_key(text: str) -> ec.EllipticCurvePublicKey:
    """A node's public key, as `silogan node init` prints it.

    Raises:
        ConfigError: it is not a valid key.
    """
    try:
        key = load_ssh_public_key(text.strip().encode())
    except (ValueError, UnsupportedAlgorithm, InternalError, NotImplementedError):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise ConfigError(
            "node's key", "is not an ECDSA public key", "give the node.pub that `silogan node init` wrote"
        )
    return key


def key_bytes(public_key: str) -> bytes:
    """A node's public key as the SuperLink keeps it.

    Raises:
        ConfigError: it is not a valid key.
    """
    return parse_node_key(public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
