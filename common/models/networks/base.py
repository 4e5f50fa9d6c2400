"""What every family of networks offers, whatever its layers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from common.config.scenario import Model
from common.modality.image import ImageSchema


class Generator(nn.Module, ABC):
    """Turns noise into images.

    Attributes:
        latent_dim: length of one noise vector, to be drawn from N(0, I).
        conditional: whether the image depends on the label.
    """

    latent_dim: int
    conditional: bool

    @abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images for noise and labels.

        Args:
            z: float[B, latent_dim].
            labels: int64[B] in [0, classes); ignored, and may be None, unless `conditional`.

        Returns:
            float[B, channels, size, size] in [-1, 1].

        Raises:
            ValueError: labels are None though the generator is conditional.
        """


class Discriminator(nn.Module, ABC):
    """Scores images: large where it takes them for real.

    Parameters sit in leaf layers only, and each such layer runs exactly once in a forward pass: a private engine
    attributes what a layer saw and what came back to it to single patients (`common/models/networks/supported.py`).

    Attributes:
        conditional: whether the score depends on the label.
    """

    conditional: bool

    @abstractmethod
    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Logits of images and labels; the sigmoid belongs to the loss.

        Args:
            images: float[B, channels, size, size] in [-1, 1].
            labels: int64[B] in [0, classes); ignored, and may be None, unless `conditional`.

        Returns:
            float[B], unbounded.

        Raises:
            ValueError: labels are None though the discriminator is conditional.
        """


class GAN(NamedTuple):
    """A generator and the discriminator that teaches it."""

    generator: Generator
    discriminator: Discriminator


Family = Callable[[Model, ImageSchema], tuple[Generator, Discriminator]]
"""Builds both networks for a public data shape, or raises `ConfigError` where it has none for that shape."""
