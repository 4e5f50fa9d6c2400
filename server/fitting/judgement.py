"""What to expect of a fit before anything is released, from the noise that its budget asks for."""

from typing import NamedTuple

from common.modality.image_options import Gaussians
from common.wire.study import Study
from server.fitting.choices import MOST_BLUR, TOO_MUCH_BLUR, blur

USEFUL, UNCERTAIN, TOO_FEW = "useful", "uncertain", "too few records"


class Judgement(NamedTuple):
    """What to expect of a fit.

    Attributes:
        blur: of its noise (`server/fitting/choices.py`).
        verdict: "useful", "uncertain" or "too few records".
        expected: why, in a few words.
    """

    blur: float
    verdict: str
    expected: str

    @property
    def warning(self) -> str | None:
        """What speaks against the records; None where nothing is known to."""
        return None if self.verdict == USEFUL else f"{self.verdict}: {self.expected}"


def judge(study: Study) -> Judgement | None:
    """What to expect of a study; None where nothing was measured that could say."""
    model = study.scenario.model
    if not isinstance(model, Gaussians) or model.frequencies is None:
        return None
    found = blur(study.scenario, study.schema, study.sites, model.frequencies, model.cells or 1)
    share = f"noise alone would show a direction with {found:.1%} of a class's variance"
    if found <= MOST_BLUR:
        return Judgement(found, USEFUL, f"{share}, less than the {MOST_BLUR:.0%} up to which fits were useful")
    if found <= TOO_MUCH_BLUR:
        told = f"{share}; above {MOST_BLUR:.0%} it depends on the records whether images are of use"
        return Judgement(found, UNCERTAIN, told)
    instead = "a linear classifier is released" if model.draws is False else "the linear classifier is worth more"
    told = f"{share}; above {TOO_MUCH_BLUR:.0%} images teach little, and {instead}"
    return Judgement(found, TOO_FEW, told)
