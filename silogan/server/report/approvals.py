"""The report's part for an ethics board: the purpose of the study, who approved it, and what was not recorded."""

from collections.abc import Mapping
from typing import Any

Report = Mapping[str, Any]

APPROVALS = """
{% from "parts" import details, pairs, row, table %}
<section>
<h2>Purpose and approvals</h2>
{{ pairs("What the study is for", ("Question", "Answer"), purpose) }}
{% if approvals %}
{% call details("Decisions of all %d hospitals" | format(report.sites | length), fold=approvals | length > 20) %}
{% call table("Decisions in the hospitals' signed ledgers", ("Hospital", "Decision", "By", "When"), "figures") %}
{% for one in approvals %}
{{ row(one.site, [one.decision, one.approver or "not recorded", one.created | moment]) }}
{% endfor %}
{% endcall %}
{% endcall %}
{% else %}
<p>Decisions of the hospitals: not recorded.</p>
{% endif %}
{% if report.engine in SIMULATED %}
<p>The hospitals of this run are simulated: the software approved the study in their place, and no person signed. At a
real hospital a person approves a study by its hash, and <code>silogan audit --html</code> shows who.</p>
{% endif %}
</section>
"""

NOT_RECORDED = "not recorded"


def view(report: Report) -> dict[str, Any]:
    """Purpose and decisions; what nobody wrote down is said to be missing."""
    records = report["records"]["described"]
    classes = report["classes"]
    return {
        "approvals": report.get("approvals") or (),
        "purpose": (
            ("Title", report["title"] or report["name"]),
            ("What is made", f"a generator of synthetic {records}"),
            ("Classes", ", ".join(classes) if classes else "none"),
            ("Unit of privacy", report["unit"] if report["private"] else "none: trained without privacy"),
            ("Purpose beyond the title", NOT_RECORDED),
            ("Vote of an ethics board", NOT_RECORDED),
        ),
    }
