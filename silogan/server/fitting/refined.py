"""How a critic moves a generator that refines images, at the server.

The loss has two parts: what the critic says, and how far the lowest frequencies of a refined image have strayed from
those that were drawn (a consistency loss). The release knows these well; without the second part a critic that is
noisy, or fooled, would lead all images of a class to the same one.
"""

import torch
from torch import Tensor

from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_features import Spectrum
from silogan.common.models.networks import uniform_labels
from silogan.common.models.networks.gaussians import RefinedGaussians


class RefinedImages:
    """Draws images, with slopes, and says how far they have strayed.

    Args:
        generator: that refines.
        schema: of its images.
        frequencies: those that were released, in each direction; the lower half of them is to stay.
        consistency: weight of the mean squared distance.
    """

    def __init__(self, generator: RefinedGaussians, schema: ImageSchema, frequencies: int, consistency: float) -> None:
        self._generator, self._classes, self._consistency = generator, schema.num_classes, consistency
        self._lowest = Spectrum(schema.shape, max(1, frequencies // 2))

    def draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images float32[count, C, S, S], their classes int64[count], and the weighted distance float32[]."""
        z = torch.randn(count, self._generator.latent_dim, generator=rng)
        labels = uniform_labels(count, self._classes, rng)
        with torch.no_grad():
            drawn = self._generator.drawn(z, labels)
        images = self._generator.refined(drawn, labels)
        strayed = self._lowest.of(images - drawn).square().sum(dim=1).mean()
        return images, labels, self._consistency * strayed
