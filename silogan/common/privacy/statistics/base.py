"""A statistic of all patients: a vector for each record, added up in the slot that the record belongs to."""

from abc import ABC, abstractmethod

from torch import Tensor

LARGEST = 63 / 64
"""The most that a record adds, in L2 norm; `client/mechanism` keeps the rest of 1 for rounding."""


class Statistic(ABC):
    """A vector of `slots` parts, to which a record adds in one of them: one for each class, or for each cell of it.

    Attributes:
        slots, width: how many parts there are, and the length of each.

    Privacy:
        Unit: one record (the door averages those of a patient). Neighbouring: add or remove one. Sensitivity: each
        row's norm is at most `LARGEST` < 1, whatever the record is and whatever was sent; a subclass says why.
    """

    slots: int
    width: int

    @property
    def size(self) -> int:
        """Length of the whole vector."""
        return self.slots * self.width

    @abstractmethod
    def rows(self, records: Tensor, labels: Tensor) -> Tensor:
        """What each record adds to its class, float64[N, width].

        Args:
            records: float32[N, *shape], encoded.
            labels: int64[N].
        """

    def placed(self, records: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The slot int64[N] that each record adds to, which is its class's, and what it adds there: `rows`."""
        return labels, self.rows(records, labels)
