"""How a hospital joins a federation: its keys, a request to send, and the coordinator's address."""

import json
from pathlib import Path

from silogan.client.ledger.register import Registration
from silogan.client.node.connection import CONNECTION_FILE, connection_template
from silogan.client.node.node_key import create_node_key
from silogan.client.node.review import REVIEWED_FILE, review
from silogan.common.files import write_bytes_atomically, writing
from silogan.common.operations.certificates import load_authorities

REQUEST_FILE = "request.json"


def prepare_connection(
    folder: Path, registration: Registration, *, server: str = "", ca: Path | None = None, proxy: str | None = None
) -> Path:
    """Makes the node's key pair, `node.yaml` and the request to the coordinator; what is there already stays.

    Args:
        folder: the node's.
        registration: the cohort that takes part.
        server: the coordinator as host:port, if it is known yet.
        ca: the coordinator's ca.pem, which is copied into the folder.
        proxy: an HTTP proxy on the way.

    Returns:
        The request: the site's name, the node's public key and the declared size. Nothing in it is secret.

    Raises:
        ConfigError: a file cannot be read or written, or `ca` holds no authority.
    """
    public = create_node_key(folder)
    with writing(f"node folder '{folder}'", "free or repair the disk"):
        if server or not (folder / CONNECTION_FILE).exists():
            write_bytes_atomically(folder / CONNECTION_FILE, connection_template(server, proxy).encode())
        if ca is not None:
            load_authorities(ca)
            write_bytes_atomically(folder / "ca.pem", ca.read_bytes())
        if not (folder / REVIEWED_FILE).exists():
            review(folder)
        request = {"site": registration.site, "public_key": public, "declared_size": registration.declared_size}
        write_bytes_atomically(folder / REQUEST_FILE, json.dumps(request, indent=2).encode())
    return folder / REQUEST_FILE
