"""Averaging what the sites send: each reply is checked, then added to a running weighted mean."""

import math

import torch
from flwr.app import ArrayRecord

from common.wire.messages import Weights, unpack
from server.rounds.quarantine import ProtocolViolation

# A sender could declare a small tensor and ship a large one; NumPy's own header takes well under this.
_HEADER_BYTES = 1024


def checked_weights(record: ArrayRecord, reference: Weights, max_update_norm: float) -> Weights:
    """A reply's weights, if they may be averaged.

    Args:
        record: as received; nothing in it is trusted.
        reference: what was sent out: the names, shapes and types that are expected.
        max_update_norm: largest L2 distance from `reference`.

    Raises:
        ProtocolViolation: other names, shapes or types; values that are not finite; or an update that is too long.
    """
    hint = "the reply is left out of the average"
    if set(record.keys()) != set(reference):
        raise ProtocolViolation("reply", "has other weights than were asked for", hint)
    for name, expected in reference.items():
        array = record[name]
        size = expected.numel() * expected.element_size()
        if tuple(array.shape) != tuple(expected.shape) or len(array.data) > size + _HEADER_BYTES:
            raise ProtocolViolation(f"reply's {name}", "has another shape", hint)
    try:
        weights = unpack(record)
    except Exception:  # whatever NumPy makes of hostile bytes
        raise ProtocolViolation("reply", "cannot be unpacked", hint) from None
    squared = 0.0
    for name, expected in reference.items():
        tensor = weights[name]
        if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            raise ProtocolViolation(f"reply's {name}", "has another shape or type", hint)
        if not bool(tensor.isfinite().all()):
            raise ProtocolViolation(f"reply's {name}", "is not finite", hint)
        squared += float((tensor.double() - expected.double()).square().sum())
    if math.sqrt(squared) > max_update_norm:
        raise ProtocolViolation("reply", f"moves the weights by more than {max_update_norm:g}", hint)
    return weights


class WeightedMean:
    """Σ wᵢxᵢ / Σ wᵢ over the replies seen so far, in float64 and in constant memory (McMahan et al., 2017)."""

    def __init__(self, reference: Weights) -> None:
        self._reference = reference
        self._sum = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in reference.items()}
        self._total = 0.0

    def add(self, weights: Weights, weight: float) -> None:
        """Adds one site's weights with a public, positive weight."""
        self._total += weight
        for name, tensor in weights.items():
            self._sum[name].add_(tensor, alpha=weight)

    def value(self) -> Weights:
        """The mean, in the types of the reference."""
        return {name: (total / self._total).to(self._reference[name].dtype) for name, total in self._sum.items()}


def moving_average(average: Weights, new: Weights, decay: float) -> Weights:
    """Decay · average + (1 - decay) · new (Yazici et al., 2019, for generators)."""
    return {name: torch.lerp(new[name], tensor, decay) for name, tensor in average.items()}


def distance(a: Weights, b: Weights) -> float:
    """L2 distance of two sets of weights with the same names."""
    return math.sqrt(sum(float((a[name].double() - b[name].double()).square().sum()) for name in a))
