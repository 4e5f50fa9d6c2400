"""Losses of a GAN, on a critic's answers and without reduction.

A private step clips the gradient of each patient, so a loss gives one value per image; its user divides the sum by a
public constant. D denotes the sigmoid of a logit l, so that log D = -softplus(-l) and log(1 - D) = -softplus(l), which
neither overflow nor lose the gradient where the sigmoid saturates.

A critic that names classes too (an auxiliary classifier; Odena, Olah and Shlens, 2017) answers with two logits, of "is
real" and of "is of its class". Real images then teach both, and made ones the first alone, so that what is learnt of
classes is that of real images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_OfLogits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """The losses that the discriminator minimises on real and fake images, and the generator on fakes.

    Attributes:
        real: the discriminator's loss on each real image; takes answers float[B], or float[B, 2] with the class's
            logit, and returns float[B], as all three.
        fake: the discriminator's loss on each generated image.
        generator: the generator's loss on each generated image.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def reality(answers: Tensor) -> Tensor:
    """The logits float[B] of "is real" in answers float[B] or float[B, 2]."""
    return answers if answers.dim() == 1 else answers[:, 0]


def _loss(real: _OfLogits, fake: _OfLogits, generator: _OfLogits) -> Loss:
    """The loss of answers, from its parts of logits. Of a class's logit it is -log p, as cross-entropy has it."""

    def of_real(answers: Tensor) -> Tensor:
        found = real(reality(answers))
        return found if answers.dim() == 1 else found + _log_not(answers[:, 1])

    return Loss(of_real, lambda answers: fake(reality(answers)), lambda answers: generator(reality(answers)))


def _squared_from_1(logits: Tensor) -> Tensor:
    """(l - 1)²/2."""
    return (logits - 1).square() / 2


def _log_not(logits: Tensor) -> Tensor:
    """-log D."""
    return F.softplus(-logits)


LOSSES: dict[str, Loss] = {
    # max(0, 1 - l), max(0, 1 + l), -l (Lim and Ye, 2017; Miyato et al., 2018, eq. 16 and 17)
    "hinge": _loss(lambda logits: F.relu(1 - logits), lambda logits: F.relu(1 + logits), torch.neg),
    # (l - 1)²/2, l²/2, (l - 1)²/2 (Mao et al., 2017, eq. 9)
    "least_squares": _loss(_squared_from_1, lambda logits: logits.square() / 2, _squared_from_1),
    # min_G max_D E[log D(x)] + E[log(1 - D(G(z)))] (Goodfellow et al., 2014, eq. 1): the article's loss. Its generator
    # learns nothing while the discriminator is sure; the next one is the usual remedy.
    "minimax": _loss(_log_not, F.softplus, lambda logits: -F.softplus(logits)),
    # the same, but the generator maximises log D(G(z)) (Goodfellow et al., 2014, section 3)
    "nonsaturating": _loss(_log_not, F.softplus, _log_not),
    # -l, l, -l (Arjovsky, Chintala and Bottou, 2017, eq. 2 and algorithm 1): a distance only while the critic is
    # Lipschitz, so give `training.weight_clip` with it
    "wasserstein": _loss(torch.neg, lambda logits: logits, torch.neg),
}
