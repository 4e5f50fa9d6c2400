"""The mean of each coordinate without its tails."""

import torch
from torch import Tensor

from silogan.common.models.weights import Weights
from silogan.server.rounds.aggregation.base import RobustRule


class TrimmedMean(RobustRule):
    """Coordinate-wise mean of what is left without the f smallest and f largest values (Yin et al., 2018).

    With at most f hostile sites of n > 2f, every coordinate lies between two honest values. Public weights do not
    enter: the tails are counted in sites.
    """

    description = "mean of each weight without its f smallest and f largest values"

    def _combined(self, replies: list[Weights]) -> Weights:
        return by_coordinate(replies, self._reference, self._settings.byzantine)


def by_coordinate(replies: list[Weights], reference: Weights, trimmed: int) -> Weights:
    """The trimmed mean of each coordinate, computed in float64, in the types of the reference."""
    return {
        name: trimmed_mean(torch.stack([reply[name].double() for reply in replies]), trimmed).to(sent.dtype)
        for name, sent in reference.items()
    }


def trimmed_mean(values: Tensor, trimmed: int) -> Tensor:
    """Mean over the first axis without the `trimmed` smallest and largest of its n > 2 · trimmed values.

    Args:
        values: float64[n, ...].
        trimmed: values left out on each side.

    Returns:
        float64[...]; for trimmed = (n - 1) // 2 the median.
    """
    return values.sort(dim=0).values[trimmed : len(values) - trimmed].mean(dim=0)
