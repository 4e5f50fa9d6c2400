"""Evaluation of synthetic records: one file and one line in `EVALUATORS` per kind of record."""

from silogan.server.evaluation import image, joint, masked, table
from silogan.server.evaluation.base import Comparison, Evaluate, Labelled

__all__ = ["EVALUATORS", "Comparison", "Evaluate", "Labelled"]

EVALUATORS: dict[str, Evaluate] = {
    "image": image.evaluate,
    "table": table.evaluate,
    "joint": joint.evaluate,
    "masked": masked.evaluate,
}
