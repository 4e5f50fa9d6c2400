"""The report's part about images with rows: the rows, and how much of what ties them to their images survives."""

from collections.abc import Mapping
from typing import Any

from silogan.common.pages.words import number
from silogan.server.report.table_pictures import marginal

Report = Mapping[str, Any]

JOINT = """
{% from "parts" import pill, row, table %}
{% from "drawing" import drawing %}
<section>
<h2>Rows and their images</h2>
<p>{{ pill("care", "on real data: not covered") if report.private }}
All of this section counts real records without noise. It is outside the guarantee and for the researcher; do not
publish it for a hospital's private data.</p>
{% call table("What of the dependence survives: AUROC of predicting a column from the image, on real test records",
              joint.head, "figures") %}
{% for name, values in joint.dependence %}{{ row(name, values, "") }}{% endfor %}
{% endcall %}
<p>Drawn apart: the same synthetic images, each with the row of another of its class. What it reaches, the class alone
explains. Brightness: correlation with the image's mean brightness within classes.</p>
<p class="key"><span class="swatch real"></span> real test rows <span class="swatch synthetic"></span> synthetic rows.
Beside each name the total variation distance within classes, with its noise floor in brackets. Synthetic classes are
evenly spread, real ones need not be.</p>
<div class="charts">{% for picture in joint.marginals %}{{ drawing(picture) }}{% endfor %}</div>
</section>
"""

LEARNT_FROM = {"synthetic": "synthetic", "apart": "drawn apart", "real": "real"}
MEASURES = {"auroc": "all", "auroc_within": "within classes"}


def view(report: Report) -> dict[str, Any]:
    """What the section shows, in words; nothing for other kinds of records."""
    found: Mapping[str, Any] | None = report.get("joint")
    if not found:
        return {}
    named = {f"{key}_{of}": f"{what}, {who}" for key, what in MEASURES.items() for of, who in LEARNT_FROM.items()}
    named |= {f"brightness_{of}": f"brightness, {of}" for of in ("synthetic", "real")}
    dependence = [(one["name"], [number(one[key]) for key in named]) for one in found["columns"]]
    pictures = [marginal(column) for column in found["marginals"]]
    return {"joint": {"head": ["Column", *named.values()], "dependence": dependence, "marginals": pictures}}
