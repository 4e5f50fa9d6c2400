"""The report's part about privacy: the guarantee, exactly, and what it does not cover."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from silogan.common.pages.guarantee import largest_success

Report = Mapping[str, Any]
Site = Mapping[str, Any]

SIMULATED = ("inprocess", "ray")
SITES_AT_A_GLANCE = 20
FEW_GROUPS = 3

# The guarantee, exactly, for the top of the page.
SENTENCE = """
{% if not report.private %}
It was trained <strong>without differential privacy</strong>: nothing limits what it reveals about a patient.
{%- elif groups | length > FEW_GROUPS or groups | rejectattr("spent") | list %}
Each hospital trained under its own differential privacy guarantee; the guarantees differ and are listed below.
{%- elif groups | length == 1 %}
{% set group = groups[0] %}
{% set epsilon, delta = group.spent[1] | epsilon, group.delta | small %}
At each hospital by itself, adding or removing
any one {{ "patient's records" if group.unit == "patient" else "record" }} makes no result more than
<strong><var>e</var><sup>{{ epsilon }}</sup> times as likely, plus {{ delta }}</strong>
(differential privacy with ε&nbsp;=&nbsp;{{ epsilon }}, δ&nbsp;=&nbsp;{{ delta }}).
{%- else %}
Each hospital trained under its own differential privacy guarantee, at most
{% for group in groups -%}
{{ "or " if not loop.first }}ε&nbsp;=&nbsp;{{ group.spent[1] | epsilon }} with
δ&nbsp;=&nbsp;{{ group.delta | small }} for any one {{ group.unit }}
{% endfor -%}
added or removed.
{%- endif %}
"""

# What each hospital spent; a summary comes first if they are many or differ.
SITES = """
{% from "parts" import bar, details, reading, row, table %}
{% set many = report.sites | length > SITES_AT_A_GLANCE %}
<section>
<h2>Privacy at each hospital</h2>
{% if not report.private %}
<p>Training ran without differential privacy: ε is unlimited at every site.</p>
{% else %}
<p>ε is the privacy loss of this run for each hospital's patients, rounded up. Smaller is more private. Other runs on
the same patients add to it: each hospital's ledger keeps the total.</p>
{% if groups | length > 1 %}<p>Values of ε with different δ or unit are not comparable.</p>{% endif %}
{% if groups | length <= FEW_GROUPS and (many or groups | length > 1) %}
{% call table("Privacy spent, by unit and δ", ("Hospitals", "Unit", "δ", "ε spent", "Strength", "Steps"), "figures") %}
{% for group in groups %}
{{ row(group.sites | length | counted("hospital"), [
       group.unit,
       group.delta | small,
       group.spent | map("epsilon") | unique | join(" to ") or "—",
       reading(group.spent[1]) if group.spent else "—",
       group.ends("steps") | map("whole") | unique | join(" to "),
   ]) }}
{% endfor %}
{% endcall %}
{% endif %}
{% endif %}
{% call details("All %d hospitals" | format(report.sites | length), fold=many) %}
{% if not report.private %}
{% call table("Trained without noise", ("Site", "Steps", "Unit")) %}
{% for site in report.sites %}{{ row(site.name, [site.steps | whole, site.unit]) }}{% endfor %}
{% endcall %}
{% else %}
{% call table("Privacy spent by each hospital in this run",
              ("Site", "ε spent of its budget", "δ", "Steps", "Unit", "Declared size"), "figures") %}
{% for site in report.sites %}
{{ row(site.name, [
       bar(site.epsilon, site.epsilon_budget),
       site.delta | small,
       site.steps | whole,
       site.unit,
       site.get("declared_size") | whole,
   ]) }}
{% endfor %}
{% endcall %}
{% call table("What left each hospital: noisy sums, by phase",
              ("Phase", "Of the budget", "Noise multiplier σ", "Sample rate q", "Clipping norm C",
               "Records per patient k", "Sums a round", "Rounds"), "figures") %}
{% for phase in report.phases %}
{{ row(phase.name, [phase.share | percent, phase.noise_multiplier | number(4), phase.sample_rate | number,
                    phase.clip_norm | number, phase.records_per_patient | whole, phase.steps_per_round | whole,
                    (phase.rounds - phase.spare_rounds) | whole]) }}
{% endfor %}
{% endcall %}
{% endif %}
{% endcall %}
</section>
"""

# What is private and what is not, whom one has to trust, and how to read ε.
SCOPE = """
{% from "parts" import box %}
<section>
<h2>What is private and what is not</h2>
<div class="sides">
{% if not report.private %}
{% call box("Nothing on this page is private", "no") %}
<li>The generator saw the discriminator's gradients without noise or clipping: its records may repeat a patient's.</li>
<li>It is a comparison, for simulation only. Do not let its weights or records leave the place where the data
is.</li>
<li><code>silogan generate</code> refuses this run, and so does a hospital's node.</li>
{% endcall %}
{% else %}
{% call box("Covered by the guarantee", "yes") %}
{% if not report.rounds_planned %}
<li>The noisy sums that each hospital released, and the generator that was fitted to them.</li>
<li>Everything computed from these alone: the synthetic records, on this page and any drawn later.</li>
{% else %}
<li>The weights of generator and discriminator, of every round.</li>
<li>Everything computed from the weights alone: the synthetic records, on this page and any drawn later, the
discriminator's accuracy on synthetic records, and the size of the updates.</li>
{% endif %}
<li>This holds for each hospital by itself, even against everyone else working together.</li>
{% endcall %}
{% call box("Not covered", "no") %}
<li>The evaluation (accuracy and fidelity). It uses real data without noise and is for the researcher. Do not publish it
for a hospital's private data. Choosing between runs by these figures is not covered either.</li>
<li>The size of a cohort, where a hospital declared it.</li>
<li>That a hospital took part, and in which rounds. Times and memory use.</li>
<li>The settings, class names and format of records: people chose them; they are not computed from patients' data.</li>
<li>What is true of patients in general. The guarantee hides whether one patient is in the data, not what can be
learnt from all patients together.</li>
{% endcall %}
{% call box("Whom you must trust") %}
<li>Each hospital clips and adds the full noise itself before anything leaves it. The server, the network and the other
hospitals never see an update without noise. You need not trust them.</li>
<li>You must trust the hospital's own machine and this software on it.</li>
{% if report.engine in SIMULATED %}
<li>In this run the hospitals were simulated in one place that held all the data; the guarantee is about what leaves a
simulated hospital.</li>
{% endif %}
{% if report.seeded %}
{% set seed = report.configuration.get("seed") %}
<li>Sampling and noise were drawn from
{{ "a fixed seed" if seed is none else "the seed %s, which is written on this page" | format(seed) }}. Whoever knows it
can remove the noise: against them the run is not private.</li>
{% else %}
<li>Sampling and noise were drawn from the operating system's secure source; no seed was fixed.</li>
{% endif %}
{% endcall %}
{% call box("How to read ε") %}
{% for group in weakest %}<li>{{ against_an_attacker(group.spent[1], group.delta, group.unit) }}</li>{% endfor %}
<li>That is an upper bound, not an estimate of what an attack would achieve.</li>
{% if groups | selectattr("unit", "eq", "record") | list %}
<li>Record level: for a patient with several records at a hospital, ε grows about in proportion.</li>
{% endif %}
<li>For a person treated at several of the hospitals, their ε and δ add up.</li>
<li>{{ SCALE }} Do not compare values of ε with different δ or unit.</li>
{% endcall %}
{% endif %}
</div>
</section>
"""


@dataclass(frozen=True)
class Group:
    """The sites of one unit and δ: the values of ε within one group, and only those, can be compared."""

    unit: str
    delta: float
    sites: Sequence[Site]

    @property
    def spent(self) -> tuple[float, ...]:
        """Smallest and largest ε, or nothing if none has one."""
        values = [site["epsilon"] for site in self.sites if site["epsilon"] is not None]
        return (min(values), max(values)) if values else ()

    def ends(self, key: str) -> tuple[Any, Any]:
        """Smallest and largest value of a site."""
        values = [site[key] for site in self.sites]
        return min(values), max(values)


def view(report: Report) -> dict[str, Any]:
    """The groups, and those with the weakest guarantees."""
    found: dict[tuple[str, float], list[Site]] = {}
    for site in report["sites"]:
        found.setdefault((site["unit"], site["delta"]), []).append(site)
    groups = [Group(unit, delta, sites) for (unit, delta), sites in found.items()]
    limited = [group for group in groups if group.spent]
    weakest = sorted(limited, key=lambda group: largest_success(group.spent[1], group.delta), reverse=True)
    return {
        "groups": groups,
        "weakest": weakest[:FEW_GROUPS],
        "SIMULATED": SIMULATED,
        "FEW_GROUPS": FEW_GROUPS,
        "SITES_AT_A_GLANCE": SITES_AT_A_GLANCE,
    }
