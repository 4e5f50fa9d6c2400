"""Paths through latent space: from one vector to another, and along the main directions."""

import torch
from torch import Tensor
from torch.nn import functional as F

from silogan.server.explore.subject import Subject

_SEEN = 32  # pixels in height and width, at most, by which a direction is judged
_NUMBERS_AT_ONCE = 2**24  # 64 MiB
_PARALLEL = 1e-4  # of the sine of an angle


def between(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Spherical interpolation (Shoemake, 1985; for latent vectors White, 2016, section 3.1), both ends included.

    Unlike a straight line it keeps to lengths that N(0, I) draws. Vectors that are parallel are joined by a line.

    Args:
        start: float[d].
        end: float[d].
        steps: at least 2.

    Returns:
        float[steps, d].
    """
    part = torch.linspace(0, 1, steps).unsqueeze(1)
    angle = F.cosine_similarity(start, end, dim=0).clamp(-1, 1).arccos()
    if angle.sin() < _PARALLEL:
        return torch.lerp(start, end, part)
    return (((1 - part) * angle).sin() * start + (part * angle).sin() * end) / angle.sin()


def main_directions(subject: Subject, label: int | None, most: int) -> Tensor:
    """Directions in which the image of a class changes most around that of z = 0, the strongest first.

    The right singular vectors of the Jacobian J of the image at z = 0: eigenvectors of JᵀJ, the metric of latent space
    (Wang and Ponce, 2021, section 2). For Gaussians, which draw mean + root · z, they are the largest axes of the
    class's covariance; where a class has several cells, those of the one in the middle. GANSpace (Härkönen et al.,
    2020) finds such directions by the activations of sampled vectors instead.

    Args:
        subject: whose images.
        label: the class.
        most: how many; fewer if latent vectors are not as long.

    Returns:
        float32[D, latent_dim], rows of length 1; along each the image becomes brighter on the whole.
    """
    found = jacobian(subject, label)
    directions = torch.linalg.svd(found, full_matrices=False).Vh[:most]
    brighter = (directions @ found.T).sum(dim=1, keepdim=True) >= 0
    return torch.where(brighter, directions, -directions)


def jacobian(subject: Subject, label: int | None) -> Tensor:
    """Derivatives float32[P, latent_dim] at z = 0 of a class's image, averaged to P = C·32² numbers if it has more."""
    size = min(subject.schema.size, _SEEN)
    numbers = torch.arange(subject.schema.channels * size**2)
    rows: list[Tensor] = []
    for some in numbers.split(max(1, _NUMBERS_AT_ONCE // subject.numbers)):
        # a copy of z for each number of the image: the gradient of their sum is a row of J for each
        z = torch.zeros(len(some), subject.network.latent_dim, requires_grad=True)
        seen = F.adaptive_avg_pool2d(subject.images(z, label), size).flatten(1)
        rows.append(torch.autograd.grad(seen.gather(1, some.unsqueeze(1)).sum(), z)[0])
    return torch.cat(rows)
