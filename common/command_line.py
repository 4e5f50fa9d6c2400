"""What every command of `silogan` says of itself."""

EXIT_CODES = (
    "Exit codes: 0 done; 2 wrong usage; 3 bad configuration; 4 bad data; 5 refused for privacy; "
    "6 verification failed; 7 the federation failed; 130 interrupted."
)


def epilog(example: str) -> str:
    """The end of a command's help: an example, and what its exit codes mean."""
    return f"Example: {example}\n\n{EXIT_CODES}"
