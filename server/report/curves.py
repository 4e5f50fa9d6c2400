"""How the run went: curves over the rounds, replies that were refused, and the numbers behind the curves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.pages.charts import Chart, figure
from common.pages.markup import Html, details, table, tag
from common.pages.words import duration, number, percent, upward

Report = Mapping[str, Any]
Event = Mapping[str, Any]


def curves_section(report: Report, rounds: Sequence[Event]) -> Html:
    """Curves over the rounds, refused replies, and every round in numbers."""
    heading = tag("h2", "Round by round")
    if not rounds:
        return tag("section", heading, tag("p", "No round was finished."))
    charts = tag("div", *map(figure, _charts(report, rounds)), class_="charts")
    return tag("section", heading, charts, _refusals(rounds), details("Every round in numbers", _numbers(rounds)))


def _charts(report: Report, rounds: Sequence[Event]) -> Iterable[Chart]:
    def points(key: str) -> list[tuple[int, float]]:
        return [(event["round"], event[key]) for event in rounds if event.get(key) is not None]

    spent = [(event["round"], event["epsilon"]) for event in rounds if event.get("epsilon")]
    budgets = {site["epsilon_budget"] for site in report["sites"]}
    yield Chart(
        "Privacy loss ε so far",
        "The hospital that spent most; shaded: all hospitals.",
        [(at, epsilon["max"]) for at, epsilon in spent],
        upward,
        [(at, epsilon["min"], epsilon["max"]) for at, epsilon in spent],
        line_at=(budgets.pop(), "budget") if len(budgets) == 1 and spent and None not in budgets else None,
        tick=number,
    )
    accuracy = points("fake_accuracy")
    yield Chart(
        "Fakes found out",
        "The averaged discriminator's accuracy on synthetic pictures. Near 100 % it is never convinced.",
        accuracy, percent, line_at=(0.5, "coin toss"), ends=(0.0, 1.0), tick="{:.0%}".format,
    )  # fmt: skip
    yield Chart(
        "Variety",
        "How much the pictures differ from each other; near 0 they are all alike.",
        points("variety"),
        number,
    )
    yield Chart(
        "Size of a round's change", "L2 norm of the average update of the weights.", points("update_norm"), number
    )
    yield Chart("Time per round", "Seconds; outside the guarantee.", points("seconds"), duration, tick=number)


def _refusals(rounds: Sequence[Event]) -> Html:
    refused = [
        (str(event["round"]), fault["site"], fault["why"]) for event in rounds for fault in event["sites_refused"]
    ]
    if not refused:
        return tag("p", "Every reply that arrived was accepted.", class_="soft")
    listed = table("Replies that the server did not use", ("Round", "Site", "Why"), refused)
    return listed if len(refused) <= 5 else details(f"{len(refused)} replies were refused", listed)


def _numbers(rounds: Sequence[Event]) -> Html:
    def row(event: Event) -> tuple[str, ...]:
        epsilon = event.get("epsilon") or {}
        return (
            str(event["round"]),
            str(event["sites_replied"]),
            upward(epsilon.get("min")),
            upward(epsilon.get("max")),
            percent(event["fake_accuracy"]),
            number(event["update_norm"]),
            number(event.get("variety")),
            duration(event["seconds"]),
        )

    head = ("Round", "Replies", "ε smallest", "ε largest", "D on fakes", "Update norm", "Variety", "Time")
    return table("One row a round", head, map(row, rounds), "figures")
