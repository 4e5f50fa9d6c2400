"""Pictures made of bars, lines and words, which the pages draw as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

DRAWING = """
{% macro drawing(picture) %}
<figure class="chart">
<h3>{{ picture.title }}{% if picture.value %} <span class="latest">{{ picture.value }}</span>{% endif %}</h3>
<svg viewBox="0 0 {{ picture.width }} {{ picture.height }}" role="img" aria-label="{{ picture.spoken }}">
{% for bar in picture.bars %}
<rect x="{{ bar.x | round(1) }}" y="{{ bar.y | round(1) }}" width="{{ bar.width | round(1) }}"
height="{{ bar.height | round(1) }}" class="{{ bar.kind }}"
{%- if bar.strength < 1 %} fill-opacity="{{ bar.strength | round(3) }}"{% endif %}>
{%- if bar.title %}<title>{{ bar.title }}</title>{% endif %}</rect>
{% endfor %}
{% for line in picture.lines %}
<polyline points="{% for x, y in line.corners %}{{ x | round(1) }},{{ y | round(1) }} {% endfor %}"
class="{{ line.kind }}"></polyline>
{% endfor %}
{% for word in picture.words %}
<text x="{{ word.x | round(1) }}" y="{{ word.y | round(1) }}" text-anchor="{{ word.anchor }}">{{ word.text }}</text>
{% endfor %}
</svg>
{% if picture.note %}<figcaption>{{ picture.note }}</figcaption>{% endif %}
</figure>
{% endmacro %}
"""


class Bar(NamedTuple):
    """A rectangle; `kind` is its class, `strength` how opaque it is (0 to 1), `title` what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str = ""
    strength: float = 1.0


class Line(NamedTuple):
    """Corners that are joined; `kind` is its class."""

    corners: Sequence[tuple[float, float]]
    kind: str


class Word(NamedTuple):
    """A text that begins, ends or has its middle at a place."""

    x: float
    y: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Picture:
    """A picture with its title.

    Attributes:
        title: what is drawn.
        spoken: the same with its figures, for screen readers.
        width: in units of its own, which the page scales.
        height: the same.
        bars: drawn first.
        lines: drawn over them.
        words: drawn last.
        value: a figure beside the title.
        note: one sentence on how to read it.
    """

    title: str
    spoken: str
    width: float
    height: float
    bars: Sequence[Bar] = ()
    lines: Sequence[Line] = ()
    words: Sequence[Word] = ()
    value: str = ""
    note: str = ""


def shortened(text: str, most: int) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
