"""One reply, chosen by its neighbours.

Flower has Krum as well, but takes distances as ‖x‖² + ‖y‖² - 2x·y in float32, which for updates that are small beside
the weights is rounding error (flwr 1.41).
"""

import torch

from silogan.common.models.weights import Weights, flattened
from silogan.server.rounds.aggregation.base import RobustRule


class Krum(RobustRule):
    """The one reply that is closest to its n - f - 2 nearest others (Blanchard et al., 2017).

    With at most f hostile sites of n ≥ 2f + 3 it is close to the honest ones, if they are close to each other. It
    forgoes averaging: the noise of differential privacy is one site's. Public weights do not enter. Of equally
    good replies the first is taken, which is the first in the roster.
    """

    description = "the one reply that is closest to its n - f - 2 nearest others"
    condition = "n >= 2f + 3"

    @staticmethod
    def replies_needed(byzantine: int) -> int:
        """See `Rule`."""
        return 2 * byzantine + 3

    def _combined(self, replies: list[Weights]) -> Weights:
        updates = torch.stack([flattened(reply, self._reference) for reply in replies])
        squared = torch.stack([(updates - update).square().sum(dim=1) for update in updates])
        others = squared.sort(dim=1).values[:, 1:]  # without the distance to itself, 0
        nearest = len(replies) - self._settings.byzantine - 2
        return replies[int(others[:, :nearest].sum(dim=1).argmin())]
