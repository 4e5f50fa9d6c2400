"""The mean of all replies, computed as they arrive."""

import torch

from silogan.common.config.scenario import Federation
from silogan.common.models.weights import Weights
from silogan.server.rounds.aggregation.base import Rule


class WeightedMean(Rule):
    """Σ wᵢxᵢ / Σ wᵢ over the replies seen so far, in float64 and in constant memory (McMahan et al., 2017)."""

    description = "mean of all replies, uniform or by declared size"
    uses = frozenset({"weights"})

    def __init__(self, reference: Weights, settings: Federation) -> None:
        super().__init__(reference, settings)
        self._sum = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in reference.items()}
        self._total = 0.0

    @staticmethod
    def replies_needed(byzantine: int) -> int:  # noqa: ARG004
        """See `Rule`; it tolerates no hostile reply."""
        return 1

    def add(self, weights: Weights, weight: float) -> None:
        """Adds one site's weights with a public, positive weight."""
        self._total += weight
        for name, tensor in weights.items():
            self._sum[name].add_(tensor, alpha=weight)

    def value(self) -> Weights:
        """The mean, in the types of the reference."""
        return {name: (total / self._total).to(self._reference[name].dtype) for name, total in self._sum.items()}
