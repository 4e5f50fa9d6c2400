"""The report's part about tables: what synthetic rows are worth, how close they are, and attacks on them."""

from collections.abc import Mapping
from typing import Any

from silogan.common.pages.words import NOTHING, percent
from silogan.server.report.table_pictures import heat_map, marginal, roc_curves

Report = Mapping[str, Any]

TABLE = """
{% from "parts" import details, pill, row, table %}
{% from "drawing" import drawing %}
<section>
<h2>Synthetic rows against real ones</h2>
<p>{{ pill("care", "on real data: not covered") if report.private }}
All of this section counts real rows without noise, its tables and its histograms alike. It is outside the guarantee and
for the researcher; do not publish it for a hospital's private data.
{% if tables.hospitals %} Hospitals alone can be measured in a simulation only.{% endif %}</p>

<h3>What classifiers learn</h3>
{% if tables.scores %}
{% call table("Classifiers tested on real rows. Compare with those trained on all real rows.",
              tables.score_head, "figures") %}
{% for name, meaning, values in tables.scores %}{{ row(name, values, meaning) }}{% endfor %}
{% endcall %}
{% else %}
<p>Not measured: {{ no_utility }}.</p>
{% endif %}
{% if tables.baselines %}
{% call table("Classifiers that the release gives without any synthetic row",
              ("Classifier", "AUROC", "Accuracy", "Balanced accuracy"), "figures") %}
{% for name, meaning, values in tables.baselines %}{{ row(name, values, meaning) }}{% endfor %}
{% endcall %}
{% endif %}
{% if tables.subgroups %}
{% call details("AUROC by group", fold=tables.subgroups | length > 12) %}
{% call table("AUROC within groups of real test rows", tables.group_head, "figures") %}
{% for name, meaning, values in tables.subgroups %}{{ row(name, values, meaning) }}{% endfor %}
{% endcall %}
{% endcall %}
{% endif %}

<h3>How close the rows are</h3>
{% if tables.violations %}
<p>{{ tables.violations }}</p>
{% endif %}
{% if tables.distances %}
{% call table(tables.distance_caption, ("Measure", "Mean", "Noise floor", "Largest", "Noise floor", "Where"),
              "figures") %}
{% for name, meaning, values in tables.distances %}{{ row(name, values, meaning) }}{% endfor %}
{% endcall %}
{% call table("Coverage: how much of what real test rows contain is found in other rows, equally many of each",
              ("What", "In test rows", "Found in synthetic", "Found in real training"), "figures") %}
{% for name, meaning, values in tables.coverage %}{{ row(name, values, meaning) }}{% endfor %}
{% endcall %}
{% else %}
<p>No rows were drawn that could be compared.</p>
{% endif %}
{% if tables.codes %}
{% call table(tables.code_caption, ("Measure", "Synthetic rows", "Real training rows", "Where"), "figures") %}
{% for name, meaning, values in tables.codes %}{{ row(name, values, meaning) }}{% endfor %}
{% endcall %}
{% call table("Share of rows with a code, the most frequent ones",
              ("Code", "Synthetic rows", "Real training rows", "Real test rows"), "figures") %}
{% for name, meaning, values in tables.frequent_codes %}{{ row(name, values, meaning) }}{% endfor %}
{% endcall %}
{% endif %}
{% if tables.marginals %}
<p class="key"><span class="swatch real"></span> real test rows <span class="swatch synthetic"></span> synthetic rows.
Beside each name the total variation distance, with its noise floor in brackets{{ tables.chosen }}.
A number's bars are its cells, which need not be equally wide.</p>
<div class="charts">{% for picture in tables.marginals %}{{ drawing(picture) }}{% endfor %}</div>
{% endif %}
{% if tables.pictures %}
<div class="charts wide">{% for picture in tables.pictures %}{{ drawing(picture) }}{% endfor %}</div>
{% endif %}

<h3>Attacks that were tried</h3>
{% if report.table.risks is none %}
<p>None: {{ report.table.risks_reason }}.</p>
{% else %}
<p>Each attack uses the synthetic rows to guess about patients in the training data. The same guesses about held-out
patients are the control: what succeeds there holds for people in general. <strong>Excess</strong> is the share of what
fails in the control that succeeds on patients in the data. In brackets: 95 % intervals. These are attacks that were
tried, not a guarantee: another attack may find more. The guarantee is ε.</p>
{% call table("Success of attacks (Giomi et al., 2023)",
              ("Attack", "Attempts", "On training rows", "Control", "Excess"), "figures") %}
{% for name, meaning, values in tables.risks %}{{ row(name, values, meaning) }}{% endfor %}
{% endcall %}
{% endif %}
</section>
"""

STYLE = """
.chart .real { fill: var(--soft); fill-opacity: .38; }
.chart .synthetic { fill: var(--accent); }
.chart .line.real { fill: none; stroke: var(--soft); }
.chart .line.dashed { stroke-dasharray: 5 3; }
.charts.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); align-items: start; }
.swatch { display: inline-block; width: .8rem; height: .8rem; vertical-align: -.08rem; margin-left: .4rem; }
.figures tbody th { min-width: 9.5rem; max-width: 16rem; }
.swatch:first-child { margin-left: 0; }
.swatch.real { background: var(--soft); opacity: .38; }
.swatch.synthetic { background: var(--accent); }
"""

CLASSIFIERS = {"logistic": "Logistic regression", "boosting": "Boosted trees"}
MEASURES = {"auroc": "AUROC", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
LEARNT_FROM = {"synthetic": "Synthetic rows", "real": "All real rows"}
DISTANCES = {
    "one_way": ("Single columns", "total variation distance of their cells"),
    "two_way": ("Pairs of columns", "the same; a number is cut into at most 8 groups"),
    "association": ("Dependence of pairs", "difference of Cramér's V, 0 to 1"),
}
COVERAGE = {
    "groups": ("Values", "groups of all columns"),
    "rare_groups": ("Rare values", "those of at most 1 % of the test rows"),
    "sensitive_pairs": ("Pairs of sensitive values", "combinations of two sensitive columns, or of one with the label"),
}

_KINDS = ("synthetic", "train")

_Row = tuple[str, str, list[str]]
"""Heading, meaning, and cells."""


def view(report: Report) -> dict[str, Any]:
    """What the section shows, in words; nothing for other kinds of records."""
    found: Mapping[str, Any] | None = report.get("table")
    if not found:
        return {}
    marginals = found["marginals"] or []
    return {
        "tables": {
            "hospitals": found["hospitals"],
            "score_head": [
                "Trained on",
                *(f"{name}: {of}" for of in MEASURES.values() for name in CLASSIFIERS.values()),
            ],
            "scores": [_scores(one) for one in found["scores"]],
            "baselines": [_baseline(name, one) for name, one in found["baselines"].items()],
            "group_head": ["Group", "Test rows", *_trained(found)],
            "subgroups": [_subgroup(one) for one in found["subgroups"]],
            "violations": _violations(found["violations"]),
            "distance_caption": _caption(found["distances"]),
            "distances": _distances(found["distances"] or {}),
            "coverage": _coverage(found["coverage"] or {}),
            **_codes(found.get("codes")),
            "chosen": " (the columns that differ most beyond it)" if len(marginals) == 12 else "",
            "marginals": [marginal(column) for column in marginals],
            "pictures": _pictures(found),
            "risks": [_risk(one) for one in found["risks"] or []],
        }
    }


def _scores(one: Mapping[str, Any]) -> _Row:
    of = str(one["learnt_from"])
    values = [_figure(one[name][measure]) for measure in MEASURES for name in CLASSIFIERS]
    reasons = {one[name]["reason"] for name in CLASSIFIERS} - {None}
    name = LEARNT_FROM.get(of, of.removeprefix("hospital ") + " alone")
    return name, "; ".join(sorted(map(str, reasons))), values


def _baseline(name: str, one: Mapping[str, Any]) -> _Row:
    return name[0].upper() + name[1:], str(one["reason"] or ""), [_figure(one[measure]) for measure in MEASURES]


def _trained(found: Mapping[str, Any]) -> list[str]:
    names = found["subgroups"][0]["auroc"] if found["subgroups"] else ()
    return ["{}: {}".format(CLASSIFIERS[name.split("_")[0]], name.split("_")[1]) for name in names]


def _subgroup(one: Mapping[str, Any]) -> _Row:
    heading = f"{one['column']}: {one['group']}"
    return heading, one["reason"] or "", [f"{one['records']:,}", *(_figure(value) for value in one["auroc"].values())]


def _violations(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    if not found["violating"]:
        return f"None of {found['rows']:,} synthetic rows breaks the schema."
    rules = ", ".join(f"{rule} ({count:,})" for rule, count in found["by_rule"].items())
    return f"{found['violating']:,} of {found['rows']:,} synthetic rows break the schema: {rules}."


def _caption(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    compared = f"{found['samples']:,} synthetic rows against {found['test']:,} real test rows"
    floor = "the same of as many real training rows, which is what a perfect generator would show"
    return f"Distances of {compared}. Noise floor: {floor}."


def _distances(found: Mapping[str, Any]) -> list[_Row]:
    rows: list[_Row] = []
    for key, (name, meaning) in DISTANCES.items():
        if one := found.get(key):
            figures = [_figure(one[of]) for of in ("mean", "floor_mean", "largest", "floor_largest")]
            rows.append((name, meaning, [*figures, " and ".join(one["largest_at"])]))
    return rows


def _coverage(found: Mapping[str, Any]) -> list[_Row]:
    return [
        (*COVERAGE[key], [f"{one['present']:,}", percent(one["synthetic"]), percent(one["real"])])
        for key, one in found.items()
        if one["present"]
    ]


def _codes(found: Mapping[str, Any] | None) -> dict[str, Any]:
    if not found:
        return {"codes": []}
    per_row, off, lift = found["per_row"], found["frequencies"], found["lift"]
    mean, largest = ([_figure(off[f"{floor}{of}"]) for floor in ("", "floor_")] for of in ("mean", "largest"))
    together = f"correlation of the logarithms of {lift['pairs']:,} lifts; {lift['reason'] or 'at best 1'}"
    rows: list[_Row] = [
        ("Codes in a row", f"{per_row['test']:.3f} in test rows", [_figure(per_row[of]) for of in _KINDS] + [""]),
        ("Share of rows with a code", "mean difference", [*mean, ""]),
        ("Share of rows with a code", "largest difference", [*largest, off["largest_at"]]),
        ("Codes together", together, [_figure(lift["correlation"]), _figure(lift["floor"]), ""]),
    ]
    compared = f"{found['samples']:,} synthetic and as many real training rows against {found['test']:,} real test rows"
    shares = [(one["code"], "", [_figure(one[of]) for of in (*_KINDS, "test")]) for one in found["most_frequent"]]
    return {"codes": rows, "code_caption": f"Codes of {compared}", "frequent_codes": shares}


def _pictures(found: Mapping[str, Any]) -> list[Any]:
    pictures = (
        [heat_map(found["pairs"], found["distances"]["two_way"]["floor_mean"])]
        if found["pairs"] and len(found["pairs"]["columns"]) > 1
        else []
    )
    if found["roc"]:
        scores = {one["learnt_from"]: one for one in found["scores"]}
        areas = {
            f"{name}_{of}": scores[of][name]["auroc"] for of in LEARNT_FROM if of in scores for name in CLASSIFIERS
        }
        pictures.append(roc_curves(found["roc"], areas))
    return pictures


def _risk(one: Mapping[str, Any]) -> _Row:
    rates = [_rate(one[key]) for key in ("attack", "control", "excess")]
    return one["name"][0].upper() + one["name"][1:], one["reason"] or "", [f"{one['attempts']:,}", *rates]


def _figure(value: float | None) -> str:
    """A figure with three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def _rate(rate: Mapping[str, float] | None) -> str:
    if rate is None:
        return NOTHING
    return f"{percent(rate['value'])} ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"
