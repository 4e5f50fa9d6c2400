"""A hospital's running node: Flower's SuperNode and the warm executor, under supervision.

    this process ── supernode            connects outwards to the coordinator; fetches messages, sends replies
                 │                       (`client/node/supernode.py`)
                 └─ executor ── worker   runs the rounds (`client/node/executor.py`, `client/node/worker.py`)

No state lasts for ever: a round has a deadline, and so has everything around it. A SuperNode that has not sent a reply
in
time, or has given up, is restarted. If the executor finds the SuperNode stuck, both are restarted.

All of them run as the user who started this process, who only needs to read the data and write the node's folder. Only
the SuperNode's Runtime API listens, on the loopback address, protected by a secret.
"""

import logging
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

import silogan
from silogan.client.ledger.passphrase import handed_over, take_over
from silogan.client.node.connection import Connection
from silogan.client.node.executor import Executor, StuckError
from silogan.client.node.node import Node
from silogan.client.node.node_key import KEY_OPTION, NODE_KEY, node_public_key
from silogan.client.node.review import check_reviewed
from silogan.client.node.worker import node_worker
from silogan.common.errors import UsageError
from silogan.common.files import replace_secret, writing
from silogan.common.operations.flower import environment, free_port
from silogan.common.operations.logs import log_to_stderr, open_log
from silogan.common.operations.supervise import Patience, Service, Supervisor, only_one
from silogan.common.wire.bundle import installed_digest

LOG_FILE = Path("logs") / "node.jsonl"

_SECRET, _FLOWER_HOME = "runtime.secret", "flower"
# A SuperNode that comes back before its last heartbeat has lapsed is refused once, with exit code 305.
_SUPERNODE_RESTART_SECONDS = 12.0
_FATAL = (
    # After such an error, as where the coordinator's certificate has expired, it stays without ever trying again.
    "SSL/TLS handshake error detected",
    # If a run is stopped while its message is fetched, half of the message stays, and a task that cannot be done.
    "Ignoring message",
)
_BEGINS = "Receiving: "
_ENDS = ("Sent successfully", "Failed to send", "Failed to receive", "Ignoring message", "Ignoring reply message")
_TRANSFER_SECONDS = 300.0  # for a message and its reply on a slow line, in addition to the round's deadline

_log = logging.getLogger("silogan.node")


def start(folder: Path, *, as_root: bool = False, say: Callable[[list[str]], object] = lambda _: None) -> None:
    """Runs the node in `folder` until it is stopped; `say` is told what a person who starts it wants to know.

    Raises:
        UsageError: it runs already, or would run as root without `as_root`.
        ConfigError: `node.yaml` is unusable.
        DataError: a key is missing.
        VerificationError: the installed software is not what the hospital has reviewed.
    """
    node, connection = Node(folder), Connection.load(folder)
    if os.geteuid() == 0 and not as_root:
        hint = "start it as a dedicated user, or add --as-root on a machine for this purpose alone"
        raise UsageError("node", "would run as root", hint)
    node_public_key(folder)
    check_reviewed(folder)
    with only_one(node.folder, "node"):
        open_log(folder / LOG_FILE)
        connects = f"the node connects to {connection.server} and takes part in the studies approved here"
        say([connects, f"log in {folder / LOG_FILE}; stop it with Ctrl-C"])
        _log.info("connecting to %s", connection.server)
        Supervisor(folder, services(folder, connection)).run()
        _log.info("stopped")


def services(folder: Path, connection: Connection) -> list[Service]:
    """The programs of a node.

    Raises:
        ConfigError: the folder cannot be written.
    """
    patience = Patience(_BEGINS, _ENDS, connection.deadline + _TRANSFER_SECONDS)
    proxy = {"HTTPS_PROXY": connection.proxy, "HTTP_PROXY": connection.proxy} if connection.proxy else {}
    env = environment(folder / _FLOWER_HOME, **proxy)
    secret = folder / _SECRET
    with writing(f"node folder '{folder}'", "free it"):
        replace_secret(secret, secrets.token_bytes(32))
    host, port = "127.0.0.1", free_port()
    command = (
        *(sys.executable, "-m", "silogan.client.node.supernode", "--superlink", connection.server),
        *("--root-certificates", str(connection.ca.absolute())),
        *(KEY_OPTION, str((folder / NODE_KEY).absolute())),
        *("--isolation", "process", "--superexec-auth-secret-file", str(secret.absolute())),
        *("--host", host, "--port", str(port)),
    )
    root = Path(silogan.__file__).parent.parent  # so that `-m` finds this very software, and no other
    executor = (sys.executable, "-m", "silogan.client.node.service", str(folder.absolute()), f"{host}:{port}")
    return [
        Service("supernode", command, env, root, _SUPERNODE_RESTART_SECONDS, handed_over(), _FATAL, patience),
        Service("executor", executor, env, root, secret=handed_over(), along=("supernode",)),
    ]


def _execute(folder: Path, address: str) -> None:
    """The executor's process, whose standard input holds the passphrase, if any."""
    log_to_stderr()
    take_over(sys.stdin.buffer)
    worker = node_worker(folder)
    try:
        Executor(address, folder / _SECRET, worker, installed_digest(), Connection.load(folder).deadline).run()
    except StuckError as error:
        _log.warning("the SuperNode is stuck (%s): restarting it", error)
        sys.exit(1)


if __name__ == "__main__":
    _execute(Path(sys.argv[1]), sys.argv[2])
