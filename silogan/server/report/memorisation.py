"""The report's part about memorisation: whether synthetic records repeat those that the generator was trained on."""

from collections.abc import Mapping
from typing import Any

from silogan.common.pages.words import number, percent

Report = Mapping[str, Any]

MEMORISATION = """
{% from "parts" import banner, pill, row, table %}
{% set found = report.memorisation %}
<section>
<h2>Does it repeat its training records?</h2>
{% if not found.measured %}
<p>Not measured: {{ found.reason }}.</p>
{% else %}
{{ banner("good" if found.passed else "bad", "No sign of it" if found.passed else "It does", remembered.told) }}
<p>{{ pill("care", "on real data: not covered") if report.private }}
These are attacks that were tried, and no guarantee. The guarantee is ε.</p>
{% if remembered.rows %}
{% call table("Closeness to training images, beside real images that were held out; 95 % intervals",
              ["Measure"] + remembered.names) %}
{% for name, meaning, values in remembered.rows %}{{ row(name, values, meaning) }}{% endfor %}
{% endcall %}
{% endif %}
{% if remembered.public %}<p>{{ remembered.public }}</p>{% endif %}
{% endif %}
</section>
"""

MEASURES = (
    ("excess", "Nearest to a training image, beyond chance", "0 is chance; 1 if every synthetic image is"),
    ("auc", "AUC of membership inference", "telling training images from others by synthetic ones; 0.5 is chance"),
    ("ratio", "Distance to training over held-out images", "median; about 1 by chance, 0 for copies"),
)


def view(report: Report) -> dict[str, Any]:
    """What the section shows, in words; nothing where nothing was measured."""
    found: Mapping[str, Any] = report.get("memorisation") or {"measured": False}
    if not found["measured"]:
        return {}
    spaces, public = found["spaces"], found["public"]
    rows = [(name, meaning, [_shown(space[key]) for space in spaces]) for key, name, meaning in MEASURES]
    told = "; ".join(found["findings"]) or "no figure is above its threshold"
    remembered = {"told": told, "names": [f"by {space['name']}" for space in spaces], "rows": rows if spaces else []}
    return {"remembered": {**remembered, "public": None if public is None else edited(public)}}


def edited(public: Mapping[str, Any]) -> str:
    """How many synthetic images are edits of public ones, in a sentence."""
    edits, control = (percent(public[of]["value"]) for of in ("edits", "control"))
    return (
        f"{edits} of the synthetic images are edits of public images: their fine detail is that of one of them. Of "
        f"real images that were held out {control} would be called so."
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{number(value['value'])} ({number(value['low'])} to {number(value['high'])})"  # pyright: ignore
    return number(value)
