"""What is made of the replies of a round: the mean, or a rule that bears a few hostile sites.

Rules other than the mean hold every reply of the round and count every site alike. Flower has these rules as well; its
Krum takes distances as ‖x‖² + ‖y‖² - 2x·y in float32, which for updates that are small beside the weights is rounding
error, and its trimmed mean cannot leave a single site of three (flwr 1.41).
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from common.config.scenario import Federation
from common.errors import FederationError
from common.wire.messages import Weights
from server.rounds.aggregation.averaging import WeightedMean


class Aggregation(Protocol):
    """Combines the weights of the sites of one round."""

    def add(self, weights: Weights, weight: float) -> None:
        """Takes one site's weights, with its public, positive weight."""
        ...

    def value(self) -> Weights:
        """The combined weights, in the types of the reference; raises `FederationError` where too few were added."""
        ...


class _AllReplies:
    """Holds the replies of a round: float32 weights of n sites take n times the memory of the mean's."""

    def __init__(self, reference: Weights, settings: Federation) -> None:
        self._reference, self._settings = reference, settings
        self._replies: list[Weights] = []

    def add(self, weights: Weights, weight: float) -> None:  # noqa: ARG002
        """Takes one site's weights; its public weight does not enter."""
        self._replies.append(weights)

    def _enough(self) -> list[Weights]:
        if len(self._replies) < self._settings.replies_needed:
            hint = "hint the sites, or lower federation.byzantine in a new study"
            raise FederationError(self._settings.aggregation_rule, f"{len(self._replies)} replied", hint)
        return self._replies


class TrimmedMean(_AllReplies):
    """Coordinate-wise mean of what is left without the f smallest and f largest values (Yin et al., 2018).

    With at most f hostile sites of n > 2f, every coordinate lies between two honest values. Public weights do not
    enter: the tails are counted in sites.
    """

    def value(self) -> Weights:
        """The trimmed mean of each coordinate, computed in float64."""
        replies = self._enough()
        return _by_coordinate(replies, self._reference, self._settings.byzantine)


class Median(_AllReplies):
    """Coordinate-wise median (Yin et al., 2018): the mean of the middle two where the number of replies is even.

    It bears fewer than half hostile sites. Public weights do not enter.
    """

    def value(self) -> Weights:
        """The median of each coordinate, computed in float64."""
        replies = self._enough()
        return _by_coordinate(replies, self._reference, (len(replies) - 1) // 2)


class Krum(_AllReplies):
    """The one reply that is closest to its n - f - 2 nearest others (Blanchard et al., 2017).

    With at most f hostile sites of n ≥ 2f + 3 it is close to the honest ones, if they are close to each other. It
    forgoes averaging: the noise of differential privacy is one site's. Public weights do not enter. Of equally
    good replies the first is taken, which is the first in the roster.
    """

    def value(self) -> Weights:
        """One of the replies, unchanged."""
        replies = self._enough()
        updates = torch.stack([flattened(reply, self._reference) for reply in replies])
        squared = torch.stack([(updates - update).square().sum(dim=1) for update in updates])
        others = squared.sort(dim=1).values[:, 1:]  # without the distance to itself, 0
        nearest = len(replies) - self._settings.byzantine - 2
        return replies[int(others[:, :nearest].sum(dim=1).argmin())]


def _mean(reference: Weights, _settings: Federation) -> Aggregation:
    return WeightedMean(reference)


AGGREGATIONS: dict[str, Callable[[Weights, Federation], Aggregation]] = {
    "mean": _mean,
    "median": Median,
    "trimmed_mean": TrimmedMean,
    "krum": Krum,
}


def flattened(weights: Weights, reference: Weights) -> Tensor:
    """The update weights - reference as one vector, float64[P], in the order of the reference."""
    return torch.cat([(weights[name].double() - sent.double()).flatten() for name, sent in reference.items()])


def trimmed_mean(values: Tensor, trimmed: int) -> Tensor:
    """Mean over the first axis without the `trimmed` smallest and largest of its n > 2 · trimmed values.

    Args:
        values: float64[n, ...].
        trimmed: values left out on each side.

    Returns:
        float64[...]; for trimmed = (n - 1) // 2 the median.
    """
    return values.sort(dim=0).values[trimmed : len(values) - trimmed].mean(dim=0)


def _by_coordinate(replies: list[Weights], reference: Weights, trimmed: int) -> Weights:
    return {
        name: trimmed_mean(torch.stack([reply[name].double() for reply in replies]), trimmed).to(sent.dtype)
        for name, sent in reference.items()
    }
