"""One cohort on the audit page: the unit of privacy, the charges of each run, and the refusals."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from silogan.client.ledger.audit import PLD_RELATIVE_ERROR
from silogan.client.ledger.statement import RunCharges, Statement
from silogan.common.pages.charts import Chart
from silogan.common.pages.words import epsilon, number
from silogan.common.privacy.accounting import PRV_EPSILON_ERROR

COHORT = """
{% from "parts" import banner, card, details, figure, pairs, pill, reading, row, table %}
{% set statement = found.statement %}
<section id="{{ anchor }}">
<h2>{{ found.name }}</h2>
{% if statement is none and found.findings %}
{{ banner("bad", "No figures", "its entries are not reliable enough to compute ε; see the top of the page.") }}
{% elif statement is none %}
<p>There is no ledger yet, and no server has seen one.</p>
{% else %}
{% if found.findings %}
{{ banner("bad", "Problems found", "the figures are what the entries say; see the top of the page.") }}
{% endif %}
{% set epsilon, delta = statement.epsilon_charged | epsilon, statement.delta | small %}
{% if statement.unit == "patient" %}
{% set one = "one patient with all their records" %}
<p><strong>Unit of privacy: </strong>the patient, that is all records of one patient at this hospital together.</p>
{% else %}
{% set one = "one record" %}
<p><strong>Unit of privacy: </strong>the single record. The data does not say which records belong to one patient. For a
patient with several records, ε grows about in proportion.</p>
{% endif %}
<p><strong>Neighbouring data sets: </strong>any two of which one has {{ one }} more than the other (add or remove one
{{ statement.unit }}). Whichever of the two was trained on, no result is more than
<strong><var>e</var><sup>{{ epsilon }}</sup> times as likely, plus {{ delta }}</strong>, as with the other
(ε&nbsp;=&nbsp;{{ epsilon }}, δ&nbsp;=&nbsp;{{ delta }}).</p>
{% set attacker = against_an_attacker(statement.epsilon_charged, statement.delta, statement.unit) %}
<p><strong>In other words: </strong>{{ attacker[0] | lower }}{{ attacker[1:] }}</p>

<ul class="cards">
{% set settled = statement.epsilon_settled | epsilon %}
{{ card("Privacy loss ε", epsilon, "all runs together" if statement.epsilon_settled == statement.epsilon_charged else
        "all runs together; %s for steps taken, the rest is reserved but not settled" | format(settled),
        reading(statement.epsilon_charged)) }}
{{ card("Budget", statement.epsilon_budget | budget, "from the hospital's current policy") }}
{{ card("Left", statement.epsilon_left | left, "of the budget, rounded down") }}
{{ card("δ", delta, "probability that the bound may fail") }}
</ul>

{% call table("ε from the same entries by three accountants", ("Accountant", "ε", "Stated error")) %}
{% if found.epsilon_filter is not none %}
{{ row("Filter", [found.epsilon_filter | epsilon,
                  "an upper bound, also where studies were chosen after others had answered"],
       "Applies as soon as there are several studies. Rényi filter: Feldman and Zrnic (2021).") }}
{% endif %}
{{ row("PRV", [found.epsilon_prv | epsilon, "at most about %g too high, more after thousands of steps; RDP where PRV "
               "cannot be computed" | format(2 * PRV_EPSILON_ERROR)],
       "Applies to a single study: used to plan and to refuse. Gopi, Lee and Wutschitz (2021), in Opacus.") }}
{{ row("PLD", [found.epsilon_pld | epsilon, "at most about %s too high" | format(PLD_RELATIVE_ERROR | percent)],
       "An independent check: Google's dp-accounting, Doroshenko et al. (2022).") }}
{{ row("RDP", [found.epsilon_rdp | epsilon, "never below the others"],
       "A looser upper bound: Mironov, Talwar and Zhang (2019).") }}
{% endcall %}

{% set curve = epsilon_over_time(statement) %}
{% if curve %}<div style="max-width:30rem;margin:.8rem 0">{{ figure(curve) }}</div>{% endif %}

{% if statement.runs %}
{% call details("All %s runs" | format(statement.runs | length | whole), fold=statement.runs | length > 20) %}
{% call table("What each run was charged", ("Run", "ε alone", "Asked by", "When (UTC)", "For", "σ", "q", "C", "k",
                                            "Steps taken", "Not settled", "Refusals"), "figures") %}
{% for run in statement.runs %}
<tr><th scope="row">{{ short(run.study_id) }} {{ pill("care", "seeded") if run.seeded }}</th>
<td>{{ run.epsilon | epsilon }}</td>
<td>{{ run.asked_by or "—" }}</td>
<td>{% for day in days(run) %}{{ " to " if not loop.first }}<span style="white-space:nowrap">{{ day }}</span>
{%- endfor %}</td>
<td>{{ run.phases | join(", ", "name") }}</td>
<td>{% for phase in run.phases %}{{ ", " if not loop.first }}{{ phase.noise_multiplier | number(4) }}{% endfor %}</td>
<td>{% for phase in run.phases %}{{ ", " if not loop.first }}{{ phase.sample_rate | number }}{% endfor %}</td>
<td>{% for phase in run.phases %}{{ ", " if not loop.first }}{{ phase.clip_norm | number }}{% endfor %}</td>
<td>{% for phase in run.phases %}{{ ", " if not loop.first }}{{ phase.records_per_patient | whole }}{% endfor %}</td>
<td>{{ run.steps_settled | whole }}</td>
<td>{{ run.steps_reserved | whole }}</td>
<td>{{ run.refusals | whole }}</td></tr>
{% endfor %}
{% endcall %}
<p class="soft">For: the phases that were charged; σ, q, C and k are in the same order. σ: noise multiplier, the noise's
standard deviation in units of the clipping norm C. q: sample rate, the probability that a patient or record is in a
step. k: most records of one patient in a step. Not settled: steps that were reserved and are charged in full, for
example after a crash. ε alone: ε of this run if it were the only one; these values do not simply add up to the cohort's
ε.</p>
{% endcall %}
{% else %}
<p>Nothing has been charged yet.</p>
{% endif %}

{% if statement.refused %}
{% set newest, total = statement.refused[:-11:-1], statement.refused | length %}
{% set what = total | counted("request") if newest | length == total
              else "the newest %d of %s" | format(newest | length, total | whole) %}
{% call table("Requests refused before any data was read: " ~ what, ("Entry", "When", "Run", "Round", "Why")) %}
{% for refusal in newest %}
{% set asked = refusal.phase ~ " " ~ (refusal.round | whole) if refusal.round else "the plan" %}
{{ row(refusal.entry | whole, [in_utc(refusal.created) | moment, short(refusal.study_id), asked, refusal.reason]) }}
{% endfor %}
{% endcall %}
{% else %}
<p>No request was refused.</p>
{% endif %}

{% if statement.decisions %}
{% set decided = statement.decisions | length %}
{% call details("All %s decisions" | format(decided | whole), fold=decided > 20) %}
{% call table("What the hospital decided about studies", ("Study", "Decision", "By", "When", "Reason"), "figures") %}
{% for one in statement.decisions %}
{{ row(short(one.study_id), [one.decision, one.approver or "not recorded", in_utc(one.created) | moment,
                             one.reason or "not recorded"]) }}
{% endfor %}
{% endcall %}
{% endcall %}
{% endif %}

{% call details("Software that wrote the newest entry", printed=false) %}
{{ pairs("Versions", ("Package", "Version"), statement.versions | items) }}
{% endcall %}
{% endif %}
</section>
"""


def in_utc(created: str) -> str:
    """A time of an entry as ISO 8601 in UTC; unchanged if it cannot be parsed."""
    at = _time(created)
    return at.isoformat() if at else created


def _time(created: str) -> datetime | None:
    try:
        return datetime.fromisoformat(created).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def epsilon_over_time(statement: Statement) -> Chart | None:
    """ε over time beside the budget; nothing if nothing was charged."""
    times = [(at, spent) for created, spent in statement.curve if (at := _time(created))]
    if not times:
        return None
    one_day = times[0][0].date() == times[-1][0].date()
    note = f"UTC, on {times[0][0].date().isoformat()}." if one_day else "By date, in UTC."

    def place(second: int) -> str:
        at = datetime.fromtimestamp(second, UTC)
        return f"{at:%H:%M:%S}" if one_day else at.date().isoformat()

    return Chart(
        "Privacy loss ε over time",
        f"{note} It falls where fewer steps were taken than reserved. Dashed: the current budget.",
        [*_stairs([(int(at.timestamp()), spent) for at, spent in times])],
        epsilon,
        line_at=(statement.epsilon_budget, "budget"),
        tick=number,
        place=place,
        at="at",
    )


def _stairs(points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    """ε is constant until the next charge."""
    yield points[0]
    for (_, before), (at, spent) in pairwise(points):
        yield at, before
        yield at, spent


def days(run: RunCharges) -> list[str]:
    """From the first charge to the last."""
    return list(dict.fromkeys(at.date().isoformat() if (at := _time(time)) else time for time in (run.first, run.last)))


def short(study_id: str) -> str:
    """A short form of a hash, enough to recognise it."""
    return study_id if len(study_id) <= 12 else f"{study_id[:8]}…"


VIEW: dict[str, Any] = {
    "in_utc": in_utc,
    "epsilon_over_time": epsilon_over_time,
    "days": days,
    "short": short,
    "PRV_EPSILON_ERROR": PRV_EPSILON_ERROR,
    "PLD_RELATIVE_ERROR": PLD_RELATIVE_ERROR,
}
