"""The report of a run: one page that a clinician and a data protection officer can read without help.

The page is a single file. It fetches nothing, runs no script, and can be mailed, printed and archived.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from silogan.common.files import write_bytes_atomically
from silogan.common.pages.page import environment, rendered
from silogan.common.privacy.strength import delta_remark
from silogan.server.report import (
    approvals,
    curves,
    figures,
    joint,
    memorisation,
    pictures,
    privacy,
    refinement,
    settings,
    table,
    use,
)

Report = Mapping[str, Any]
Event = Mapping[str, Any]

PAGE = """
{% extends "frame" %}
{% from "parts" import banner, cautions, masthead, verdict_banner %}
{% from "parts" import sheet as picture %}
{% set hospital = "simulated hospital" if report.engine in SIMULATED else "hospital" %}

{% block title %}{{ report.title or report.name }} · SiloGAN report{% endblock %}

{% block style %}{% if report.get("table") or report.get("joint") %}{% include "table_style" %}{% endif %}{% endblock %}

{% block header %}
{% set sums = "fitted to %s from" | format(report.phases | length | counted("release")) %}
{% set made = "trained by" if report.rounds_planned else sums %}
{% set lede %}
One generator of synthetic {{ report.records.described }},
{{ made }} {{ report.sites | length | counted(hospital) }}
{%- if report.rounds_planned %} in {{ report.rounds | counted("round") }}{% endif %}. {% include "sentence" %}
{% endset %}
{% set meta = "%s · run “%s”" | format(report.created | moment, report.name) %}
{% call masthead("run report", report.title or report.name, meta, lede) %}
{% if report.get("verdict") %}
{{ verdict_banner(report.verdict, use.plain) }}
{% endif %}
{{ cautions(report.private, report.seeded, "a fixed seed makes a simulation repeatable, and its noise predictable.") }}
{% for remark in weak_deltas %}
{{ banner("care", "Weak δ", remark) }}
{% endfor %}
{% if report.expected and not measured %}
{{ banner("care", "What to expect", report.expected) }}
{% endif %}
{% if report.stopped %}
{{ banner("care", "Stopped after %d of %d rounds" | format(report.rounds, report.rounds_planned), report.stopped) }}
{% endif %}
<p class="stamp">Not for diagnosis</p>
{% endcall %}
{% endblock %}

{% block main %}
<section>
<h2>What the generator draws</h2>
{% if sheet %}
{% set what %}
{% if report.classes %}in columns for each of {{ report.classes | length }} classes: {{ report.classes | join(", ") }}
{%- else %}without classes{% endif %}
{% endset %}
<div class="pair">
<figure>
{{ picture(sheet, "Synthetic sample %s, %s." | format(report.records.noun, what | trim)) }}
<figcaption><strong>Synthetic, not patients.</strong>
{{- "" if report.private else " %s." | format(NO_PRIVACY) }}
{{- " %s." | format(SEEDED | capitalize) if report.seeded }}
{%- if report.get("credit") %} With {{ report.credit }}; all else comes from the hospitals' release.{% endif %}
</figcaption>
</figure>
{% if reference %}
<figure>
{{ picture(reference, "Public images that the study names, for comparison.") }}
<figcaption><strong>Public images</strong> that the study names (model.public), for comparison. They are of no
hospital's patients.</figcaption>
</figure>
{% endif %}
</div>
{% else %}
<p>No samples were drawn in this run.</p>
{% endif %}
</section>
{% include "use" %}
{% include "figures" %}
{% if report.get("memorisation") %}
{% include "memorisation" %}
{% endif %}
{% if report.get("refinement") %}
{% include "refinement" %}
{% endif %}
{% if report.get("table") %}
{% include "table" %}
{% endif %}
{% if report.get("joint") %}
{% include "joint" %}
{% endif %}
{% include "approvals" %}
{% include "sites" %}
{% if report.rounds_planned %}
{% include "curves" %}
{% endif %}
{% include "scope" %}
{% include "settings" %}
{% endblock %}

{% block footer %}
Written by SiloGAN {{ report.versions.get("silogan", "") }}, {{ report.created | moment }}. The same facts for machines:
report.json.
{%- endblock %}
"""

PAGES = environment(
    page=PAGE,
    sentence=privacy.SENTENCE,
    use=use.USE,
    approvals=approvals.APPROVALS,
    figures=figures.FIGURES,
    memorisation=memorisation.MEMORISATION,
    refinement=refinement.REFINEMENT,
    table=table.TABLE,
    joint=joint.JOINT,
    table_style=table.STYLE,
    drawing=pictures.DRAWING,
    sites=privacy.SITES,
    curves=curves.CURVES,
    scope=privacy.SCOPE,
    settings=settings.SETTINGS,
)


def write_html(
    path: Path, report: Report, events: Sequence[Event], grid_png: bytes | None, public_png: bytes | None = None
) -> None:
    """Writes the page of `render_html` to `path`; a reader sees the old page or the whole new one.

    Raises:
        OSError: the file cannot be written.
    """
    write_bytes_atomically(path, render_html(report, events, grid_png, public_png).encode())


def render_html(
    report: Report, events: Sequence[Event], grid_png: bytes | None, public_png: bytes | None = None
) -> str:
    """The report page.

    Args:
        report: the content of `report.json`.
        events: the lines of `events.jsonl`; those that are not about a round are passed over.
        grid_png: contact sheet of the released generator, or None if there is none.
        public_png: some of the public images that the study names (`model.public`), to show beside it; never images of
            a hospital, nor of a test split.

    Returns:
        A self-contained HTML document.
    """
    rounds = [event for event in events if event.get("event") == "round"]
    return rendered(
        PAGES,
        report=report,
        sheet=sheet_of(grid_png),
        reference=sheet_of(public_png),
        weak_deltas=weak_deltas(report),
        **use.view(report),
        **approvals.view(report),
        **privacy.view(report),
        **figures.view(report),
        **memorisation.view(report),
        **refinement.view(report),
        **table.view(report),
        **joint.view(report),
        **curves.view(report, rounds),
        **settings.view(report),
    )


def sheet_of(png: bytes | None) -> dict[str, Any] | None:
    """A picture as the pages embed it; nothing for None."""
    if png is None:
        return None
    width, height = Image.open(BytesIO(png)).size
    return {"base64": b64encode(png).decode(), "width": width, "height": height}


def weak_deltas(report: Report) -> list[str]:
    """What to say of each δ that is too large for its hospital."""
    if not report["private"]:
        return []
    remarks = (delta_remark(site["delta"], site.get("declared_size"), site["unit"]) for site in report["sites"])
    return [remark for remark in dict.fromkeys(remarks) if remark]
