"""Small line charts: the coordinates of a picture that the pages draw as inline SVG."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar


@dataclass(frozen=True)
class Chart:
    """One quantity over the rounds, or over time; values that are not finite are left out.

    Attributes:
        title: what is drawn.
        note: one sentence on how to read it.
        points: (round or second, value).
        show: writes a value.
        band: (round, lowest, highest) over the sites, drawn behind the line.
        line_at: a level to compare with, drawn dashed, with its name.
        ends: ends of the vertical axis, which grows to hold all values.
        tick: writes a value on the axis; `show` if none.
        place: writes a round or a second on the axis.
        at: what stands before it in a sentence.
    """

    WIDTH: ClassVar = 280
    HEIGHT: ClassVar = 150
    LEFT: ClassVar = 40
    RIGHT: ClassVar = 268
    TOP: ClassVar = 16
    BOTTOM: ClassVar = 126

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

    @cached_property
    def drawn(self) -> list[tuple[int, float]]:
        """The points; without any there is no picture."""
        return [point for point in self.points if math.isfinite(point[1])]

    @cached_property
    def outline(self) -> list[tuple[int, float]]:
        """The corners of the band, all around it."""
        band = [(x, low, high) for x, low, high in self.band if math.isfinite(low) and math.isfinite(high)]
        return [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]

    @cached_property
    def marks(self) -> list[float]:
        """Values on the vertical axis, which hold all that is drawn."""
        values = [y for _, y in self.drawn + self.outline] + [*self.ends, *(self.line_at or ())[:1]]
        return ticks(min(values), max(values))

    @cached_property
    def places(self) -> list[tuple[float, str]]:
        """(place, name) on the horizontal axis; a long name stays inside."""
        first, last = self.drawn[0][0], self.drawn[-1][0]
        names = [(self.across(x), self.place(x)) for x in sorted({first, (first + last) // 2, last})]
        reach = 3.4  # half the width of a letter, about
        return [(min(max(x, reach * len(name)), self.WIDTH - reach * len(name)), name) for x, name in names]

    def across(self, x: float) -> float:
        """Where a round or a second stands."""
        first, last = self.drawn[0][0], self.drawn[-1][0]
        share = (x - first) / (last - first) if last > first else 0.5
        return round(self.LEFT + share * (self.RIGHT - self.LEFT), 1)

    def up(self, y: float) -> float:
        """Where a value stands."""
        share = (y - self.marks[0]) / (self.marks[-1] - self.marks[0])
        return round(self.BOTTOM - share * (self.BOTTOM - self.TOP), 1)

    def path(self, corners: Iterable[tuple[float, float]]) -> str:
        """Corners as SVG wants them."""
        return " ".join(f"{self.across(x)},{self.up(y)}" for x, y in corners)

    def spoken(self) -> str:
        """A text description of the chart, for screen readers."""
        (first, begin), (last, end) = self.drawn[0], self.drawn[-1]
        values = [y for _, y in self.drawn]
        return (
            f"{self.title}: {self.show(begin)} {self.at} {self.place(first)}, {self.show(end)} {self.at} "
            f"{self.place(last)}; lowest {self.show(min(values))}, highest {self.show(max(values))}."
        )


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
