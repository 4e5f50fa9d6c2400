"""Evaluation of synthetic records: one file and one line in `EVALUATORS` per kind of record."""

from server.evaluation import image
from server.evaluation.base import Evaluate, Labelled

__all__ = ["EVALUATORS", "Evaluate", "Labelled"]

EVALUATORS: dict[str, Evaluate] = {
    "image": image.evaluate,
}
