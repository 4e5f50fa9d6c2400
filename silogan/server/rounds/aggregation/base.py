"""The interface of every aggregation rule."""

from abc import ABC, abstractmethod
from typing import ClassVar

from silogan.common.config.scenario import Federation
from silogan.common.errors import FederationError
from silogan.common.models.weights import Weights


class Rule(ABC):
    """Combines the replies of one round into the weights of the next.

    Args:
        reference: what was sent out; has the names, shapes and types of every reply.
        settings: of the federation, which the rule has accepted.

    Attributes:
        description: what it does, in one line.
        condition: on n replies of which f are hostile, as errors say it.
        uses: which of `byzantine` and `weights` of the federation's settings enter.
        holds_replies: whether all replies of a round are in memory at once.
    """

    description: ClassVar[str]
    condition: ClassVar[str] = "n > 0"
    uses: ClassVar[frozenset[str]] = frozenset()
    holds_replies: ClassVar[bool] = False

    def __init__(self, reference: Weights, settings: Federation) -> None:
        self._reference, self._settings = reference, settings

    @staticmethod
    @abstractmethod
    def replies_needed(byzantine: int) -> int:
        """The fewest replies with which it tolerates this many hostile ones."""

    @classmethod
    def demand(cls, settings: Federation) -> str:
        """What it needs, as shown in errors."""
        asked = f"federation.aggregation={settings.aggregation} with byzantine={settings.byzantine}"
        return f"{asked} needs {cls.replies_needed(settings.byzantine)} sites ({cls.condition})"

    @abstractmethod
    def add(self, weights: Weights, weight: float) -> None:
        """Takes one site's weights, with its public, positive weight."""

    @abstractmethod
    def value(self) -> Weights:
        """The combined weights, in the types of the reference.

        Raises:
            FederationError: too few replies were added.
        """


class RobustRule(Rule):
    """A rule that tolerates f hostile sites: it holds every reply of the round, and weighs all sites equally."""

    condition = "n > 2f"
    uses = frozenset({"byzantine"})
    holds_replies = True

    def __init__(self, reference: Weights, settings: Federation) -> None:
        super().__init__(reference, settings)
        self._replies: list[Weights] = []

    @staticmethod
    def replies_needed(byzantine: int) -> int:
        """See `Rule`."""
        return 2 * byzantine + 1

    def add(self, weights: Weights, weight: float) -> None:  # noqa: ARG002
        """Takes one site's weights; its public weight is ignored."""
        self._replies.append(weights)

    def value(self) -> Weights:
        """See `Rule`."""
        if len(self._replies) < self.replies_needed(self._settings.byzantine):
            hint = "repair the sites, or lower federation.byzantine in a new study"
            raise FederationError(self.demand(self._settings), f"{len(self._replies)} replied", hint)
        return self._combined(self._replies)

    @abstractmethod
    def _combined(self, replies: list[Weights]) -> Weights:
        """The result of enough replies."""
