"""The report's part about `training.refine`: the table with the critic beside its control, and which of them to use."""

from collections.abc import Mapping, Sequence
from typing import Any

from silogan.common.pages.words import number

Report = Mapping[str, Any]

REFINEMENT = """
{% from "parts" import row, table %}
{% set refinement = report.refinement %}
<section>
<h2>Was the critic worth its share?</h2>
<p><strong>{{ refinement.advice }}</strong></p>
{% if refinement.control is not none %}
{% call table("Two runs at the same budget, of the same hospitals. Measured on real test " ~ report.records.noun
              ~ ", outside the guarantee.",
              ("Measure", "With the critic", "Without: the whole budget in the release"), "figures") %}
{% for name, values in refined %}{{ row(name, values) }}{% endfor %}
{% endcall %}
{% endif %}
</section>
"""

MARGIN = 0.01
"""AUROC, or accuracy, by which a critic must be better: seeds alone changed it by up to 0.009."""

MEASURES = {
    "logistic": "AUROC, logistic regression",
    "boosting": "AUROC, boosted trees",
    "one_way": "Distance of single columns",
    "two_way": "Distance of pairs of columns",
    "auroc": "AUROC of a network that learnt from synthetic images",
    "accuracy": "Its accuracy",
    "accuracy_relabelled": "Its accuracy, with labels of the release's classifier",
}
_DECIDES = (("AUROC", ("logistic", "boosting")), ("AUROC", ("auroc",)), ("accuracy", ("accuracy",)))
"""By which figures, and what they are called: the mean of the first that were measured in both runs."""

_DISTANCES = ("one_way", "two_way")

Figures = dict[str, float | None]


def compare(refined: Report, control: Report | None) -> dict[str, Any]:
    """What `report.json` says of a critic.

    Args:
        refined: figures of the run, as `server/evaluation` gives them.
        control: those of the same study with the whole budget in the release; None if it was not run.

    Returns:
        `refined` and `control`, the figures by `MEASURES`, or None; `use`, "with", "without" or None where that was not
        measured; `advice`, the same in a sentence.
    """
    with_critic, without = _figures(refined), None if control is None else _figures(control)
    found = {"refined": with_critic, "control": without}
    if with_critic is None or without is None:
        advice = "No control was measured: nothing here says whether the critic was worth its share of the budget."
        return {**found, "use": None, "advice": f"{advice} Simulate the study on public data first."}
    decided = [(what, gains) for what, names in _DECIDES if (gains := _gains(with_critic, without, names))]
    if not decided:
        return {**found, "use": None, "advice": "There is no AUROC to compare: compare the distances."}
    what, gains = decided[0]
    gain = sum(gains) / len(gains)
    if gain > MARGIN:
        return {**found, "use": "with", "advice": f"Use it with the critic: {what} is higher by {gain:.3f}."}
    worse = f"{what} is lower by {-gain:.3f} with the critic"
    tie = f"{what} with the critic differs by {round(gain, 3) + 0.0:+.3f}, no more than another seed may change it"
    advice = f"Use the release alone, without training.refine: {tie if gain >= -MARGIN else worse}."
    return {**found, "use": "without", "advice": advice}


def view(report: Report) -> dict[str, Any]:
    """The figures side by side, in words; nothing for a run without a critic."""
    found = report.get("refinement")
    if not found or found["control"] is None:
        return {}
    shown = [key for key in MEASURES if key in found["refined"]]
    return {"refined": [(MEASURES[key], [number(found[of][key]) for of in ("refined", "control")]) for key in shown]}


def _gains(ours: Figures, theirs: Figures, names: Sequence[str]) -> list[float]:
    pairs = [(ours.get(name), theirs.get(name)) for name in names]
    return [mine - other for mine, other in pairs if mine is not None and other is not None]


def _figures(report: Report) -> Figures | None:
    table: Mapping[str, Any] | None = report.get("table")
    return _of_table(table) if table else _of_images(report["utility"])


def _of_images(utility: Report) -> Figures | None:
    """Of classifiers that learnt from synthetic images; AUROC where there are two classes."""
    if utility.get("accuracy_synthetic") is None:
        return None
    keys = {"auroc": "auroc_synthetic", "accuracy": "accuracy_synthetic", "accuracy_relabelled": "accuracy_relabelled"}
    return {name: utility[key] for name, key in keys.items() if key in utility}


def _of_table(table: Report) -> Figures:
    scores = next((one for one in table["scores"] if one["learnt_from"] == "synthetic"), None)
    distances = table["distances"] or {}
    found: Figures = {name: scores[name]["auroc"] if scores else None for name in ("logistic", "boosting")}
    return found | {name: distances[name]["mean"] if distances.get(name) else None for name in _DISTANCES}
