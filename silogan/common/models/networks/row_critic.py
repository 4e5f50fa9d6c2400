"""The critic of table rows, which `training.refine` trains by private steps.

It sees whole rows, cell by cell, and not what was released of them: a linear critic of released counts would say no
more than the counts do.
"""

import torch
from torch import Tensor, nn

from silogan.common.models.networks.base import Discriminator

VECTOR = 16
"""Numbers in a vector of a processor. Layers are whole vectors wide: else what is computed for a row may depend on
where in a batch it stands, and no machine that does so may work on patients (`client/training/isolation.py`)."""


class RowCritic(Discriminator):
    """Two hidden layers on the cells of a row and its class. Where in its cell a number lies is not seen.

    Args:
        cells: of all columns together; the first entries of a row.
        classes: number of labels.
        width: of the hidden layers, a multiple of `VECTOR`.
    """

    conditional = True

    def __init__(self, cells: int, classes: int, width: int) -> None:
        super().__init__()
        self._cells, self._classes = cells, classes
        self._empty = -(cells + classes) % VECTOR
        self.layers = nn.Sequential(
            nn.Linear(cells + classes + self._empty, width),
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
        # a class each, and then places that stay 0
        of_class = labels.unsqueeze(1) == torch.arange(self._classes + self._empty, device=labels.device)
        return self.layers(torch.cat((records[:, : self._cells], of_class.to(records.dtype)), dim=1))
