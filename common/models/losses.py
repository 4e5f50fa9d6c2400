"""Losses of a GAN, on logits and without reduction.

A private step clips the gradient of each patient, so a loss gives one value per image; its user divides the sum by a
public constant. D denotes the sigmoid of a logit l, so that log D = -softplus(-l) and log(1 - D) = -softplus(l), which
neither overflow nor lose the gradient where the sigmoid saturates.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss(ABC):
    """The losses that the discriminator minimises on real and fake images, and the generator on fakes.

    Every method takes logits float[B] and returns float[B].
    """

    @abstractmethod
    def real(self, logits: Tensor) -> Tensor:
        """The discriminator's loss on each real image."""

    @abstractmethod
    def fake(self, logits: Tensor) -> Tensor:
        """The discriminator's loss on each generated image."""

    @abstractmethod
    def generator(self, logits: Tensor) -> Tensor:
        """The generator's loss on each generated image."""


@dataclass(frozen=True)
class Minimax(Loss):
    """min_G max_D E[log D(x)] + E[log(1 - D(G(z)))] (Goodfellow et al., 2014, eq. 1): the article's loss.

    real -log D(x), fake -log(1 - D(G(z))), generator log(1 - D(G(z))). The generator's gradient vanishes while the
    discriminator is sure; `NonSaturating` is the usual remedy.
    """

    def real(self, logits: Tensor) -> Tensor:
        """-log D."""
        return F.softplus(-logits)

    def fake(self, logits: Tensor) -> Tensor:
        """-log(1 - D)."""
        return F.softplus(logits)

    def generator(self, logits: Tensor) -> Tensor:
        """log(1 - D)."""
        return -F.softplus(logits)


@dataclass(frozen=True)
class NonSaturating(Minimax):
    """As `Minimax`, but the generator maximises log D(G(z)) (Goodfellow et al., 2014, section 3)."""

    def generator(self, logits: Tensor) -> Tensor:
        """-log D."""
        return F.softplus(-logits)


@dataclass(frozen=True)
class Hinge(Loss):
    """real max(0, 1 - l), fake max(0, 1 + l), generator -l (Lim and Ye, 2017; Miyato et al., 2018, eq. 16 and 17)."""

    def real(self, logits: Tensor) -> Tensor:
        """max(0, 1 - l)."""
        return F.relu(1 - logits)

    def fake(self, logits: Tensor) -> Tensor:
        """max(0, 1 + l)."""
        return F.relu(1 + logits)

    def generator(self, logits: Tensor) -> Tensor:
        """The logit, negated."""
        return -logits


@dataclass(frozen=True)
class LeastSquares(Loss):
    """real (l - 1)²/2, fake l²/2, generator (l - 1)²/2 (Mao et al., 2017, eq. 9)."""

    def real(self, logits: Tensor) -> Tensor:
        """(l - 1)²/2."""
        return (logits - 1).square() / 2

    def fake(self, logits: Tensor) -> Tensor:
        """l²/2."""
        return logits.square() / 2

    def generator(self, logits: Tensor) -> Tensor:
        """(l - 1)²/2."""
        return (logits - 1).square() / 2


@dataclass(frozen=True)
class Wasserstein(Loss):
    """real -l, fake l, generator -l (Arjovsky, Chintala and Bottou, 2017, eq. 2 and algorithm 1).

    A distance only while the critic is Lipschitz: give `training.weight_clip` with it.
    """

    def real(self, logits: Tensor) -> Tensor:
        """The logit, negated."""
        return -logits

    def fake(self, logits: Tensor) -> Tensor:
        """The logit itself."""
        return logits

    def generator(self, logits: Tensor) -> Tensor:
        """The logit, negated."""
        return -logits


LOSSES: dict[str, Loss] = {
    "hinge": Hinge(),
    "least_squares": LeastSquares(),
    "minimax": Minimax(),
    "nonsaturating": NonSaturating(),
    "wasserstein": Wasserstein(),
}
