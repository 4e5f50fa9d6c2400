"""Flower's SuperNode as a program that ends when it can do no more.

Flower's own stays: an answer of the coordinator that it does not expect ends the thread that asks for work, and the
thread that serves the executor keeps the process alive. It would be up, and never ask again.
"""

import os
import sys

from flwr.supernode.cli import flower_supernode


def main() -> None:
    """Runs the SuperNode with the arguments of this process."""
    code = 1  # it returns only where it does not work any more
    try:
        flower_supernode()
    except SystemExit as ended:  # asked to end, or refused by the coordinator
        code = ended.code if isinstance(ended.code, int) else code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
