"""What of a noisy symmetric matrix is more than noise, told by its eigenvalues."""

import math
from typing import TypeVar

import torch
from torch import Tensor

Noise = TypeVar("Noise", float, Tensor)


def largest_of_noise(noise: Noise, dimensions: int) -> Noise:
    """The largest eigenvalue that a symmetric matrix of noise alone has: about 2 s √d (Wigner, 1958).

    Args:
        noise: s, the standard deviation of an off-diagonal entry.
        dimensions: d.
    """
    return 2 * math.sqrt(dimensions) * noise


def risen_above(matrix: Tensor, edge: float) -> Tensor:
    """A symmetric matrix without the directions in which it is smaller than `edge`."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.where(values.abs() > edge, 0.0)) @ vectors.T
