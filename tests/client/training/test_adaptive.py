import pytest

from silogan.client.training.adaptive import DiscriminatorFrequency
from silogan.common.config.scenario import Adaptive

RULE = Adaptive(threshold=0.6, ema=0.5, patience=2, ladder=(1, 3, 4))


def generator_steps(frequency: DiscriminatorFrequency, accuracies: list[float]) -> list[bool]:
    """One discriminator step for each accuracy on fakes; whether the generator was due after it."""
    due: list[bool] = []
    for accuracy in accuracies:
        frequency.observe(accuracy)
        due.append(frequency.generator_is_due())
    return due


@pytest.mark.parametrize("k", [1, 2, 5])
def test_fixed_k_is_kept_whatever_the_accuracy(k: int) -> None:
    frequency = DiscriminatorFrequency(k)
    due = generator_steps(frequency, [0.0] * 1000)
    assert due == [(step + 1) % k == 0 for step in range(1000)]
    assert frequency.d_steps_per_g_step == k


def test_accuracy_is_a_moving_average_that_starts_at_one() -> None:
    frequency = DiscriminatorFrequency(RULE)
    assert frequency.fake_accuracy == 1.0
    generator_steps(frequency, [0.0, 1.0])
    assert frequency.fake_accuracy == 0.5 * (0.5 * 1.0 + 0.5 * 0.0) + 0.5 * 1.0


def test_weak_discriminator_climbs_after_patience_and_stays_on_the_last_rung() -> None:
    frequency = DiscriminatorFrequency(RULE)
    due = generator_steps(frequency, [0.0] * 30)
    steps_between: list[int] = []
    steps = 0
    for is_due in due:
        steps += 1
        if is_due:
            steps_between.append(steps)
            steps = 0
    # two generator steps on each of the first two rungs
    assert steps_between[:6] == [1, 1, 3, 3, 4, 4]
    assert set(steps_between[6:]) == {4}
    assert frequency.d_steps_per_g_step == 4


def test_patience_alone_does_not_climb() -> None:
    frequency = DiscriminatorFrequency(RULE)
    generator_steps(frequency, [0.9] * 100)
    assert frequency.d_steps_per_g_step == 1
    generator_steps(frequency, [0.0])  # the average falls to 0.45, and patience was long enough
    assert frequency.d_steps_per_g_step == 3


def test_threshold_itself_is_not_weak() -> None:
    frequency = DiscriminatorFrequency(Adaptive(threshold=0.75, ema=0.5, patience=1, ladder=(1, 2)))
    generator_steps(frequency, [0.5])
    assert frequency.fake_accuracy == 0.75
    assert frequency.d_steps_per_g_step == 1


def test_state_carries_everything() -> None:
    accuracies = [0.0, 0.9, 0.1, 0.0, 0.3, 0.0, 0.0, 0.8, 0.0, 0.0, 0.0, 0.2]
    whole = DiscriminatorFrequency(RULE)
    expected = generator_steps(whole, accuracies)
    for cut in range(len(accuracies)):
        first = DiscriminatorFrequency(RULE)
        before = generator_steps(first, accuracies[:cut])
        second = DiscriminatorFrequency(RULE)
        second.load_state(first.state())
        assert before + generator_steps(second, accuracies[cut:]) == expected
        assert second.state() == whole.state()


def test_state_is_a_copy() -> None:
    frequency = DiscriminatorFrequency(RULE)
    kept = frequency.state()
    frequency.observe(0.0)
    assert kept == DiscriminatorFrequency(RULE).state()
