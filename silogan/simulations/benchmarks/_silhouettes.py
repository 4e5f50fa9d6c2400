"""Silhouettes of ten kinds of clothes, drawn by rule: 28x28 grey images that are not handwriting, and nobody's data.

What a recipe owes to one data set shows on another. These have textures, no strokes, and classes that are much alike:
a shirt is a T-shirt with longer sleeves or buttons, a coat a pullover with an open front.
"""

from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
_SIDE, _FINER = 28, 4
_CANVAS = _SIDE * _FINER
_MIDDLE = _CANVAS / 2
_SLEEVES = {"t-shirt": (14, 34), "shirt": (20, 80), "pullover": (60, 90), "coat": (64, 94), "dress": (0, 30)}
_HEIGHTS = {"sandal": (20, 46), "sneaker": (22, 36), "boot": (40, 72)}

Points = list[tuple[float, float]]


def write_silhouettes(path: Path, train: int, test: int, seed: int = 0) -> None:
    """Writes an .npz file as MedMNIST has them, with classes in turn."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    for number, (split, count) in enumerate((("train", train), ("test", test))):
        rng, labels = default_rng((seed, number)), np.arange(count) % len(CLASSES)
        arrays[f"{split}_images"] = np.stack([_Drawing(rng).image(CLASSES[label]) for label in labels])
        arrays[f"{split}_labels"] = labels.astype(np.uint8)[:, None]
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]


class _Drawing:
    """One silhouette, drawn four times as large as it is kept."""

    def __init__(self, rng: Generator) -> None:
        self._rng = rng
        self._canvas = Image.new("L", (_CANVAS, _CANVAS), 0)
        self._pen = ImageDraw.Draw(self._canvas)
        self._grey = self._any(70, 240)
        self._x = _MIDDLE + self._any(-4, 4)

    def image(self, kind: str) -> NDArray[np.uint8]:
        """The image uint8[28, 28] of a kind of clothes."""
        if kind == "trousers":
            self._trousers()
        elif kind == "bag":
            self._bag()
        elif kind in _HEIGHTS:
            self._shoe(kind)
        else:
            self._top(kind)
        return self._woven()

    def _any(self, low: float, high: float) -> float:
        return float(self._rng.uniform(low, high))

    def _chance(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)

    def _fill(self, points: Points, grey: float | None = None) -> None:
        """A polygon whose corners are a little off, in the drawing's grey if none is given."""
        moved = [(x + self._any(-1.5, 1.5), y + self._any(-1.5, 1.5)) for x, y in points]
        self._pen.polygon(moved, fill=int(min(255, self._grey if grey is None else grey)))

    def _line(self, start: tuple[float, float], end: tuple[float, float], darker: float, width: float) -> None:
        self._pen.line([start, end], fill=int(self._grey * darker), width=int(width))

    def _top(self, kind: str) -> None:
        x, dress = self._x, kind == "dress"
        width = self._any(11, 18) if dress else self._any(18, 28)
        top, bottom = self._any(8, 16), self._any(98, 108) if dress else self._any(90, 106)
        hem = width + (self._any(4, 16) if dress else self._any(-3, 5))
        self._fill([(x - width, top), (x + width, top), (x + hem, bottom), (x - hem, bottom)])
        sleeve, out, thick = self._any(*_SLEEVES[kind]), self._any(8, 22), self._any(9, 14)
        if sleeve > 4:
            for side in (-1, 1):
                end = x + side * (width + out)
                corners = [(end, top + sleeve), (end - side * thick, top + sleeve + 3)]
                self._fill([(x + side * width, top), *corners, (x + side * (width - 4), top + 18)], 0.9 * self._grey)
        neck, depth = self._any(5, 11), self._any(3, 12) if kind in ("t-shirt", "dress") else self._any(2, 7)
        inside = 0 if self._chance(0.8) else int(0.6 * self._grey)
        self._pen.ellipse([x - neck, top - depth, x + neck, top + depth], fill=inside)
        if self._chance({"coat": 1.0, "shirt": 0.6, "pullover": 0.12}.get(kind, 0.0)):
            self._line((x, top + 4), (x + self._any(-3, 3), bottom), self._any(0.2, 0.7), self._any(2, 5))
        if kind == "shirt" and self._chance(0.5):
            collar = [(x - neck, top), (x, top + 10), (x + neck, top), (x, top + 4)]
            self._fill(collar, 1.3 * self._grey)

    def _trousers(self) -> None:
        x, width, gap, top, bottom = (
            self._x,
            self._any(12, 19),
            self._any(3, 8),
            self._any(4, 10),
            self._any(98, 108),
        )
        self._fill([(x - width, top), (x + width, top), (x + width, top + 26), (x - width, top + 26)])
        for side in (-1, 1):
            outside = (x + side * (width + self._any(-3, 4)), bottom)
            self._fill([(x + side * width, top + 20), outside, (x + side * gap, bottom), (x + side, top + 24)])

    def _bag(self) -> None:
        x, width, height, top = self._x, self._any(28, 46), self._any(44, 66), self._any(28, 44)
        left, right = x - width + self._any(-4, 4), x + width + self._any(-4, 4)
        self._fill([(x - width, top), (x + width, top), (right, top + height), (left, top + height)])
        handle, grey = self._any(12, 30), int(self._grey * self._any(0.6, 1))
        box = [x - handle, top - self._any(12, 34), x + handle, top + 20]
        self._pen.arc(box, 180, 360, fill=grey, width=int(self._any(3, 7)))
        if self._chance(0.5):
            self._line((x - width, top + 0.35 * height), (x + width, top + 0.35 * height), 0.5, 3)

    def _shoe(self, kind: str) -> None:
        x, ground, half, height = self._x, self._any(76, 94), self._any(42, 50), self._any(*_HEIGHTS[kind])
        heel, toe = x + half, x - half
        if kind == "boot":
            front = heel - self._any(28, 44)
            shaft = [(front, ground - height), (heel, ground - height), (heel, ground)]
            self._fill([*shaft, (toe, ground), (toe, ground - 14), (front - 8, ground - 24)])
        else:
            instep = (x + half * self._any(0.1, 0.5), ground - height * self._any(0.6, 0.95))
            back = [(heel, ground - height), (heel, ground)]
            self._fill([*back, (toe, ground), (toe, ground - self._any(8, 14)), instep])
        self._pen.rectangle([toe, ground - 5, heel, ground], fill=int(min(255, self._grey * self._any(0.5, 1.5))))
        for _ in range(int(self._any(2, 5)) if kind == "sandal" else 0):
            at, wide = x + self._any(-0.6 * half, 0.8 * half), self._any(8, 16)
            self._fill([(at, ground - 6), (at + wide, ground - 6), (at + self._any(0, 18), ground - height)], 0)

    def _woven(self) -> NDArray[np.uint8]:
        """The drawing with a texture, in its final size."""
        drawn = np.asarray(self._canvas.filter(ImageFilter.GaussianBlur(1.2)), np.float64)
        cloth, (y, x) = drawn > 12, np.mgrid[:_CANVAS, :_CANVAS]
        kind, wave, strong = self._rng.random(), self._any(3, 9), self._any(0.1, 0.45)
        pattern = {0: np.sin(y / wave), 1: np.sin(x / wave), 2: np.sin(x / 5) * np.sin(y / 5)}
        if kind < 0.65:
            drawn = drawn * (1 + strong * np.sign(pattern[0 if kind < 0.3 else 1 if kind < 0.5 else 2]))
        spots = Image.fromarray(self._rng.normal(128, 60, (14, 14)).clip(0, 255).astype(np.uint8))
        light = np.asarray(spots.resize((_CANVAS, _CANVAS), Image.Resampling.BICUBIC), np.float64) / 128
        drawn = (drawn * (0.6 + 0.4 * light) + self._rng.normal(0, 10, drawn.shape)) * cloth
        small = drawn.clip(0, 255).reshape(_SIDE, _FINER, _SIDE, _FINER).mean(axis=(1, 3))
        return small.astype(np.uint8)
