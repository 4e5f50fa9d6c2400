"""The software that a hospital has reviewed, by its digest: a node runs no other."""

from pathlib import Path

from common.errors import VerificationError
from common.files import write_bytes_atomically
from common.wire.bundle import installed_digest

REVIEWED_FILE = "software.sha256"


def review(folder: Path) -> str:
    """Writes down that the hospital has reviewed the software that is installed; returns its digest."""
    digest = installed_digest()
    write_bytes_atomically(folder / REVIEWED_FILE, f"{digest}\n".encode())
    return digest


def check_reviewed(folder: Path) -> None:
    """Compares the installed software with what the hospital has reviewed.

    Raises:
        VerificationError: it is another, or none was reviewed.
    """
    try:
        reviewed = (folder / REVIEWED_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        reviewed = ""
    if reviewed != installed_digest():
        problem = "differs from what this hospital has reviewed" if reviewed else "was never reviewed by this hospital"
        raise VerificationError("software", problem, "review it, then run `silogan node check --review`")
