"""Output of synthetic records: one file and one line in `OUTPUTS` per kind of record."""

from silogan.server.release.outputs import image, joint, masked, table
from silogan.server.release.outputs.base import Output, whole

__all__ = ["OUTPUTS", "Output", "whole"]

OUTPUTS: dict[str, Output] = {
    "image": image.OUTPUT,
    "table": table.OUTPUT,
    "joint": joint.OUTPUT,
    "masked": masked.OUTPUT,
}
