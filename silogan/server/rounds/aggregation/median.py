"""The middle of each coordinate."""

from silogan.common.models.weights import Weights
from silogan.server.rounds.aggregation.base import RobustRule
from silogan.server.rounds.aggregation.trimmed_mean import by_coordinate


class Median(RobustRule):
    """Coordinate-wise median (Yin et al., 2018): the mean of the middle two where the number of replies is even.

    It bears fewer than half hostile sites. Public weights do not enter.
    """

    description = "median of each weight"

    def _combined(self, replies: list[Weights]) -> Weights:
        return by_coordinate(replies, self._reference, (len(replies) - 1) // 2)
