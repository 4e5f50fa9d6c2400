"""The course of a run: curves over the rounds, refused replies, and the numbers behind the curves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from silogan.common.pages.charts import Chart
from silogan.common.pages.words import duration, epsilon, number, percent

Report = Mapping[str, Any]
Event = Mapping[str, Any]

CURVES = """
{% from "parts" import details, figure, row, table %}
<section>
<h2>Round by round</h2>
{% if not rounds %}
<p>No round was completed.</p>
{% else %}
<div class="charts">{% for curve in curves %}{{ figure(curve) }}{% endfor %}</div>
{% if refused %}
{% call details("%d replies were refused" | format(refused | length), fold=refused | length > 5) %}
{% call table("Replies that the server did not use", ("Round", "Site", "Why")) %}
{% for number, fault in refused %}{{ row(number, [fault.site, fault.why]) }}{% endfor %}
{% endcall %}
{% endcall %}
{% else %}
<p class="soft">Every reply that arrived was accepted.</p>
{% endif %}
{% call details("Every round in numbers") %}
{% call table("One row a round", ("Round", "Replies", "ε smallest", "ε largest", "D on fakes", "Update norm", "Variety",
                                  "Time"), "figures") %}
{% for event in rounds %}
{% set ends = event.get("epsilon") or {} %}
{{ row(event.round, [event.sites_replied, ends.get("min") | epsilon, ends.get("max") | epsilon,
                     event.fake_accuracy | percent, event.update_norm | number, event.get("variety") | number,
                     event.seconds | duration]) }}
{% endfor %}
{% endcall %}
{% endcall %}
{% endif %}
</section>
"""


def view(report: Report, rounds: Sequence[Event]) -> dict[str, Any]:
    """The rounds, their curves, and the replies that were refused with the number of their round."""
    return {
        "rounds": rounds,
        "curves": list(_charts(report, rounds)),
        "refused": [(event["round"], fault) for event in rounds for fault in event["sites_refused"]],
    }


def _charts(report: Report, rounds: Sequence[Event]) -> Iterable[Chart]:
    def points(key: str) -> list[tuple[int, float]]:
        return [(event["round"], event[key]) for event in rounds if event.get(key) is not None]

    spent = [(event["round"], event["epsilon"]) for event in rounds if event.get("epsilon")]
    budgets = {site["epsilon_budget"] for site in report["sites"]}
    yield Chart(
        "Privacy loss ε so far",
        "The hospital that spent the most; shaded: all hospitals.",
        [(at, ends["max"]) for at, ends in spent],
        epsilon,
        [(at, ends["min"], ends["max"]) for at, ends in spent],
        line_at=(budgets.pop(), "budget") if len(budgets) == 1 and spent and None not in budgets else None,
        tick=number,
    )
    accuracy = points("fake_accuracy")
    yield Chart(
        "Accuracy on fakes",
        "The averaged discriminator's accuracy on synthetic records. Near 100 % it recognises all of them.",
        accuracy, percent, line_at=(0.5, "coin toss"), ends=(0.0, 1.0), tick="{:.0%}".format,
    )  # fmt: skip
    alike = "How much the records differ from each other. Near 0 they are all alike."
    yield Chart("Variety", alike, points("variety"), number)
    yield Chart("Size of a round's change", "L2 norm of the average weight update.", points("update_norm"), number)
    yield Chart("Time per round", "Seconds; not covered by the guarantee.", points("seconds"), duration, tick=number)
