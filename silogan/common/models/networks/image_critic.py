"""The critic of images, which `training.refine` trains by private steps.

It looks at the wavelet scattering of an image (`scattering.py`): features that nobody learnt, so that all the budget is
spent on a small network. It tells real images of a class from made ones, and classes from each other (an auxiliary
classifier; Odena, Olah and Shlens, 2017): what it learns of the one helps with the other.
"""

import torch
from torch import Tensor, nn

from silogan.common.modality.image import ImageSchema
from silogan.common.models.networks.base import Discriminator
from silogan.common.models.networks.scattering import Scattering

VECTOR = 16
"""Numbers in a vector of a processor; see `row_critic.py`."""

SLOPE = 0.1  # of LeakyReLU below 0

MAP = "standardised"
"""The name of the layer with the map that the server sets."""


class Standardised(nn.Module):
    """(x - centre) · scale, of each feature by itself, clipped to norm 1.

    Both come with the weights and are never trained. The server computes them from images of the release, which is
    post-processing (`server/fitting/critic.py`).

    Args:
        dimensions: d.

    Attributes:
        centre, scale: float32[d].

    Privacy:
        Features of one image depend on that image alone, whatever the map is. So it changes what a record's gradient
        is, and not what is added for it: that is clipped to C after all layers, for any weights and any inputs, and
        counts as zero where it is not finite (`client/mechanism/dpsgd`). A site checks names, shapes, types, and that
        all numbers are finite, as of all weights (`client/round.py`).
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("scale", torch.ones(dimensions))

    def forward(self, features: Tensor) -> Tensor:
        """float32[B, d] of features float32[B, d]."""
        found = (features - self.centre) * self.scale
        return found / found.norm(dim=1, keepdim=True).clamp(min=1)


class ImageCritic(Discriminator):
    """A hidden layer beside the features themselves, then two logits of each class: real or made, and its name.

    Args:
        schema: of the images.
        width: of the hidden layer, a multiple of `VECTOR`.
    """

    conditional = True

    def __init__(self, schema: ImageSchema, width: int) -> None:
        super().__init__()
        self.scattering = Scattering(schema.channels, schema.size)
        self._classes = schema.num_classes
        self._empty = -self.scattering.dimensions % VECTOR
        inputs, outputs = self.scattering.dimensions + self._empty, 2 * self._classes
        self.standardised = Standardised(self.scattering.dimensions)
        self.hidden = nn.Linear(inputs, width)
        self.told = nn.Linear(inputs + width, outputs + -outputs % VECTOR)

    def forward(self, records: Tensor, labels: Tensor | None) -> Tensor:
        """See `Discriminator.forward`."""
        if labels is None:
            raise ValueError("this critic needs labels")
        found = self._logits(records)
        real, names = found[:, : self._classes], found[:, self._classes : 2 * self._classes]
        own = labels.unsqueeze(1) == torch.arange(self._classes, device=labels.device)
        real = torch.where(own, real, 0).sum(dim=1)
        if self._classes == 1:
            return real
        named = torch.where(own, names, 0).sum(dim=1) - names.masked_fill(own, -torch.inf).logsumexp(dim=1)
        return torch.stack((real, named), dim=1)

    def names(self, records: Tensor) -> Tensor:
        """Logits float[B, classes] of which class an image is of."""
        return self._logits(records)[:, self._classes : 2 * self._classes]

    def _logits(self, records: Tensor) -> Tensor:
        features = self.standardised(self.scattering(records))
        features = nn.functional.pad(features, (0, self._empty))
        hidden = nn.functional.leaky_relu(self.hidden(features), SLOPE)
        return self.told(torch.cat((features, hidden), dim=1))
