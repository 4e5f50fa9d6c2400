"""Common texts of all `silogan` commands, and the output of long-running ones."""

import sys
from contextlib import suppress

EXIT_CODES = (
    "Exit codes: 0 done; 2 wrong usage; 3 bad configuration; 4 bad data; 5 refused for privacy; "
    "6 verification failed; 7 the federation failed; 130 interrupted."
)


def epilog(example: str) -> str:
    """The end of a command's help: an example, and what its exit codes mean."""
    return f"Example: {example}\n\n{EXIT_CODES}"


def tell(lines: list[str]) -> None:
    """Prints lines; does nothing if the terminal of a long-running program was closed."""
    with suppress(OSError):
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
