"""How the pages look, as far as it can be computed: contrast of each pair of colours, focus, print."""

import re

import pytest

from silogan.common.pages.style import STYLE

LEAST = 4.5
"""WCAG 2.2, success criterion 1.4.3, level AA."""

PAIRS = [
    *((ink, on) for ink in ("ink", "soft", "accent") for on in ("paper", "card")),
    *((kind, f"{kind}-soft") for kind in ("good", "care", "bad")),
    *((kind, on) for kind in ("good", "care", "bad") for on in ("card", "paper")),
    *(("ink", f"{kind}-soft") for kind in ("good", "care", "bad")),
]


def palette(dark: bool) -> dict[str, str]:
    light, _, rest = STYLE.partition("@media screen and (prefers-color-scheme: dark)")
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", rest.partition("* {")[0] if dark else light))


def luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("ink", "on"), PAIRS)
def test_words_stand_out_from_what_they_stand_on(ink: str, on: str, dark: bool) -> None:
    colours = palette(dark)
    bright, dim = sorted((luminance(colours[ink]), luminance(colours[on])), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= LEAST, (ink, on)


def test_focus_is_seen_and_folded_details_are_not_printed() -> None:
    assert ":focus-visible { outline: 2px solid" in STYLE
    printed = STYLE.partition("@media print")[2]
    assert ".skip, .unprinted { display: none; }" in printed
    assert "counter(page)" in STYLE


def test_nothing_is_fetched() -> None:
    assert not re.search(r"url\(|@import|https?:", STYLE)
