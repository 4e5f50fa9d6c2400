"""The direction of a round's updates: detects a site that works against the others, without its data.

Only the generator's part is compared. Each site's discriminator carries noise of its own, and its update is mostly that
noise. Measured over six rounds of four sites with digits (`digits-basic.yaml`, ε = 10), each of them reversed in turn:

| cosine with the median of all four      | honest       | reversed       |
|-----------------------------------------|--------------|----------------|
| generator                               | 0.87 to 0.95 | -0.88 to -0.75 |
| generator, two classes a site (shards)  | 0.71 to 0.91 | -0.78 to -0.40 |
| discriminator                           | 0.44 to 0.53 | 0.34 to 0.45   |
| both as one vector                      | 0.47 to 0.61 | 0.07 to 0.35   |

A site that reverses its discriminator alone is not seen here: the median and the trimmed mean bear it.
"""

import torch
from torch import Tensor

from silogan.common.models.weights import Weights, flattened, generator_weights
from silogan.server.rounds.aggregation.trimmed_mean import trimmed_mean

FEWEST = 3
"""Updates that a median needs to have a majority."""


def cosines_with_median(replies: list[Weights], sent: Weights) -> list[float]:
    """Cosine of each generator's update with the coordinate-wise median of them all, in [-1, 1].

    Args:
        replies: weights of n ≥ 1 sites, finite and of the shapes of `sent`.
        sent: what they started from.

    Returns:
        n cosines; 1 where an update or the median is zero, so that a vector without direction is not held against
        anyone.
    """
    generator = generator_weights(sent)
    updates = torch.stack([flattened(reply, generator) for reply in replies])
    median = trimmed_mean(updates, (len(updates) - 1) // 2)
    return [_cosine(update, median) for update in updates]


def _cosine(a: Tensor, b: Tensor) -> float:
    length = float(a.norm() * b.norm())
    return max(-1.0, min(1.0, float(a @ b) / length)) if length else 1.0
