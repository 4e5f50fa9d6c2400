"""One cohort on the audit's page: whom the guarantee protects, what was charged, by whom, and what was refused."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from client.ledger.audit import PLD_RELATIVE_ERROR, Audit
from client.ledger.statement import Refusal, RunCharges, Statement
from common.pages.charts import Chart, figure
from common.pages.guarantee import against_an_attacker, reading
from common.pages.markup import Html, details, join, table, tag
from common.pages.page import banner, card
from common.pages.words import NOTHING, count, downward, equals, moment, number, percent, small, upward
from common.privacy.accounting import PRV_EPSILON_ERROR

RUNS_AT_A_GLANCE = 20
NEWEST_REFUSALS = 10


def cohort_section(found: Audit, anchor: str) -> Html:
    """Everything about one ledger, under `anchor`."""
    heading = tag("h2", found.name)
    if found.statement is None:
        return tag("section", heading, _without_figures(found), id=anchor)
    statement = found.statement
    doubt = banner("bad", "Something does not hold", "the figures are what the entries say; see the top of the page.")
    return tag(
        "section",
        heading,
        doubt if found.findings else "",
        *_guarantee(statement),
        _cards(statement),
        _accountants(found),
        _curve(statement),
        _runs(statement),
        _refusals(statement),
        details(
            "Software that wrote the newest entry",
            table("Versions", ("Package", "Version"), statement.versions.items()),
        ),
        id=anchor,
    )


def in_utc(created: str) -> str:
    """A time of an entry as ISO 8601 in UTC; unchanged if it is no such time."""
    at = _time(created)
    return at.isoformat() if at else created


def _time(created: str) -> datetime | None:
    try:
        return datetime.fromisoformat(created).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _without_figures(found: Audit) -> Html:
    if found.findings:
        why = "its entries cannot be trusted to say what was spent; see the top of the page."
        return banner("bad", "No figures", why)
    return tag("p", "There is no ledger yet, and no server has seen one.")


def _guarantee(statement: Statement) -> Iterator[Html]:
    """Whom the guarantee protects, and how far."""
    by_patient = statement.unit == "patient"
    whom = "the patient: all records of one patient at this hospital together" if by_patient else "the single record"
    one = "one patient with all records" if by_patient else "one record"
    epsilon, delta = _epsilon(statement.epsilon_charged), small(statement.delta)
    yield tag("p", tag("strong", "Protected is "), f"{whom}. ", "" if by_patient else MORE_RECORDS)
    yield tag(
        "p",
        tag("strong", "Compared are "),
        f"any two data sets of which one has {one} more than the other (neighbours: add or remove one "
        f"{statement.unit}). Whichever of the two was trained on, no result is more than ",
        tag("strong", tag("var", "e"), tag("sup", epsilon), " times as likely, plus ", delta),
        f", as with the other ({equals('ε', epsilon)}, {equals('δ', delta)}).",
    )
    attacker = against_an_attacker(statement.epsilon_charged, statement.delta, statement.unit)
    yield tag("p", tag("strong", "In other words: "), attacker[0].lower() + attacker[1:])


MORE_RECORDS = (
    "The data does not say which records are of one patient. For a patient with several of them, ε grows about in "
    "proportion."
)


def _cards(statement: Statement) -> Html:
    charged, settled = statement.epsilon_charged, statement.epsilon_settled
    note = f"all runs together; {_epsilon(settled)} for steps taken, the rest is reserved and not settled"
    return tag(
        "ul",
        card(
            "Privacy loss ε", _epsilon(charged), "all runs together" if settled == charged else note, reading(charged)
        ),
        card("Budget", number(statement.epsilon_budget, 4), "of the hospital's policy in force"),
        card("Left", downward(statement.epsilon_left), "of the budget, rounded down"),
        card("δ", small(statement.delta), "probability that the bound may fail"),
        class_="cards",
    )


def _accountants(found: Audit) -> Html:
    rows = (
        (_named("PRV", PRV), _epsilon(found.epsilon_prv), f"{PRV_ERROR}; RDP where it cannot reckon"),
        (_named("PLD", PLD), _epsilon(found.epsilon_pld), f"at most about {percent(PLD_RELATIVE_ERROR)} too high"),
        (_named("RDP", RDP), _epsilon(found.epsilon_rdp), "looser than the others: never below them"),
    )
    if found.epsilon_filter is not None:
        note = "an upper bound, also for studies that were chosen after others had answered"
        rows = ((_named("Filter", FILTER), _epsilon(found.epsilon_filter), note), *rows)
    return table("ε from the same entries by three accountants", ("Accountant", "ε", "Stated error"), rows)


def _epsilon(value: float | None) -> str:
    """To four digits: with three, nearly all of a budget would read as all of it."""
    return upward(value, 4)


def _named(name: str, meaning: str) -> Html:
    return join([name, tag("span", meaning, class_="soft")])


FILTER = "The figure that counts where there are several studies. Rényi filter: Feldman and Zrnic (2021)."
PRV = "The figure that counts for one study: it plans, and refuses. Gopi, Lee and Wutschitz (2021), in Opacus."
PLD = "An independent second opinion: Google's dp-accounting, Doroshenko and others (2022)."
RDP = "An upper check: Mironov, Talwar and Zhang (2019)."
PRV_ERROR = f"at most about {2 * PRV_EPSILON_ERROR:g} too high, more after thousands of steps"


def _curve(statement: Statement) -> Html:
    """ε over time beside the budget; nothing if nothing was charged."""
    times = [(at, epsilon) for created, epsilon in statement.curve if (at := _time(created))]
    if not times:
        return Html("")
    one_day = times[0][0].date() == times[-1][0].date()
    note = f"UTC, on {times[0][0].date().isoformat()}." if one_day else "By date, in UTC."

    def place(second: int) -> str:
        at = datetime.fromtimestamp(second, UTC)
        return f"{at:%H:%M:%S}" if one_day else at.date().isoformat()

    chart = Chart(
        "Privacy loss ε over time",
        f"{note} It falls where fewer steps were taken than reserved. Dashed: the budget in force today.",
        [*_stairs([(int(at.timestamp()), epsilon) for at, epsilon in times])],
        upward,
        line_at=(statement.epsilon_budget, "budget"),
        ends=(0.0, 0.0),
        tick=number,
        place=place,
        at="at",
    )
    return tag("div", figure(chart), style="max-width:30rem;margin:.8rem 0")


def _stairs(points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    """ε stays where it is until the next charge."""
    yield points[0]
    for (_, before), (at, epsilon) in pairwise(points):
        yield at, before
        yield at, epsilon


def _runs(statement: Statement) -> Html:
    if not statement.runs:
        return tag("p", "Nothing has been charged yet.")
    head = (
        "Run",
        "Asked by",
        "When (UTC)",
        "For",
        "σ",
        "q",
        "C",
        "k",
        "Steps taken",
        "Not settled",
        "ε alone",
        "Refusals",
    )
    listed = join([
        table("What each run was charged", head, map(_run_row, statement.runs), "figures"),
        tag("p", LEGEND, class_="soft"),
    ])  # fmt: skip
    return listed if len(statement.runs) <= RUNS_AT_A_GLANCE else details(f"All {len(statement.runs):,} runs", listed)


LEGEND = (
    "For: the phases that were paid for; σ, q, C and k are in the same order. σ: noise, in multiples of the clipping "
    "norm C. q: chance of a patient or record to be in a step. k: most records of one patient in a step. Not settled: "
    "steps that were reserved and are charged in full, as after a crash. ε alone: of this run, were it the only one; "
    "those of several runs do not simply add up to the cohort's."
)


def _run_row(run: RunCharges) -> Iterable[str]:
    seeded = tag("span", "seeded", class_="pill care") if run.seeded else ""
    return (
        join([_short(run.study_id), " ", seeded]),
        run.asked_by or NOTHING,
        _days(run),
        ", ".join(phase.name for phase in run.phases),
        ", ".join(number(phase.noise_multiplier, 4) for phase in run.phases),
        ", ".join(number(phase.sample_rate) for phase in run.phases),
        ", ".join(number(phase.clip_norm) for phase in run.phases),
        ", ".join(f"{phase.records_per_patient:,}" for phase in run.phases),
        f"{run.steps_settled:,}",
        f"{run.steps_reserved:,}",
        _epsilon(run.epsilon),
        f"{run.refusals:,}",
    )


def _refusals(statement: Statement) -> Html:
    if not statement.refused:
        return tag("p", "No request was refused.")
    newest = statement.refused[: -NEWEST_REFUSALS - 1 : -1]
    total = len(statement.refused)
    what = f"the newest {len(newest)} of {total:,}" if total > len(newest) else count(total, "request")
    head = ("Entry", "When", "Run", "Round", "Why")
    return table(f"What was refused before any data was read: {what}", head, map(_refusal_row, newest))


def _refusal_row(refusal: Refusal) -> Iterable[str]:
    where = f"{refusal.phase} {refusal.round:,}" if refusal.round else "the plan"
    return f"{refusal.entry:,}", moment(in_utc(refusal.created)), _short(refusal.study_id), where, refusal.reason


def _days(run: RunCharges) -> Html:
    """From the first charge to the last; a date is kept on one line."""
    days = dict.fromkeys(at.date().isoformat() if (at := _time(time)) else time for time in (run.first, run.last))
    return join((tag("span", day, style="white-space:nowrap") for day in days), " to ")


def _short(study_id: str) -> str:
    """Enough of a hash to know it by."""
    return study_id if len(study_id) <= 12 else f"{study_id[:8]}…"
