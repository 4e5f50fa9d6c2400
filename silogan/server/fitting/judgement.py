"""What to expect of a fit before anything is released, in words."""

from typing import NamedTuple

from silogan.common.modality import Model

USEFUL, UNCERTAIN, TOO_FEW = "useful", "uncertain", "too few records"


class Judgement(NamedTuple):
    """What to expect of a fit.

    Attributes:
        figure: by which runs are compared, as each family has its own.
        verdict: "useful", "uncertain" or "too few records".
        expected: why, in a few words.
    """

    figure: float
    verdict: str
    expected: str

    @property
    def warning(self) -> str | None:
        """What speaks against the records; None where nothing is known to."""
        return None if self.verdict == USEFUL else f"{self.verdict}: {self.expected}"


def of_critic(chosen: Model) -> list[str]:
    """What is known of a critic; nothing for a model without one."""
    if not getattr(chosen, "critic", 0):
        return []
    return ["training.refine: a critic; where measured it was no better than its control, which a simulation runs"]


def option(key: str, wanted: Model, chosen: Model, why: str) -> str:
    """An option of a model in words, and why it is as it is."""
    given = getattr(wanted, key) is not None
    value = getattr(chosen, key)
    shown = f"{value:g}" if isinstance(value, float) else str(value).lower()
    return f"model.{key}: {shown}, " + ("as the scenario says" if given else why)
