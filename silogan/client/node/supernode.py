"""Flower's SuperNode as a program that exits when it can no longer work.

Flower's own SuperNode does not exit: an unexpected answer of the coordinator ends the thread that asks for work, but
the thread that serves the executor keeps the process alive, and it never asks again. Flower also cannot read a key with
a passphrase: it gets the key through a pipe, so that no file holds the plain key.
"""

import os
import sys
from pathlib import Path

from flwr.supernode.cli import flower_supernode

from silogan.client.ledger.passphrase import take_over
from silogan.client.node.node_key import KEY_OPTION, node_private_key, openssh


def main() -> None:
    """Runs the SuperNode with the arguments of this process, whose standard input holds the passphrase, if any."""
    code = 1  # it returns only when it no longer works
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
