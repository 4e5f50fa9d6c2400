"""What synthetic records are worth: one file a kind of record, and one line a kind in `EVALUATORS`."""

from server.evaluation import image
from server.evaluation.base import Comparison, Evaluate, Labelled

__all__ = ["EVALUATORS", "Comparison", "Evaluate", "Labelled"]

EVALUATORS: dict[str, Evaluate] = {
    "image": image.evaluate,
}
