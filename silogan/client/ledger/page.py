"""The audit as a page that a data protection officer can read, print and file: one HTML file that fetches nothing."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from silogan.client.ledger import page_cohort
from silogan.client.ledger.audit import THE_LEDGER, Audit
from silogan.common.errors import UsageError
from silogan.common.files import write_bytes_atomically, writing
from silogan.common.pages.page import environment, rendered

PAGE = """
{% extends "frame" %}
{% from "parts" import banner, bar, box, pill, reading, row, table %}

{# Names may repeat, so links go by number. #}
{% macro link(number) %}<a href="#ledger-{{ number }}">{{ audits[number - 1].name }}</a>{% endmacro %}

{% block title %}SiloGAN privacy audit{% endblock %}

{% block header %}
<p class="kicker">SiloGAN privacy audit</p>
<h1>How much of the privacy budget was spent</h1>
<p class="lede">{{ audits | length | counted("privacy ledger") }} audited; entries read:
{{ statements | sum(attribute="entries") | whole }}. A ledger is a hospital's signed record of the privacy loss that
training has caused for its patients.</p>
<p class="meta">Audited on {{ at | moment }}</p>
{% if not findings %}
{{ banner("good", "All checks passed", "no ledger entry contradicts another, or what others have seen.") }}
{% else %}
{% set count = findings | length %}
{{ banner("bad", "1 problem found" if count == 1 else count | whole ~ " problems found",
          "ask the hospital to restore the newest copy of its ledger.") }}
{% endif %}
{% if seeded %}
{{ banner("care", SEEDED, "some rounds drew their noise from a fixed seed, as simulations may.") }}
{% endif %}
{% endblock %}

{% block main %}
<section>
<h2>What was checked</h2>
{% if findings %}
{% call table("Problems found", ("Ledger", "Where", "Problem")) %}
{% for number, finding in findings %}
<tr><th scope="row">{{ link(number) }}</th>
<td>{{ "the ledger" if finding.entry == THE_LEDGER else "entry " ~ finding.entry | whole }}</td>
<td><strong class="bad">{{ finding.problem }}</strong></td></tr>
{% endfor %}
{% endcall %}
{% else %}
<p>No problem was found.</p>
{% endif %}
<p>The audit checks the following, as far as it can read a ledger:</p>
<ul>
<li>No entry was altered: its hash, its link to the previous entry and the site's signature are valid.</li>
<li>Every charge belongs to a plan that the hospital had approved, within the policy and budget of that day.</li>
<li>Every release was reserved once and settled at most once, with no more steps than were reserved.</li>
<li>Three accountants recompute ε from the entries. They agree within their stated errors.</li>
<li>The last entry that a server saw is present, and the key is the site's, where a run folder records them.</li>
</ul>
</section>

{% if audits | length > 1 %}
<section>
<h2>All ledgers at a glance</h2>
{% if terms | length > 1 %}<p>Values of ε with different δ or unit are not comparable.</p>{% endif %}
{% call table("Every ledger, with the ε that counts against its budget",
              ("Ledger", "Checks", "Unit", "δ", "ε charged of budget", "Left", "Strength"), "figures") %}
{% for found in audits %}
{% set statement = found.statement %}
{% set holds = pill("bad", found.findings | length | counted("finding")) if found.findings
               else pill("good", "passed") if statement else pill("care", "no ledger") %}
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
<li>Figures computed on real test data, such as accuracy and fidelity in a run's report: they have no noise.
They are for the researcher; do not publish them for a hospital's private data.</li>
<li>What a hospital makes public: its name, that it takes part, and the size of its cohort, rounded down.</li>
<li>Timing: when a hospital answered and how long it took.</li>
<li>Values computed from patients' data without noise: none leaves the hospital, so none is listed.</li>
{% endcall %}
{% call box("What a ledger alone cannot show", "no") %}
<li>If its end was cut off, the shorter ledger still passes. Only a later head (the hash of the last entry), as a server
saw it, reveals the cut: audit the run folder, or compare with the coordinator's heads.</li>
<li>If it was rewritten with another key, only the site's public key from another source reveals this.</li>
<li>Each ledger speaks for one hospital. For a person treated at several of them, their ε and δ add up.</li>
<li>An audit checks the ledger, not the machine: it cannot see training that bypassed the ledger.</li>
{% endcall %}
{% call box("Whom you must trust") %}
<li>A hospital clips and adds the full noise itself before anything leaves it. The server, the network and the other
hospitals see only weights after noise and noisy sums. You need not trust them.</li>
<li>You must trust the hospital's own machine, this software on it, and whoever holds the site's key.</li>
{% endcall %}
{% call box("How to read ε") %}
<li>{{ SCALE }}</li>
<li>ε is a proven upper bound, not an estimate of what an attack would achieve. Smaller is more private.</li>
<li>It covers all runs, servers and years in the ledger. Reserved steps count in full until they are settled.</li>
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
        UsageError: the file cannot be written, or is not such a page: a ledger must not be overwritten by mistake.
    """
    with writing(f"'{path}'", "name a file in a folder that exists", UsageError):
        if path.exists() and not path.read_bytes().startswith(_OPENING):
            raise UsageError(f"'{path}'", "exists and is not an audit page", "name a new file")
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
