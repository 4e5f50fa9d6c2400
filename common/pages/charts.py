"""Small line charts as inline SVG, coloured by the page's style so that they follow light and dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.pages.markup import Html, tag

WIDTH, HEIGHT = 280, 150
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 16, 24


@dataclass(frozen=True)
class Chart:
    """One quantity over the rounds, or over time.

    Attributes:
        title: what is drawn.
        note: one sentence on how to read it.
        points: (round or second, value); values that are not finite are left out.
        show: writes a value.
        band: (round, lowest, highest) over the sites, drawn behind the line.
        line_at: a level to compare with, drawn dashed, with its name.
        ends: ends of the vertical axis, which grows to hold all values.
        tick: writes a value on the axis; `show` if none.
        place: writes a round or a second on the axis.
        at: what stands before it in a sentence.
    """

    title: str
    note: str
    points: Sequence[tuple[int, float]]
    show: Callable[[float], str]
    band: Sequence[tuple[int, float, float]] = ()
    line_at: tuple[float, str] | None = None
    ends: tuple[float, float] = (0.0, 0.0)
    tick: Callable[[float], str] | None = None
    place: Callable[[int], str] = str
    at: str = "in round"


def figure(chart: Chart) -> Html:
    """The chart with its title, its latest value and how to read it; empty if there is no value to draw."""
    points = [(x, y) for x, y in chart.points if math.isfinite(y)]
    if not points:
        return Html("")
    last = tag("span", chart.show(points[-1][1]), class_="latest")
    heading = tag("h3", chart.title, " ", last)
    return tag("figure", heading, _svg(chart, points), tag("figcaption", chart.note), class_="chart")


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """At most `most` + 1 round values that enclose [low, high], in steps of 1, 2 or 5 times a power of ten.

    A value beyond the outermost by less than a billionth of a step counts as enclosed.
    After Heckbert, "Nice numbers for graph labels", Graphics Gems, 1990.
    """
    size = max(abs(low), abs(high), 1.0)
    span = high - low if high - low > 1e-9 * size else size
    power = 10.0 ** math.floor(math.log10(span / most))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    return [float(f"{i * step:.12g}") for i in range(first, max(last, first + 1) + 1)]


def _svg(chart: Chart, points: list[tuple[int, float]]) -> Html:
    band = [(x, low, high) for x, low, high in chart.band if math.isfinite(low) and math.isfinite(high)]
    levels = [y for _, y in points] + [y for _, low, high in band for y in (low, high)] + list(chart.ends)
    if chart.line_at:
        levels.append(chart.line_at[0])
    marks = ticks(min(levels), max(levels))
    first, last = points[0][0], points[-1][0]

    def across(x: float) -> float:
        share = (x - first) / (last - first) if last > first else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def up(y: float) -> float:
        share = (y - marks[0]) / (marks[-1] - marks[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    write = chart.tick or chart.show
    parts: list[Html] = []
    for mark in marks:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(mark), y2=up(mark), class_="rule"))
        parts.append(tag("text", write(mark), x=LEFT - 6, y=up(mark) + 4, text_anchor="end"))
    for x in sorted({first, (first + last) // 2, last}):
        name, middle = chart.place(x), across(x)
        reach = 3.4 * len(name)  # about half its width: a long one stays inside
        middle = min(max(middle, reach), WIDTH - reach)
        parts.append(tag("text", name, x=middle, y=HEIGHT - 6, text_anchor="middle"))
    if band:
        outline = [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]
        parts.append(tag("polygon", points=_path(outline, across, up), class_="band"))
    if chart.line_at:
        level, name = chart.line_at
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(level), y2=up(level), class_="level"))
        parts.append(tag("text", name, x=LEFT + 4, y=up(level) - 4, class_="name"))
    parts.append(tag("polyline", points=_path(points, across, up), class_="line"))
    parts.append(tag("circle", cx=across(last), cy=up(points[-1][1]), r=3.5, class_="dot"))
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=_spoken(chart, points))


def _path(points: list[tuple[int, float]], across: Callable[[float], float], up: Callable[[float], float]) -> str:
    return " ".join(f"{across(x)},{up(y)}" for x, y in points)


def _spoken(chart: Chart, points: list[tuple[int, float]]) -> str:
    """The chart for somebody who does not see it."""
    values = [y for _, y in points]
    return (
        f"{chart.title}: {chart.show(values[0])} {chart.at} {chart.place(points[0][0])}, {chart.show(values[-1])} "
        f"{chart.at} {chart.place(points[-1][0])}; lowest {chart.show(min(values))}, highest {chart.show(max(values))}."
    )
