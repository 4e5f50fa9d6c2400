"""Fine detail of public images, for images of which a release holds the lowest frequencies alone.

The lowest frequencies of a drawn image stay exactly as they were drawn. All others are copied from the public image
whose lowest frequencies are most alike, at the contrast that fits best. So what tells classes apart comes from the
release, and fine detail is that of a public image: of no patient of the study, but not new either.
"""

import math

import torch
from torch import Tensor, nn

from silogan.common.modality.image import to_unit_range
from silogan.common.modality.image_features import Spectrum

MOST_IMAGES, MOST_BYTES = 6000, 2**24
"""Of public images that a generator's file holds: 16 MiB."""

_CONTRASTS = 0.5, 2.0
_AT_ONCE = 512


def pool_size(shape: tuple[int, ...]) -> int:
    """How many public images of a shape a generator holds."""
    return max(1, min(MOST_IMAGES, MOST_BYTES // math.prod(shape)))


class Detail(nn.Module):
    """Adds to images what lies above their lowest frequencies.

    Args:
        shape: channels, height and width.
        above: the lowest frequencies, in each direction, that are left as they are.

    Attributes:
        images: uint8[P, C, S, S], the public images; all black until they are set, which adds nothing.
        above: as given.
    """

    images: Tensor

    def __init__(self, shape: tuple[int, ...], above: int) -> None:
        super().__init__()
        self._shape, self.above = shape, above
        self.register_buffer("images", torch.zeros(pool_size(shape), *shape, dtype=torch.uint8))

    def forward(self, drawn: Tensor) -> Tensor:
        """Images float32[N, C, S, S] with detail, not clamped, from drawn ones of the same shape and range."""
        spectrum = Spectrum(self._shape, self.above)
        public = to_unit_range(self.images)
        known = spectrum.of(public)
        return torch.cat([_with_detail(part, public, known, spectrum) for part in drawn.split(_AT_ONCE)])


def _with_detail(drawn: Tensor, public: Tensor, known: Tensor, spectrum: Spectrum) -> Tensor:
    lowest = spectrum.of(drawn)
    weights = _without_brightness(spectrum).to(lowest)
    nearest, contrasts = most_alike(lowest * weights, known * weights)
    fine = public[nearest] - spectrum.smooth(known[nearest])
    return spectrum.smooth(lowest) + contrasts.view(-1, 1, 1, 1) * fine


def _without_brightness(spectrum: Spectrum) -> Tensor:
    """The spectrum's weights float64[d], 0 for the mean of each channel: brightness says nothing of the detail."""
    weights = spectrum.weights.clone()
    weights.view(spectrum.shape)[:, 0, 0] = 0
    return weights


def most_alike(wanted: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """For each spectrum f the known one g, and the contrast a, for which ‖f - a g‖ is least.

    Args:
        wanted: float[N, d].
        known: float[P, d].

    Returns:
        The places int64[N] of g, and a float[N] between one half and two.
    """
    lengths = known.square().sum(dim=1)
    products = wanted @ known.T
    contrasts = (products / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)).clamp(*_CONTRASTS)
    places = (contrasts * (contrasts * lengths - 2 * products)).argmin(dim=1)
    return places, contrasts.gather(1, places.unsqueeze(1)).squeeze(1)
