"""What the records of a run are good for, in one word with its reasons: usable, weak, failed or unmeasured."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from silogan.common.wire.run_folder import REPORT_FILE

KEPT_USABLE, KEPT_WEAK = 0.9, 0.5
"""Least shares of what real records teach beyond chance that synthetic ones must teach."""

RECALL_USABLE, RECALL_WEAK = 0.5, 0.1
"""Least recalls, of the class that is found least, by a classifier that learnt from synthetic records."""

COVERAGE_USABLE, COVERAGE_WEAK = 0.3, 0.05
"""Least shares of real test images that have a synthetic one nearby (coverage; Naeem et al., 2020)."""


class Word(StrEnum):
    """A verdict, from the best to the worst; `unmeasured` says that nothing was compared with real records."""

    usable = "usable"
    weak = "weak"
    failed = "failed"
    unmeasured = "unmeasured"


@dataclass(frozen=True)
class Verdict:
    """What a run's synthetic records are good for.

    Attributes:
        word: the verdict: the worst of all that was measured.
        reasons: what was measured, beside the threshold of `usable`.
    """

    word: Word
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> "Verdict":
        """The verdict on a run, from the content of its `report.json`.

        Figures of one run and one seed: several seeds say more. Real records were looked at outside of the guarantee.
        """
        if not report["private"]:
            return cls(Word.failed, ("trained without privacy, for comparison only",))
        if report.get("configuration", {}).get("model", {}).get("draws") is False:
            return cls(Word.failed, ("draws nothing: the records were too few, and the release is a classifier alone",))
        return cls.of_figures(report, len(report["classes"]))

    @classmethod
    def of_figures(cls, figures: Mapping[str, Any], num_classes: int) -> "Verdict":
        """The verdict on figures of `silogan evaluate`."""
        found = list(_measured(figures, num_classes))
        if not found:
            why = figures.get("utility_reason") or figures.get("fidelity_reason") or "nothing was compared"
            return cls(Word.unmeasured, (f"not compared with real records: {why}",))
        worst = max((word for word, _ in found), key=list(Word).index)
        return cls(worst, tuple(reason for _, reason in found))

    @classmethod
    def in_folder(cls, run_dir: Path) -> "Verdict | None":
        """The verdict that a run's report has; None of a run without one, as those of real hospitals."""
        try:
            return cls.of_json(json.loads((run_dir / REPORT_FILE).read_bytes())["verdict"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def of_json(cls, plain: Mapping[str, Any]) -> "Verdict":
        """The inverse of `to_json`."""
        return cls(Word(plain["word"]), tuple(map(str, plain["reasons"])))

    def reaches(self, required: Word) -> bool:
        """Whether it is at least as good."""
        return list(Word).index(self.word) <= list(Word).index(required)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {"word": self.word.value, "reasons": list(self.reasons)}

    def __str__(self) -> str:
        return f"{self.word}: {'; '.join(self.reasons)}"


def word_of(report: Mapping[str, Any]) -> Word:
    """The verdict that a report has; `unmeasured` of an older one, which has none."""
    return Word((report.get("verdict") or {"word": Word.unmeasured})["word"])


def _measured(figures: Mapping[str, Any], num_classes: int) -> Iterator[tuple[Word, str]]:
    """The word of each figure, and the figure in words."""
    utility, fidelity = figures.get("utility") or {}, figures.get("fidelity")
    for name, chance in (("AUROC", 0.5), ("accuracy", 1 / max(2, num_classes))):
        told = _kept(name, utility, chance)
        if told is not None:
            yield told
            break  # of two classes AUROC alone: accuracy depends on how many there are of each
    told = _kept("Dice", utility, utility.get("dice_blind") or 0)  # of the best mask that is the same for all images
    if told is not None:
        yield told
    recalls = [recall for recall in utility.get("per_class_recall_synthetic") or () if recall is not None]
    if recalls:
        told = f"the class found least is found in {_share(min(recalls))} of cases, usable from {_share(RECALL_USABLE)}"
        yield _graded(min(recalls), RECALL_USABLE, RECALL_WEAK), told
    if fidelity is not None and (coverage := fidelity.get("coverage")) is not None:
        told = f"{_share(coverage)} of real images have a synthetic one nearby, usable from {_share(COVERAGE_USABLE)}"
        yield _graded(coverage, COVERAGE_USABLE, COVERAGE_WEAK), told


def _kept(name: str, utility: Mapping[str, Any], chance: float) -> tuple[Word, str] | None:
    """The share that is kept of what real records teach beyond chance; None if that was not measured, or is nothing."""
    synthetic, real = (utility.get(f"{name.lower()}_{of}") for of in ("synthetic", "real"))
    if synthetic is None or real is None or real <= chance:
        return None
    kept = (synthetic - chance) / (real - chance)
    told = f"{_share(max(0.0, kept))} of what real records teach beyond chance"
    told = f"{told} ({name} {synthetic:.3f}, real {real:.3f})"
    return _graded(kept, KEPT_USABLE, KEPT_WEAK), f"{told}, usable from {_share(KEPT_USABLE)}"


def _share(figure: float) -> str:
    return f"{100 * figure:.0f} %"


def _graded(figure: float, usable: float, weak: float) -> Word:
    return Word.usable if figure >= usable else Word.weak if figure >= weak else Word.failed
