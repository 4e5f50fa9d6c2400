"""Data sheet and model card of a release, as Markdown from the run's facts.

The sections are those of T. Gebru et al. (2021), Datasheets for Datasets, and of M. Mitchell et al. (2019), Model Cards
for Model Reporting. The seven criteria are those of the scorecard for synthetic medical data, G. Zamzmi et al. (2025),
Scorecard for synthetic medical data evaluation, Communications Engineering 4:130 (arXiv 2406.11143, "SMD Card"); what
was not measured is said not to be.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from jinja2 import Environment, StrictUndefined

from silogan.common.pages import words
from silogan.common.printable import printable
from silogan.common.privacy.strength import strength
from silogan.server.release.datasheet import Datasheet
from silogan.server.release.gate import Evidence
from silogan.server.release.sealed import Statement
from silogan.server.report.memorisation import edited
from silogan.server.report.verdict import Word

HEAD = """\
# {{ what }}: {{ (statement.title or statement.study) | plain }}

Synthetic records, not patients. Not for diagnosis, and not for decisions about any person.

{% for mark in statement.marks %}
- **{{ (mark[0] | upper ~ mark[1:]) | plain }}.**
{% endfor %}

Study {{ statement.study | plain }}, {{ statement.study_id }}. Written by SiloGAN on
{{ statement.created | moment }} from the facts of the run; what stands in quotes was written by its coordinator.
"""

DATASHEET = """
{% macro said(text) %}
{% for line in (text or "(nothing was said)").splitlines() %}
> {{ line | plain }}
{% endfor %}
{% endmacro %}

## Motivation

For what purpose was it made?

{{ said(sheet.purpose) }}
## Composition

- Kind of records: {{ described | plain }}.
- Classes: {{ classes | join(", ") | plain or "none" }}.
- How many: any number. The release holds a generator, not a fixed set; drawing more costs no privacy.
- Is it about people? It was fitted to records of patients at {{ statement.sites | length | counted("hospital") }}. What
  it may say of one of them is bounded by differential privacy, below.
{% if public %}
- {{ public | plain }}
{% endif %}

## Collection

Whose records did the hospitals use, and how were they collected?

{{ said(sheet.collection) }}
Who approved it?

{{ said(sheet.approvals) }}
## Preprocessing and generation

- Model: {{ family | plain }}; {{ rounds }}.
- Privacy: each hospital clips and adds noise itself, before anything leaves it. Its guarantee is for adding or removing
  {{ "all records of any one patient" if unit == "patient" else "any one record" }} of that hospital.

| hospital | ε | budget | δ | unit |
|---|---|---|---|---|
{% for cells in spent %}
| {{ cells | map("plain") | join(" | ") }} |
{% endfor %}

## Uses

{{ said(sheet.intended_use) }}
Verdict: {{ statement.verdict | plain }}
{% if statement.accepted %}

That verdict was accepted by {{ statement.accepted.name | plain }}: {{ statement.accepted.reason | plain }}
{% endif %}

What is known to be wrong with it, and whom it does not represent:

{{ said(sheet.limitations) }}
## Distribution

Licence:

{{ said(sheet.licence) }}
Citation:

{{ said(sheet.citation) }}
## Maintenance

{{ said(sheet.contact) }}
A release is not changed: a new one has another study, and other hashes.
"""

MODEL_CARD = """
## Model details

- Family: {{ family | plain }}{% if parameters %}, {{ parameters | whole }} parameters{% endif %}; {{ rounds }}.
- File: `generator.safetensors`, which says in its header what it draws, under which plan, and its marks.
- Versions: {{ versions | plain }}.
- Licence: {{ sheet.licence | line | plain }}
- Contact: {{ sheet.contact | line | plain }}

## Intended use

{{ sheet.intended_use | line | plain }}

Out of scope: diagnosis, decisions about a person, and anything that takes a synthetic record for a patient's.

## Factors

Classes: {{ classes | join(", ") | plain or "none" }}. Hospitals: {{ statement.sites | length }}. What
was measured of each class or group is in `report.json`.

## Metrics and quantitative analyses

Measured on real test records, outside the privacy guarantee. The criteria are those of the scorecard for synthetic
medical data (Zamzmi et al., 2025).

| criterion | of this release |
|---|---|
{% for name, told in criteria %}
| {{ name }} | {{ told | plain }} |
{% endfor %}

Verdict: {{ statement.verdict | plain }}

## Evaluation data and training data

{{ "Test records that no hospital trained on, of the same source." if measured else "None were compared with." }} Of the
training data: {{ sheet.collection | line | plain }}

## Ethical considerations

- ε is an upper bound for each hospital's patients by itself, at most {{ most | epsilon }} here ({{ strength(most) }}).
- Memorisation: {{ statement.memorisation | plain }}.
- Approvals: {{ sheet.approvals | line | plain }}

## Caveats and recommendations

{{ sheet.limitations | line | plain or "None were stated." }}
{% if expected %}

What to expect: {{ expected | plain }}
{% endif %}

"""


def datasheet_text(statement: Statement, evidence: Evidence, sheet: Datasheet) -> str:
    """`datasheet.md`."""
    return _rendered("Data sheet", DATASHEET, statement, evidence, sheet)


def model_card_text(statement: Statement, evidence: Evidence, sheet: Datasheet) -> str:
    """`model_card.md`."""
    return _rendered("Model card", MODEL_CARD, statement, evidence, sheet)


def _rendered(what: str, template: str, statement: Statement, evidence: Evidence, sheet: Datasheet) -> str:
    pages = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701  (Markdown; `plain` escapes)
    shown = (words.epsilon, words.whole, words.counted, words.moment)
    cast(dict[str, Any], pages.filters).update(
        {show.__name__: show for show in shown} | {"plain": plain, "line": _line}
    )
    text = pages.from_string(HEAD + template).render(
        what=what, statement=statement, sheet=sheet, strength=strength, **_facts(statement, evidence)
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def plain(text: object) -> str:
    """A text in which nothing is Markdown or HTML: others wrote it."""
    return re.sub(r"([\\`*_\[\]|<>#!])", r"\\\1", printable(str(text)))


def _line(text: str) -> str:
    return " ".join(text.split())


def _facts(statement: Statement, evidence: Evidence) -> dict[str, Any]:
    study, report = evidence.study, evidence.report or {}
    steps = study.scenario.training.rounds
    public = (report.get("memorisation") or {}).get("public")
    return {
        "described": study.drawn.describe(),
        "classes": study.schema.classes,
        "family": study.scenario.model.family,
        "rounds": words.counted(steps, "round") if steps else "fitted to releases, nothing was trained",
        "unit": study.plan.unit,
        "spent": [
            (one.name, words.epsilon(one.epsilon), words.budget(one.budget), words.small(one.delta), one.unit)
            for one in statement.sites
        ],
        "versions": ", ".join(f"{name} {version}" for name, version in (report.get("versions") or {}).items()),
        "parameters": (report.get("model") or {}).get("parameters_generator"),
        "public": edited(public) if public else study.scenario.model.credit(),
        "criteria": _criteria(statement, report),
        "measured": evidence.verdict.word is not Word.unmeasured,
        "most": max(site.epsilon for site in statement.sites),
        "expected": report.get("expected"),
    }


def _criteria(statement: Statement, report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The seven criteria, each with what this run says of it."""
    nothing = "not measured"
    fidelity, utility = report.get("fidelity") or {}, report.get("utility") or {}
    table: Mapping[str, Any] = report.get("table") or {}

    def told(figures: Mapping[str, Any], *names: str) -> str:
        known = [(name.replace("_", " "), figures[name]) for name in names if figures.get(name) is not None]
        return ", ".join(f"{name} {words.number(figure)}" for name, figure in known)

    alike = told(fidelity, "precision", "frechet_distance") or told(utility, "auroc_synthetic", "accuracy_synthetic")
    broken = table.get("violations")
    classes = [recall for recall in utility.get("per_class_recall_synthetic") or () if recall is not None]
    return [
        ("congruence", alike or nothing),
        ("coverage", told(fidelity, "recall", "coverage") or nothing),
        (
            "constraint",
            f"{broken['violating']} of {broken['rows']} rows break the schema"
            if broken
            else "every record has the declared form; what is anatomically possible was not measured",
        ),
        ("completeness", f"least recall of a class {words.number(min(classes))}" if classes else nothing),
        ("compliance", f"differential privacy, ledgers audited; memorisation: {statement.memorisation}"),
        ("comprehension", "this card, the data sheet and the report; the generator is open"),
        ("consistency", "one run; several seeds or subgroups were not compared"),
    ]
