"""Output of synthetic records: one file and one line in `OUTPUTS` per kind of record."""

from server.release.outputs import image
from server.release.outputs.base import Output

__all__ = ["OUTPUTS", "Output"]

OUTPUTS: dict[str, Output] = {
    "image": image.OUTPUT,
}
