"""The common parts of all pages: frame, macros, and rendering.

A page is one file that fetches nothing and runs no script. Titles and site names come from other people's files, so
everything that a template shows is escaped, and a name that it does not know is an error. Templates are constants of
Python modules: Flower's app bundle, whose digest a hospital reviews, carries no HTML files.
"""

from typing import Any, cast

from jinja2 import DictLoader, Environment, StrictUndefined

from silogan.common.pages import words
from silogan.common.pages.guarantee import COLOURS, against_an_attacker
from silogan.common.pages.style import STYLE
from silogan.common.privacy.plan import NO_PRIVACY, SEEDED
from silogan.common.privacy.strength import SCALE, strength

# The policy of this frame is held to by the browser: whatever the page contains, it loads nothing and runs nothing.
# Only the live view has another one, for its own script.
FRAME = """
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="
{%- block policy %}default-src 'none'; img-src data:; style-src 'unsafe-inline'{% endblock %}">
<title>{% block title required %}{% endblock %}</title>
<style>{% include "style" %}{% block style %}{% endblock %}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>{% block header required %}{% endblock %}</header>
<main id="content">{% block main required %}{% endblock %}</main>
<footer class="meta"><p>{% block footer required %}{% endblock %}</p></footer>
</body>
</html>
"""

PARTS = """
{# How every page begins: what it is, its title, when and of what, what must be seen first, and a sentence. #}
{% macro masthead(kicker, title, meta, lede) %}
<p class="kicker">SiloGAN · {{ kicker }}</p>
<h1>{{ title }}</h1>
<p class="meta">{{ meta }}</p>
{{ caller() }}
<p class="lede">{{ lede }}</p>
{% endmacro %}

{# The verdict of a run or of several, in plain words, with what was measured. #}
{% macro verdict_banner(verdict, plain) %}
<div class="banner {{ {"usable": "good", "failed": "bad"}.get(verdict.word, "care") }}" role="note">
<p><strong>{{ verdict.word | capitalize }}</strong>: {{ plain }}</p>
<ul>{% for reason in verdict.reasons %}<li>{{ reason }}</li>{% endfor %}</ul></div>
{% endmacro %}

{# A picture of records, in its own size or smaller. A sheet of many classes scrolls on a phone rather than shrink to
dots. #}
{% macro sheet(picture, alt) %}
<div class="sheet" role="group" aria-label="A picture that scrolls sideways" tabindex="0">
<img src="data:image/png;base64,{{ picture.base64 }}" alt="{{ alt }}"
width="{{ picture.width }}" height="{{ picture.height }}" style="min-width:{{ picture.width // 2 }}px"></div>
{% endmacro %}

{# A line that must be seen; `kind` is "good", "care" or "bad". #}
{% macro banner(kind, what, why) %}
<div class="banner {{ kind }}" role="note"><p><strong>{{ what[0] | upper }}{{ what[1:] }}</strong>: {{ why }}</p></div>
{% endmacro %}

{# What must be seen of a run that is not private, or whose seed is known. #}
{% macro cautions(private, seeded, why_seeded) %}
{% if not private %}
{{ banner("bad", NO_PRIVACY, "trained without differential privacy, for comparison only. Do not share its results.") }}
{% endif %}
{% if seeded %}
{{ banner("care", SEEDED, why_seeded) }}
{% endif %}
{% endmacro %}

{# One figure of a list of class "cards". #}
{% macro card(what, value, note, label="") %}
<li><span class="what">{{ what }}</span><span class="value">{{ value }}</span><span class="note">{{ note }}</span>
{{ label }}</li>
{% endmacro %}

{% macro pill(kind, what) -%}
<span class="pill {{ kind }}">{{ what }}</span>
{%- endmacro %}

{# How strong a guarantee of `epsilon` is; if `short` without what to do about it. #}
{% macro reading(epsilon, short=false) -%}
{% set found = strength(epsilon) %}
{{ pill(colours[found.word], found.word if short else found) }}
{%- endmacro %}

{# ε of its budget, drawn and written. #}
{% macro bar(epsilon, budget) %}
{% if epsilon is none or not budget %}{{ epsilon | epsilon }}{% else %}
{% set over = epsilon > budget %}
{% set share = "%.1f" | format([100.0, 100 * epsilon / budget] | min) %}
<div class="spent">
<div class="bar" aria-hidden="true"><span style="width:{{ share }}%"{% if over %} class="over"{% endif %}></span></div>
<span>{{ epsilon | epsilon }} of {{ budget | budget }}{{ " (over budget)" if over }}</span></div>
{% endif %}
{% endmacro %}

{# A table whose rows the caller writes. On a phone the cells of more than three columns stand below each other
(`common.pages.style`); what is too broad all the same scrolls sideways, by keyboard too. #}
{% macro table(caption, head, class="") %}
{% set wide = head | length > 3 %}
<div class="scroll" role="region" aria-label="{{ caption }}" tabindex="0">
<table class="{{ class }}{{ " wide" if wide }}"
{%- if wide %} style="{% for cell in head %}--c{{ loop.index }}:{{ cell | css }};{% endfor %}"{% endif %}>
<caption>{{ caption }}</caption>
<thead><tr>{% for cell in head %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{{ caller() }}
</tbody>
</table>
</div>
{% endmacro %}

{# One row: its heading, with what that means, and its cells. #}
{% macro row(heading, cells, meaning="") %}
<tr><th scope="row">{{ heading }}{% if meaning %}<span class="soft">{{ meaning }}</span>{% endif %}</th>
{%- for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endmacro %}

{# A table of names and values. #}
{% macro pairs(caption, head, values) %}
{% call table(caption, head) %}
{% for name, value in values %}{{ row(name, [value]) }}{% endfor %}
{% endcall %}
{% endmacro %}

{# What opens on demand; on paper it is open, or not there at all if not `printed`; if not `fold` it is simply there. #}
{% macro details(summary, fold=true, printed=true) %}
{% if fold %}<details{% if not printed %} class="unprinted"{% endif %}>
<summary>{{ summary }}</summary>{{ caller() }}</details>{% else %}{{ caller() }}{% endif %}
{% endmacro %}

{# A titled list; `kind` is "yes", "no" or empty. #}
{% macro box(title, kind="") %}
<div class="box{{ " " ~ kind if kind }}"><h3>{{ title }}</h3><ul>
{{ caller() }}
</ul></div>
{% endmacro %}

{# A `common.pages.charts.Chart` with its latest value and how to read it; nothing if there is no value to draw. #}
{% macro figure(chart) %}
{% if chart.drawn %}
<figure class="chart">
<h3>{{ chart.title }} <span class="latest">{{ chart.show(chart.drawn[-1][1]) }}</span></h3>
<svg viewBox="0 0 {{ chart.WIDTH }} {{ chart.HEIGHT }}" role="img" aria-label="{{ chart.spoken() }}">
{% for mark in chart.marks %}
{% set y = chart.up(mark) %}
<line x1="{{ chart.LEFT }}" x2="{{ chart.RIGHT }}" y1="{{ y }}" y2="{{ y }}" class="rule"></line>
<text x="{{ chart.LEFT - 6 }}" y="{{ y + 4 }}" text-anchor="end">{{ (chart.tick or chart.show)(mark) }}</text>
{% endfor %}
{% for x, name in chart.places %}
<text x="{{ x }}" y="{{ chart.HEIGHT - 6 }}" text-anchor="middle">{{ name }}</text>
{% endfor %}
{% if chart.outline %}<polygon points="{{ chart.path(chart.outline) }}" class="band"></polygon>{% endif %}
{% if chart.line_at %}
{% set y = chart.up(chart.line_at[0]) %}
<line x1="{{ chart.LEFT }}" x2="{{ chart.RIGHT }}" y1="{{ y }}" y2="{{ y }}" class="level"></line>
<text x="{{ chart.LEFT + 4 }}" y="{{ y - 4 }}" class="name">{{ chart.line_at[1] }}</text>
{% endif %}
<polyline points="{{ chart.path(chart.drawn) }}" class="line"></polyline>
{% set last, value = chart.drawn[-1] %}
<circle cx="{{ chart.across(last) }}" cy="{{ chart.up(value) }}" r="3.5" class="dot"></circle>
</svg>
<figcaption>{{ chart.note }}</figcaption>
</figure>
{% endif %}
{% endmacro %}
"""

FILTERS = (
    words.epsilon, words.left, words.budget, words.small, words.number, words.whole, words.percent, words.duration,
    words.memory, words.counted, words.moment, words.measured, words.css,
)  # fmt: skip
GLOBALS = {
    "strength": strength,
    "against_an_attacker": against_an_attacker,
    "colours": COLOURS,
    "SCALE": SCALE,
    "NO_PRIVACY": NO_PRIVACY,
    "SEEDED": SEEDED,
}


def environment(**templates: str) -> Environment:
    """Where templates find each other, the frame ("frame"), the parts ("parts"), and numbers in words as filters."""
    loader = DictLoader({"frame": FRAME, "parts": PARTS, "style": STYLE, **templates})
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    cast(dict[str, Any], found.filters).update({show.__name__: show for show in FILTERS})
    cast(dict[str, Any], found.globals).update(GLOBALS)
    return found


def rendered(pages: Environment, **view: Any) -> str:
    """The rendered page: the template "page" with its values."""
    return pages.get_template("page").render(view).lstrip()
