"""A mixture of products with slopes: how a critic moves a fitted mixture at the server.

A row is drawn as the mixture draws it, by a component and a cell of each column, each by the Gumbel-max trick. In the
backward pass the choices are softmaxes of the same noisy logits (straight-through Gumbel-softmax; Jang, Gu and Poole,
2017). The logits are those of the mixture, so that what they come to is again a mixture, exactly.
"""

import torch
from torch import Tensor, nn

from silogan.common.models.networks.mixture import MixtureOfProducts

_LEAST = 1e-8
"""Probabilities below it count as it, as their logits would be endless."""


class RelaxedMixture(nn.Module):
    """The logits of a mixture as parameters.

    How frequent classes are stays as it was fitted; which components have them and which cells those have is moved.

    Args:
        mixture: where they begin, and what `fold` changes.
        temperature: of the softmaxes, above 0.

    Attributes:
        chosen: logits float32[classes, K] of the components of each class.
        cells: logits float32[K, cells], of each column's cells.
    """

    def __init__(self, mixture: MixtureOfProducts, temperature: float) -> None:
        super().__init__()
        self._mixture, self._temperature = mixture, temperature
        self.chosen = nn.Parameter(mixture.joint.T.clamp(min=_LEAST).log())
        self.cells = nn.Parameter(mixture.cells.clamp(min=_LEAST).log())

    def draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows float32[count, *shape], with slopes, and their classes int64[count].

        Where in its cell a number lies, which no mixture models and no critic sees, is 0.
        """
        labels = self._mixture.draw_classes(count, rng)
        component = self._one_of(self.chosen[labels], rng)
        logits = (component @ self._probabilities()).clamp(min=_LEAST).log()
        rows = [self._one_of(logits[:, block], rng) for block in self._mixture.blocks]
        positions = logits.new_zeros(count, self._mixture.latent_dim - 1 - len(rows))
        return torch.cat((*rows, positions), dim=1), labels

    @torch.no_grad()
    def fold(self) -> None:
        """Gives the mixture the probabilities that the logits stand for."""
        of_class = self._mixture.joint.sum(dim=0) * self.chosen.softmax(dim=1).T
        chances = of_class.sum(dim=1)
        self._mixture.chances.copy_(chances / chances.sum())
        self._mixture.classes.copy_(of_class / chances.unsqueeze(1))
        self._mixture.cells.copy_(self._probabilities())

    def _probabilities(self) -> Tensor:
        """float32[K, cells], those of each column adding up to 1."""
        return torch.cat([self.cells[:, block].softmax(dim=1) for block in self._mixture.blocks], dim=1)

    def _one_of(self, logits: Tensor, rng: torch.Generator) -> Tensor:
        """One-hot rows for logits [B, n], with the slopes of softmaxes."""
        noise = torch.empty_like(logits).exponential_(generator=rng).clamp(min=1e-30).log()
        soft = ((logits - noise) / self._temperature).softmax(dim=1)
        hard = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
        return hard + (soft - soft.detach())
