"""Pictures of tables: marginals of columns, distances of pairs of columns, and ROC curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from silogan.common.pages.charts import ticks
from silogan.common.pages.words import number, percent
from silogan.server.report.pictures import Bar, Line, Picture, Word, shortened

WIDTH, HEIGHT = 280, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 272, 8, 128
_FEW = 10  # groups, that all have a name in the picture

SIDE = 400
_ROC_LEFT, _ROC_BOTTOM, _ROC_SIZE = 38, 360, 345

CURVES = {
    "logistic_synthetic": ("Logistic regression, synthetic", "line"),
    "logistic_real": ("Logistic regression, real", "line real"),
    "boosting_synthetic": ("Boosted trees, synthetic", "line dashed"),
    "boosting_real": ("Boosted trees, real", "line real dashed"),
}


def marginal(column: Mapping[str, Any]) -> Picture:
    """Shares of real test rows (filled) and of synthetic rows (outlined) in the groups of one column.

    Args:
        column: one of `marginals` of the report.
    """
    spoken = f"{column['name']}: the shares of synthetic and real rows differ by {number(column['distance'], 2)}"
    bars, lines, words = (_histogram if column["ordered"] and len(column["groups"]) > _FEW else _by_value)(column)
    value = f"{number(column['distance'], 2)} ({number(column['floor'], 2)})"
    return Picture(shortened(column["name"], 24), spoken, WIDTH, HEIGHT, bars, lines, words, value)


def heat_map(pairs: Mapping[str, Any], floor: float) -> Picture:
    """The distance of each pair of columns, darker where it is larger; a column's own on the diagonal.

    Args:
        pairs: `columns` and the `matrix` of their distances.
        floor: mean distance of as many real training rows.
    """
    names, matrix = pairs["columns"], pairs["matrix"]
    size, left, top = (SIDE - 124) / max(8, len(names)), 120.0, 18.0
    largest = max(0.1, *(value for row in matrix for value in row))
    bars = [
        Bar(
            *(left + across * size, top + down * size, size - 1, size - 1, "synthetic"),
            f"{names[down]}, {names[across]}: {number(value, 2)}",
            max(0.02, value / largest),
        )
        for down, row in enumerate(matrix)
        for across, value in enumerate(row)
    ]
    words = [
        *(Word(left + (place + 0.5) * size, top - 5, str(place + 1)) for place in range(len(names))),
        *(
            Word(left - 6, top + (place + 0.5) * size + 4, f"{shortened(name, 16)} {place + 1}", "end")
            for place, name in enumerate(names)
        ),
    ]
    note = (
        f"Total variation distance from real test rows, at most {number(largest, 2)}; of real training rows "
        f"{number(floor, 2)} on average. Diagonal: the column alone."
    )
    end = len(names) * size + 4
    spoken = f"Distances of {len(names)} columns in pairs, at most {number(largest, 2)}."
    return Picture("Pairs of columns", spoken, left + end, top + end, bars, (), words, note=note)


def roc_curves(curves: Mapping[str, Sequence[float]], areas: Mapping[str, float]) -> Picture:
    """ROC curves of the classifiers.

    Args:
        curves: share of the class found at equally spaced shares of false alarms from 0 to 1, by classifier.
        areas: the AUROC of each.
    """
    drawn = {name: CURVES[name] for name in curves if name in CURVES}

    def corner(false: float, true: float) -> tuple[float, float]:
        return _ROC_LEFT + false * _ROC_SIZE, _ROC_BOTTOM - true * _ROC_SIZE

    lines = [Line([corner(0, 0), corner(0, 1)], "rule"), Line([corner(0, 0), corner(1, 0)], "rule")]
    lines += [Line([corner(0, 0), corner(1, 1)], "level")]
    words = [Word(*corner(share, -0.045), percent_of(share)) for share in (0, 0.5, 1)]
    words += [Word(_ROC_LEFT - 5, corner(0, share)[1] + 4, percent_of(share), "end") for share in (0.5, 1)]
    words += [Word(*corner(0.5, -0.09), "false alarms")]
    for place, (name, (meaning, kind)) in enumerate(drawn.items()):
        points = curves[name]
        lines.append(Line([corner(at / (len(points) - 1), true) for at, true in enumerate(points)], kind))
        down = corner(0, 0.21 - 0.05 * place)[1]
        lines.append(Line([(_ROC_LEFT + 132, down - 4), (_ROC_LEFT + 152, down - 4)], kind))
        words.append(Word(_ROC_LEFT + 158, down, meaning, "start"))
    spoken = "; ".join(f"{meaning}: AUROC {number(areas.get(name))}" for name, (meaning, _) in drawn.items())
    note = "Share of the second class found, by the share of false alarms. Dashed diagonal: chance."
    return Picture("ROC curves", spoken, SIDE, SIDE, (), lines, words, note=note)


def percent_of(share: float) -> str:
    """A share in 0-1 as a whole percentage."""
    return f"{share:.0%}"


_Parts = tuple[list[Bar], list[Line], list[Word]]


def _histogram(column: Mapping[str, Any]) -> _Parts:
    """Upright bars side by side; those of missing values stand apart."""
    groups, real, synthetic = column["groups"], column["real"], column["synthetic"]
    apart = int(groups[-1] == "missing")
    top = ticks(0, max(*real, *synthetic), 2)[-1]
    step = (_RIGHT - _LEFT - 48 * apart) / (len(groups) - apart)
    bars: list[Bar] = []
    lines: list[Line] = []
    corners: list[tuple[float, float]] = []
    for place, group in enumerate(groups):
        missing = apart and place == len(groups) - 1
        x = _RIGHT - 20 - step / 2 if missing else _LEFT + place * step
        high, drawn = ((_BOTTOM - _TOP) * share / top for share in (real[place], synthetic[place]))
        title = f"{group}: real {percent(real[place])}, synthetic {percent(synthetic[place])}"
        bars.append(Bar(x, _BOTTOM - high, max(1, step - 1), high, "real", title))
        outline = [(x, _BOTTOM - drawn), (x + step, _BOTTOM - drawn)]
        if missing:
            lines.append(Line([(x, _BOTTOM), *outline, (x + step, _BOTTOM)], "line"))
        else:
            corners += outline
    lines.append(Line([(corners[0][0], _BOTTOM), *corners, (corners[-1][0], _BOTTOM)], "line"))
    lines.append(Line([(_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)], "rule"))
    words = [
        Word(_LEFT - 4, _BOTTOM - (_BOTTOM - _TOP) * share / top + 4, percent_of(share), "end") for share in (0, top)
    ]
    first, last = (shortened(end, 15) for end in column["ends"])
    words += [Word(_LEFT, HEIGHT - 7, first, "start"), Word(corners[-1][0], HEIGHT - 7, last, "end")]
    if apart:
        words.append(Word(_RIGHT - 20, HEIGHT - 7, "missing"))
    return bars, lines, words


def _by_value(column: Mapping[str, Any]) -> _Parts:
    """One line a value, with a bar each of real and synthetic rows."""
    groups, real, synthetic = column["groups"], column["real"], column["synthetic"]
    left, top = 108, max(*real, *synthetic)
    step = min(24.0, (HEIGHT - 8) / len(groups))
    bars: list[Bar] = []
    words: list[Word] = []
    for place, group in enumerate(groups):
        y = 4 + place * step
        title = f"{group}: real {percent(real[place])}, synthetic {percent(synthetic[place])}"
        for share, kind, down in ((real[place], "real", 0.08), (synthetic[place], "synthetic", 0.5)):
            bars.append(Bar(left, y + down * step, (_RIGHT - left) * share / top, step * 0.38, kind, title))
        words.append(Word(left - 6, y + step / 2 + 4, shortened(group, 16), "end"))
    return bars, [], words
