"""Learning rates over the rounds."""

import pytest

from silogan.common.config.scenario import Training
from silogan.common.models.schedule import learning_rate_factor


def test_constant_rates_stay() -> None:
    assert {learning_rate_factor(Training(rounds=9), number) for number in range(1, 12)} == {1.0}


def test_linear_rates_fall_evenly_and_never_to_nothing() -> None:
    training = Training(rounds=4, lr_decay="linear")
    found = [learning_rate_factor(training, number) for number in range(1, 7)]
    assert found == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.25, 0.25])  # rounds that an interruption has added
