"""The critic of table rows, which `training.refine` trains by private steps.

It sees whole rows, cell by cell, and not what was released of them: a linear critic of released counts would say no
more than the counts do.
"""

import torch
from torch import Tensor, nn

from common.models.networks.base import Discriminator


class RowCritic(Discriminator):
    """Two hidden layers on the cells of a row and its class. Where in its cell a number lies is not seen.

    Args:
        cells: of all columns together; the first entries of a row.
        classes: number of labels.
        width: of the hidden layers.
    """

    conditional = True

    def __init__(self, cells: int, classes: int, width: int) -> None:
        super().__init__()
        self._cells, self._classes = cells, classes
        self.layers = nn.Sequential(
            nn.Linear(cells + classes, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
            nn.Flatten(0),
        )

    def forward(self, records: Tensor, labels: Tensor | None) -> Tensor:
        """See `Discriminator.forward`."""
        if labels is None:
            raise ValueError("this critic needs labels")
        of_class = labels.unsqueeze(1) == torch.arange(self._classes, device=labels.device)
        return self.layers(torch.cat((records[:, : self._cells], of_class.to(records.dtype)), dim=1))
