"""The settings of the run, and how to repeat it."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from silogan.common.pages.words import number
from silogan.server.report.verdict import Word, word_of

Report = Mapping[str, Any]

SETTINGS = """
{% from "parts" import details, pairs %}
<section>
<h2>How to repeat this run</h2>
<p>The run's folder holds <code>run.yaml</code>, the resolved scenario. Repeat the run:</p>
<pre><code>silogan simulate run.yaml --out AGAIN</code></pre>
{% if report.seeded %}
<p class="soft">The seed is fixed: the same versions on the same hardware give the same numbers.</p>
{% else %}
<p class="soft">A repetition draws new randomness: expect similar numbers, not equal ones.</p>
{% endif %}
{% if report.private %}
<p>Draw more records (RUN is the run's folder). This costs no more privacy:</p>
<pre><code>silogan generate RUN --count 1000 --out DIR</code></pre>
{% endif %}
{% call details("Model and machine", printed=false) %}
{{ pairs("What was trained, and on what", ("What", "Value"), (
       ("Family", report.model.family),
       ("Parameters of the generator", report.model.parameters_generator | whole),
       ("Parameters of the discriminator", report.model.parameters_discriminator | whole),
       ("Engine", report.engine),
       ("Hardware", report.hardware),
   )) }}
{% endcall %}
{% if report.expected and measured %}
{% call details("Forecast before the run", printed=false) %}
<p>{{ report.expected }}. The run was measured since: the verdict counts.</p>
{% endcall %}
{% endif %}
{% call details("Settings", printed=false) %}
{{ pairs("Every setting of the scenario", ("Setting", "Value"), settings) }}
{% endcall %}
{% call details("Versions", printed=false) %}
{{ pairs("Software that was used", ("Package", "Version"), report.versions | items) }}
{% endcall %}
</section>
"""


def view(report: Report) -> dict[str, Any]:
    """The settings in words."""
    return {"settings": list(flatten(report["configuration"])), "measured": word_of(report) is not Word.unmeasured}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as (dotted key, value in words), in their order."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 6)
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in cast(list[object], value)) or "none"
    return str(value)
