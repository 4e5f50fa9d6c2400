"""The public images that a fitted generator takes fine detail from (`common/models/networks/detail.py`).

They are moved about a little, so that for whatever is drawn there is one that lies as it does. Nothing of this depends
on a hospital's release: the same public images always give the same.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from silogan.common.modality.image import to_bytes, to_unit_range
from silogan.common.modality.image_options import Gaussians
from silogan.common.modality.joint import image_of
from silogan.common.models.networks.detail import pool_size
from silogan.common.models.weights import Weights, under
from silogan.common.seeding import seeded_generator
from silogan.common.wire.study import Study
from silogan.server.fitting.public_images import read_public

LEAST_PART, MOST_TURN = 0.85, 5.0
"""Least part of a public image's height and width that is shown, and most degrees that it is turned by."""

_AT_ONCE = 512


def detail_weights(study: Study) -> Weights:
    """The public images of a generator; nothing if the study has none.

    Raises:
        DataError: they cannot be read, or are not those that the study names.

    Privacy:
        Costs nothing: they are public, and what is drawn with them is computed from the release and from them alone.
        That they hold no private image is for the coordinator to see to; no software can tell.
    """
    model = study.scenario.model
    if not isinstance(model, Gaussians) or model.public is None or model.draws is False:
        return {}
    shape = image_of(study.schema).shape
    images = read_public(model.public, shape)
    return under("generator", {"detail.images": moved(images, pool_size(shape), shape[-1])})


def moved(images: Tensor, count: int, size: int) -> Tensor:
    """Public images, each cut, stretched and turned a little, and another way each time that it comes.

    Args:
        images: uint8[N, C, H, H].
        count: how many are made; each image comes as often as any other, but for one time.
        size: S of the result.

    Returns:
        uint8[count, C, S, S].
    """
    places = _moves(count)
    parts: list[Tensor] = []
    for chosen, move in zip((torch.arange(count) % len(images)).split(_AT_ONCE), places.split(_AT_ONCE), strict=True):
        grid = F.affine_grid(move, [len(chosen), images.shape[1], size, size], align_corners=False)
        shown = F.grid_sample(to_unit_range(images[chosen]), grid, padding_mode="border", align_corners=False)
        parts.append(to_bytes(shown))
    return torch.cat(parts)


def _moves(count: int) -> Tensor:
    """Random maps float32[count, 2, 3] from a pixel's place in the result to that in an image, both in [-1, 1]."""
    rng = seeded_generator(0, "public images")
    parts = 1 - (1 - LEAST_PART) * torch.rand(count, 2, generator=rng)
    shifts = (2 * torch.rand(count, 2, generator=rng) - 1) * (1 - parts)
    angles = (2 * torch.rand(count, generator=rng) - 1) * math.radians(MOST_TURN)
    turns = torch.stack((angles.cos(), -angles.sin(), angles.sin(), angles.cos()), dim=1).view(-1, 2, 2)
    return torch.cat((parts.unsqueeze(2) * turns, shifts.unsqueeze(2)), dim=2)
