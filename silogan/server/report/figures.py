"""Key figures: utility and fidelity of the records, privacy loss, time and memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from silogan.common.pages.words import number, percent

Report = Mapping[str, Any]

FIGURES = """
{% from "parts" import card, pill, reading, row, table %}
<section>
<h2>Key figures</h2>
<ul class="cards">
{% if headline.value is none %}
{{ card(headline.name, "not measured", no_utility) }}
{% else %}
{{ card(headline.name, headline.value, headline.note,
        pill("care", "on real data: not covered") if report.private else "") }}
{% endif %}
{% if not report.private %}
{{ card("Privacy loss ε", "unlimited", "no noise, no clipping", pill("bad", NO_PRIVACY)) }}
{% elif groups | length > FEW_GROUPS %}
{{ card("Privacy loss ε", "differs", "by hospital, each with its own δ or unit: see the table below") }}
{% else %}
{% for group in groups %}
{% set where = group.sites | length | counted("hospital") ~ ", " ~ group.unit ~ " level, δ\u00a0=\u00a0"
               ~ group.delta | small %}
{{ card("Privacy loss ε", group.spent | map("epsilon") | unique | join(" to ") or "—", where,
        reading(group.spent[1]) if group.spent else "") }}
{% endfor %}
{% endif %}
{{ card("Time", report.seconds.total | duration,
        "training " ~ report.seconds.training | duration ~ ", evaluation " ~ report.seconds.evaluation | duration) }}
{{ card("Peak memory", report.peak_memory_bytes | memory, report.hardware) }}
</ul>

{% if not report.get("table") %}
<h3>Quality of the synthetic records</h3>
{% if utility %}
{% call table("Utility: a classifier tested on real records. Training on real records gives the upper limit.",
              ["Measure"] + classifiers) %}
{% for name, meaning, values in utility %}
{{ row(name, values | map("measured"), meaning) }}
{% endfor %}
{% endcall %}
{% else %}
<p>Utility was not measured: {{ no_utility }}.</p>
{% endif %}
{% if dice %}
{% call table("Segmentation: Dice of a small U-Net on real test records; 1 is best", ["Learnt from", "Dice"]) %}
{% for name, meaning, value in dice %}
{{ row(name, [value | number], meaning) }}
{% endfor %}
{% endcall %}
{% endif %}
{% if others %}
{% call table("Other classifiers, on the lowest frequencies of at most 5,000 records",
              ["Accuracy of", "Trained on synthetic", "Trained on real"]) %}
{% for name, values in others %}
{{ row(name, values | map("measured"), "") }}
{% endfor %}
{% endcall %}
{% endif %}
{% if report.fidelity %}
{% set basis = "Fidelity: %s synthetic records compared with real ones, features: %s"
               | format(report.fidelity.samples | whole, report.fidelity.features) %}
{% call table(basis, ("Measure", "Synthetic", "Real training records")) %}
{% for name, meaning, value, reference in fidelity %}
{{ row(name, [value | measured, reference | measured], meaning) }}
{% endfor %}
{% endcall %}
<p class="soft">Real training records: the same measures of as many real ones in the place of the synthetic ones. A
perfect generator would reach them.</p>
{% if coverage %}
{% call table("Coverage of each class: a low share is what the generator does not draw",
              ["Real test records of", "By synthetic records", "By as many real training records"]) %}
{% for name, values in coverage %}
{{ row(name, values | map("measured"), "") }}
{% endfor %}
{% endcall %}
{% endif %}
{% else %}
<p>Fidelity was not measured: {{ no_fidelity }}.</p>
{% endif %}
{% endif %}
</section>
"""

UTILITY = (
    ("accuracy", "Accuracy", "share of real test records classified correctly"),
    ("balanced_accuracy", "Balanced accuracy", "the same, each class counting equally"),
    ("auroc", "AUROC", "how well the classes are separated: 0.5 is chance, 1 is perfect"),
)
CLASSIFIERS = {
    "synthetic": "Trained on synthetic",
    "relabelled": "On synthetic, relabelled",
    "real": "Trained on real",
    "released": "Linear classifier of the release",
}
OTHERS = {"logistic": "Logistic regression", "boosting": "Boosted trees"}
DICE = (
    ("synthetic", "Synthetic pairs", "images and masks that were drawn together"),
    ("real", "Real pairs", "the upper limit"),
    ("blind", "Places alone", "the best mask that is the same for all images"),
)
FIDELITY = (
    ("precision", "Precision", "share of synthetic records that lie among the real ones; 1 is best"),
    ("recall", "Recall", "share of real records that lie among the synthetic ones; 1 is best"),
    ("density", "Density", "how densely real records surround the synthetic ones; about 1 is best"),
    ("coverage", "Coverage", "share of real records with a synthetic one close by; 1 is best"),
    ("frechet_distance", "Fréchet distance", "distance of the two distributions; lower is better, 0 is best"),
)
NO_BREAK = "\u00a0"
NO_REASON = "no reason was recorded"


def view(report: Report) -> dict[str, Any]:
    """Each measure with its meaning, or the reason why there is none."""
    utility, fidelity = report["utility"], report["fidelity"] or {}
    reference: Mapping[str, Any] = fidelity.get("reference") or {}  # runs of older versions have none
    told = [of for of in CLASSIFIERS if of in ("synthetic", "real") or utility.get(f"accuracy_{of}") is not None]
    return {
        "headline": _headline(report),
        "utility": [
            (name, meaning, [utility.get(f"{key}_{of}") for of in told])
            for key, name, meaning in UTILITY
            if any(utility.get(f"{key}_{of}") is not None for of in told)
        ],
        "classifiers": [CLASSIFIERS[of] for of in told],
        "others": [
            (OTHERS[name], [found["accuracy_synthetic"], found["accuracy_real"]])
            for name, found in utility.get("others", {}).items()
        ],
        "dice": [
            (name, meaning, utility[f"dice_{of}"])
            for of, name, meaning in DICE
            if utility.get(f"dice_{of}") is not None
        ],
        "no_utility": report["utility_reason"] or NO_REASON,
        "fidelity": [(name, meaning, fidelity.get(key), reference.get(key)) for key, name, meaning in FIDELITY],
        "coverage": _coverage(report["classes"], fidelity),
        "no_fidelity": report["fidelity_reason"] or NO_REASON,
    }


def _coverage(classes: Sequence[str], fidelity: Mapping[str, Any]) -> list[tuple[str, list[float | None]]]:
    """Of each class its name, and the shares that synthetic and real records cover; nothing if it was not measured."""
    covered = fidelity.get("coverage_by_class")
    if covered is None:
        return []
    real = fidelity.get("coverage_by_class_real") or [None] * len(covered)
    return [(name, [*shares]) for name, *shares in zip(classes, covered, real, strict=True)]


def _headline(report: Report) -> dict[str, str | None]:
    """The first figure of all: of tables AUROC, which a frequent class does not flatter; of other records accuracy."""
    measure, classifier, shown, limit = "accuracy", "a classifier", percent, ", the upper limit"
    if report.get("table"):
        measure, classifier, shown, limit = "auroc", "logistic regression", number, ""
    synthetic, real = (report["utility"].get(f"{measure}_{of}") for of in ("synthetic", "real"))
    ceiling = "" if real is None else f"; {shown(real).replace(' ', NO_BREAK)} when trained on real ones{limit}"
    return {
        "name": f"{'AUROC' if report.get('table') else 'Accuracy'} on real test records",
        "value": None if synthetic is None else shown(synthetic),
        "note": f"of {classifier} trained on synthetic records{ceiling}",
    }
