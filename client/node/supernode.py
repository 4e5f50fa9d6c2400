"""Flower's SuperNode as a program that exits when it can no longer work.

Flower's own stays: an answer of the coordinator that it does not expect ends the thread that asks for work, and the
thread that serves the executor keeps the process alive. It would be up, and never ask again. Nor does Flower read a
key that is under a passphrase: it gets it through a pipe, so that the key itself is in no file.
"""

import os
import sys
from pathlib import Path

from flwr.supernode.cli import flower_supernode

from client.ledger.passphrase import take_over
from client.node.node_key import KEY_OPTION, node_private_key, openssh


def main() -> None:
    """Runs the SuperNode with the arguments of this process, whose standard input holds the passphrase, if any."""
    code = 1  # it returns only where it does not work any more
    take_over(sys.stdin.buffer)
    try:
        _hand_key()
        flower_supernode()
    except SystemExit as ended:  # asked to end, or refused by the coordinator
        code = ended.code if isinstance(ended.code, int) else code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _hand_key() -> None:
    """Puts a pipe in the place of the key's file; Flower reads it once."""
    place = sys.argv.index(KEY_OPTION) + 1
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "wb") as file:
        file.write(openssh(node_private_key(Path(sys.argv[place]))))  # some hundred bytes: they fit into the pipe
    sys.argv[place] = f"/dev/fd/{ours}"


if __name__ == "__main__":
    main()
