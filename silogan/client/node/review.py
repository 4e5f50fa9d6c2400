"""The digest of the software that a hospital has reviewed: a node runs no other software."""

from pathlib import Path

from silogan.common.errors import VerificationError
from silogan.common.files import write_bytes_atomically
from silogan.common.wire.bundle import installed_digest

REVIEWED_FILE = "software.sha256"


def review(folder: Path) -> str:
    """Records that the hospital has reviewed the installed software; returns its digest."""
    digest = installed_digest()
    write_bytes_atomically(folder / REVIEWED_FILE, f"{digest}\n".encode())
    return digest


def check_reviewed(folder: Path) -> None:
    """Compares the installed software with the reviewed software.

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
