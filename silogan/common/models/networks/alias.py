"""Drawing from many discrete distributions at once, exactly and in constant time (Walker, 1977; Vose, 1991).

A distribution of n cells is a mixture of n coins, each as likely as the others. A coin shows its own cell with some
chance, and else the one other cell that is its alias. A draw is then one random number and two look-ups.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class AliasTables:
    """One table for each of R distributions over the same n cells.

    A cell of weight 0 is never drawn. A row without any weight draws its cells evenly.

    Args:
        weights: float64[R, n], none below 0; a row need not add up to 1.
    """

    def __init__(self, weights: Floats) -> None:
        self._size = weights.shape[1]
        chances, aliases = _coins(weights)
        self._chances, self._aliases = chances.ravel(), aliases.ravel()

    def draw(self, rows: Integers, rng: np.random.Generator) -> Integers:
        """A cell int64[N] of the distribution that each of `rows` int64[N] names."""
        if self._size == 1:
            return np.zeros_like(rows)
        place = rng.random(len(rows)) * self._size  # its whole part chooses the coin, the rest throws it
        coin = place.astype(np.int64)
        place -= coin
        at = rows * self._size + coin
        return np.where(place < self._chances.take(at), coin, self._aliases.take(at))


def _coins(weights: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """Chances float64[R, n] and aliases int32[R, n] of all coins.

    A cell is light if its weight is below the average, else heavy. Each step settles one coin in every row: that of
    the next light cell, whose alias is the heavy cell at hand; or that of this heavy cell, once less than a coin is
    left of it, with the next heavy cell as alias.
    """
    count, size = weights.shape
    every, total = np.arange(count), weights.sum(axis=1, keepdims=True)
    scaled = np.where(total > 0, weights * size / np.where(total > 0, total, 1.0), 1.0)
    is_light = scaled < 1
    is_light[every, scaled.argmax(axis=1)] = False  # whatever rounding does, one is heavy
    order = np.argsort(~is_light, axis=1, kind="stable")
    lights = is_light.sum(axis=1)

    chances = scaled.copy()
    aliases = np.tile(np.arange(size, dtype=np.int32), (count, 1))
    light, heavy = np.zeros(count, np.int64), lights.copy()
    left = scaled[every, order[every, heavy]]
    for _ in range(size - 1):
        settles_light = (light < lights) & ((left >= 1) | (heavy == size - 1))
        rows = np.flatnonzero(settles_light)
        cells = order[rows, light[rows]]
        aliases[rows, cells] = order[rows, heavy[rows]]
        left[rows] -= 1 - scaled[rows, cells]
        light[rows] += 1

        rows = np.flatnonzero(~settles_light & (heavy < size - 1))
        cells, following = order[rows, heavy[rows]], order[rows, heavy[rows] + 1]
        chances[rows, cells] = left[rows]
        aliases[rows, cells] = following
        left[rows] += scaled[rows, following] - 1
        heavy[rows] += 1
    return chances, aliases
