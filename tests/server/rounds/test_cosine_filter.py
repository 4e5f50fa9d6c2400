"""A generator's update is compared with the median of all, and with nothing else."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.wire.messages import Weights
from silogan.server.rounds.cosine_filter import cosines_with_median

SENT: Weights = {"generator.a": torch.full((2,), 5.0), "generator.b": torch.ones(1), "discriminator.w": torch.zeros(2)}
UPDATES = st.lists(st.lists(st.integers(-8, 8).map(float), min_size=3, max_size=3), min_size=3, max_size=7)


def reply(update: list[float], discriminator: float = 0.0) -> Weights:
    moved = torch.tensor(update).float()
    return {
        "generator.a": SENT["generator.a"] + moved[:2],
        "generator.b": SENT["generator.b"] + moved[2:],
        "discriminator.w": SENT["discriminator.w"] + discriminator,
    }


def test_a_reversed_update_points_the_other_way() -> None:
    cosines = cosines_with_median([reply([1, 2, 3]), reply([2, 4, 6]), reply([-1, -2, -3])], SENT)
    assert cosines == pytest.approx([1, 1, -1])


def test_the_discriminator_does_not_count() -> None:
    updates = [[1.0, 2, 3], [1, 2, 2], [1, 3, 3]]
    quiet = cosines_with_median([reply(update) for update in updates], SENT)
    loud = cosines_with_median([reply(update, 1e6 * (-1) ** n) for n, update in enumerate(updates)], SENT)
    assert quiet == loud


def test_what_has_no_direction_is_held_against_nobody() -> None:
    assert cosines_with_median([reply([0, 0, 0]), reply([1, 0, 0]), reply([1, 0, 0])], SENT) == pytest.approx([1, 1, 1])
    assert cosines_with_median([reply([1, 0, 0]), reply([-1, 0, 0]), reply([0, 0, 0])], SENT) == [1, 1, 1]


@given(UPDATES)
def test_cosines_are_numpys(updates: list[list[float]]) -> None:
    values = np.array(updates)
    median = np.median(values, axis=0)
    for update, cosine in zip(values, cosines_with_median([reply(u) for u in updates], SENT), strict=True):
        length = float(np.linalg.norm(update) * np.linalg.norm(median))
        assert cosine == pytest.approx(float(update @ median) / length if length else 1.0)
        assert -1 <= cosine <= 1
        assert math.isfinite(cosine)
