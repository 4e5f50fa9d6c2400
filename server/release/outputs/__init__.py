"""What is made of synthetic records: one file a kind of record, and one line a kind in `OUTPUTS`."""

from server.release.outputs import image
from server.release.outputs.base import Output

__all__ = ["OUTPUTS", "Output"]

OUTPUTS: dict[str, Output] = {
    "image": image.OUTPUT,
}
