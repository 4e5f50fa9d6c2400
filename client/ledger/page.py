"""The audit as a page that a data protection officer can read, print and file: one HTML file that fetches nothing."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from client.ledger import page_cohort
from client.ledger.audit import THE_LEDGER, Audit
from common.errors import UsageError
from common.files import write_bytes_atomically, writing
from common.pages.page import environment, rendered

PAGE = """
{% extends "frame" %}
{% from "parts" import banner, bar, box, pill, reading, row, table %}

{# Names may repeat, so links go by number. #}
{% macro link(number) %}<a href="#ledger-{{ number }}">{{ audits[number - 1].name }}</a>{% endmacro %}

{% block title %}SiloGAN privacy audit{% endblock %}

{% block header %}
<p class="kicker">SiloGAN privacy audit</p>
<h1>What was spent of the patients' privacy</h1>
<p class="lede">{{ audits | length | counted("privacy ledger") }} examined; entries read:
{{ statements | sum(attribute="entries") | whole }}. A ledger is a hospital's signed book of what training has cost the
privacy of its patients.</p>
<p class="meta">Audited on {{ at | moment }}</p>
{% if not findings %}
{{ banner("good", "Everything holds", "no entry of a ledger contradicts another, or what others know.") }}
{% else %}
{% set count = findings | length %}
{{ banner("bad", "1 thing does not hold" if count == 1 else count | whole ~ " things do not hold",
          "ask the hospital, and restore the newest copy of its ledger.") }}
{% endif %}
{% if seeded %}
{{ banner("care", SEEDED, "some rounds drew their noise from a fixed seed, as simulations may.") }}
{% endif %}
{% endblock %}

{% block main %}
<section>
<h2>Does everything hold?</h2>
{% if findings %}
{% call table("What does not hold", ("Ledger", "Where", "Problem")) %}
{% for number, finding in findings %}
<tr><th scope="row">{{ link(number) }}</th>
<td>{{ "the ledger" if finding.entry == THE_LEDGER else "entry " ~ finding.entry | whole }}</td>
<td><strong class="bad">{{ finding.problem }}</strong></td></tr>
{% endfor %}
{% endcall %}
{% else %}
<p>Yes. Nothing was found.</p>
{% endif %}
<p>This is examined, as far as a ledger can be read:</p>
<ul>
<li>Every entry is what was written: its hash, its place after the one before, and the site's signature.</li>
<li>Every charge was reserved for a plan that the hospital had approved, within its policy and budget of that day.</li>
<li>Every release was reserved for once, and settled at most once, with no more steps than were reserved.</li>
<li>ε was counted again from the entries, by three accountants, and they agree within their stated errors.</li>
<li>The last entry that a server saw is there, and the key is the site's, where a run's folder says what they are.</li>
</ul>
</section>

{% if audits | length > 1 %}
<section>
<h2>All ledgers at a glance</h2>
{% if terms | length > 1 %}<p>Values of ε with different δ or unit are not comparable.</p>{% endif %}
{% call table("Every ledger; ε is by PRV, the figure that counts",
              ("Ledger", "Holds?", "Unit", "δ", "ε charged, of its budget", "Left", "Reading"), "figures") %}
{% for found in audits %}
{% set statement = found.statement %}
{% set holds = pill("bad", found.findings | length | counted("finding")) if found.findings
               else pill("good", "holds") if statement else pill("care", "no ledger") %}
{{ row(link(loop.index), [holds, "—", "—", "—", "—", "—"] if statement is none else [
       holds,
       statement.unit,
       statement.delta | small,
       bar(statement.epsilon_charged, statement.epsilon_budget),
       statement.epsilon_left | downward,
       reading(statement.epsilon_charged, short=true),
   ]) }}
{% endfor %}
{% endcall %}
</section>
{% endif %}

{% for found in audits %}
{% set anchor = "ledger-%d" | format(loop.index) %}
{% include "cohort" %}
{% endfor %}

<section>
<h2>What is outside the guarantee</h2>
<div class="sides">
{% call box("Outside the guarantee", "no") %}
<li>Figures computed on real test data, such as the accuracy and the likeness in a run's report: they have no noise.
They are for the researcher; do not publish them for a hospital's private data.</li>
<li>What a hospital declares publicly: its name, that it takes part, and the size of its cohort, rounded down.</li>
<li>Timing: when a hospital answered and how long it took.</li>
<li>Values without noise that are computed from patients' data in training: none leaves, so there are none to list.</li>
{% endcall %}
{% call box("What a ledger alone cannot show", "no") %}
<li>A ledger whose end was cut off is a shorter ledger that holds. It shows only beside a head, the hash of the last
entry, that a server saw: audit the run's folder, or compare with the coordinator's heads.</li>
<li>A ledger that was written anew with another key shows only beside the site's public key, known from elsewhere.</li>
<li>Each ledger speaks for one hospital. For a person treated at several of them, their ε and δ add up.</li>
<li>An audit examines the book, not the machine: training that was kept from the ledger would not be in it.</li>
{% endcall %}
{% call box("Whom you have to trust") %}
<li>Nothing without noise leaves a hospital: it clips, and adds its own, full noise first. The server, the network and
the other hospitals see weights after noise, and need not be trusted with others.</li>
<li>What has to be trusted is the hospital's own machine, this software on it, and whoever holds the site's key.</li>
{% endcall %}
{% call box("How to read ε") %}
<li>{{ SCALE }}</li>
<li>ε is an upper limit that is proved, not an estimate of what an attack would achieve; smaller is more private.</li>
<li>It is counted over all runs, servers and years that the ledger holds. What was reserved counts until it is
settled.</li>
{% endcall %}
</div>
</section>
{% endblock %}

{% block footer %}
Written by silogan audit. The same facts for machines: silogan audit --json.
{%- endblock %}
"""

PAGES = environment(page=PAGE, cohort=page_cohort.COHORT)
_OPENING = b"<!doctype html>"


def write_page(audits: Sequence[Audit], path: Path, at: datetime) -> None:
    """Writes the page of `render_page` to `path`; a reader sees the old page or the whole new one.

    Raises:
        UsageError: the file cannot be written, or is something else than a page: a ledger must not be lost to a slip.
    """
    with writing(f"'{path}'", "name a file in a folder that exists", UsageError):
        if path.exists() and not path.read_bytes().startswith(_OPENING):
            raise UsageError(f"'{path}'", "exists and is no page", "name a new file")
        write_bytes_atomically(path, render_page(audits, at).encode())


def render_page(audits: Sequence[Audit], at: datetime) -> str:
    """The page.

    Args:
        audits: what was found, one for each ledger.
        at: when, with its time zone.

    Returns:
        A self-contained HTML document. What the ledgers say is escaped.
    """
    statements = [found.statement for found in audits if found.statement]
    return rendered(
        PAGES,
        at=page_cohort.in_utc(at.isoformat()),
        audits=audits,
        statements=statements,
        findings=[(number, finding) for number, found in enumerate(audits, 1) for finding in found.findings],
        terms={(statement.unit, statement.delta) for statement in statements},
        seeded=any(run.seeded for statement in statements for run in statement.runs),
        THE_LEDGER=THE_LEDGER,
        **page_cohort.VIEW,
    )
