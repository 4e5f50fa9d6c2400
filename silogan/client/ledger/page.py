"""The audit as a page that a data protection officer can read, print and file: one HTML file that fetches nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from silogan import __version__
from silogan.client.ledger import page_attacks, page_cohort
from silogan.client.ledger.audit import THE_LEDGER, USED_UP, Audit
from silogan.common.errors import UsageError
from silogan.common.files import write_bytes_atomically, writing
from silogan.common.pages.page import environment, rendered

PAGE = """
{% extends "frame" %}
{% from "parts" import banner, bar, box, card, masthead, pill, reading, row, table %}

{# Names may repeat, so links go by number. #}
{% macro link(number) %}<a href="#ledger-{{ number }}">{{ audits[number - 1].name }}</a>{% endmacro %}

{% block title %}SiloGAN privacy audit{% endblock %}

{% block header %}
{% set lede %}
A ledger is a hospital's signed record of the privacy loss that training has caused for its patients. This page is for
the hospital's data protection officer: read it, print it, sign it and file it.
{% endset %}
{% set meta = "%s · %s" | format(at | moment, audits | map(attribute="name") | join(", ") if audits | length <= 4
                                 else audits | length | counted("ledger")) %}
{% call masthead("privacy audit", "How much of the privacy budget was spent", meta, lede) %}
{% if findings %}
{% set count = findings | length %}
{{ banner("bad", "1 problem found" if count == 1 else count | whole ~ " problems found",
          "ask the hospital to restore the newest copy of its ledger.") }}
{% elif used_up %}
{{ banner("care", "All checks passed, budget used up",
          "%s of %s spent %s of the budget or more. A further study is refused, unless the hospital raises its budget."
          | format(used_up | length | whole, statements | length | counted("ledger"), USED_UP | percent)) }}
{% else %}
{{ banner("good", "All checks passed", "no ledger entry contradicts another, or what others have seen.") }}
{% endif %}
{% if seeded %}
{{ banner("care", SEEDED, "some rounds drew their noise from a fixed seed, as simulations may.") }}
{% endif %}
{% endcall %}
<ul class="cards">
{{ card("Ledgers audited", audits | length | whole, statements | sum(attribute="entries") | whole ~ " entries read") }}
{% if terms | length == 1 and statements %}
{% set most = statements | map(attribute="epsilon_charged") | max %}
{% set least = statements | map(attribute="epsilon_left") | min %}
{{ card("Largest privacy loss ε", most | epsilon, "rounded up", reading(most)) }}
{{ card("Smallest rest of a budget", least | left, "rounded down") }}
{% endif %}
{{ card("Problems found", findings | length | whole, "see What was checked") }}
</ul>
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
              ("Ledger", "ε charged of budget", "Left", "Checks", "Unit", "δ", "Strength"), "figures") %}
{% for found in audits %}
{% set statement = found.statement %}
{% set holds = pill("bad", found.findings | length | counted("finding")) if found.findings
               else pill("good", "passed") if statement else pill("care", "no ledger") %}
{{ row(link(loop.index), ["—", "—", holds, "—", "—", "—"] if statement is none else [
       bar(statement.epsilon_charged, statement.epsilon_budget),
       statement.epsilon_left | left,
       holds,
       statement.unit,
       statement.delta | small,
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

{% include "attacks" %}

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

<section>
<h2>Read and filed</h2>
<ul class="sign">
{% for what in ("Hospital", "Data protection officer", "Signature", "Place and date") %}<li>{{ what }}</li>{% endfor %}
</ul>
</section>
{% endblock %}

{% block footer %}
Written by SiloGAN {{ version }}, {{ at | moment }}. The same facts for machines:
<code style="white-space:nowrap">silogan audit --json</code>.
{%- endblock %}
"""

PAGES = environment(page=PAGE, cohort=page_cohort.COHORT, attacks=page_attacks.ATTACKS)
_OPENING = b"<!doctype html>"


def write_page(audits: Sequence[Audit], path: Path, at: datetime, attacks: Mapping[str, Any] | None = None) -> None:
    """Writes the page of `render_page` to `path`; a reader sees the old page or the whole new one.

    Raises:
        UsageError: the file cannot be written, or is not such a page: a ledger must not be overwritten by mistake.
    """
    with writing(f"'{path}'", "name a file in a folder that exists", UsageError):
        if path.exists() and not path.read_bytes().startswith(_OPENING):
            raise UsageError(f"'{path}'", "exists and is not an audit page", "name a new file")
        write_bytes_atomically(path, render_page(audits, at, attacks).encode())


def render_page(audits: Sequence[Audit], at: datetime, attacks: Mapping[str, Any] | None = None) -> str:
    """The page.

    Args:
        audits: what was found, one for each ledger.
        at: when, with its time zone.
        attacks: what `silogan audit --empirical` measured, as it prints it; None if nothing was.

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
        used_up=[found for found in audits if found.used_up],
        USED_UP=USED_UP,
        THE_LEDGER=THE_LEDGER,
        version=__version__,
        **page_attacks.view(attacks),
        **page_cohort.VIEW,
    )
