"""The benchmark of the private step compares like with like: each kind takes the same step, but for noise and C."""

import pytest
import torch
from torch import Tensor

from silogan.client.mechanism import clip
from silogan.simulations.benchmarks import step_cost
from silogan.simulations.benchmarks.step_cost import STEPS, Work

BATCH = 8


def gradient(kind: str) -> Tensor:
    """What reaches Adam in the first step."""
    work = Work.of(28, BATCH, "cpu")
    seen: list[Tensor] = []

    def note(*_: object) -> None:
        seen.append(torch.cat([p.grad.flatten().clone() for p in work.discriminator.parameters()]))

    work.adam.register_step_pre_hook(note)
    STEPS[kind](work)()
    assert len(seen) == 1
    return seen[0]


@pytest.mark.parametrize("clip_norm", [0.01, 1e6], ids=["all clipped", "none clipped"])
def test_private_steps_without_noise_are_one_step(monkeypatch: pytest.MonkeyPatch, clip_norm: float) -> None:
    monkeypatch.setattr(step_cost, "NOISE", 0.0)
    monkeypatch.setattr(step_cost, "CLIP", clip_norm)
    if clip_norm > 1:  # the grid's step is a part of C
        monkeypatch.setattr("silogan.client.mechanism.noisy_sum.grid_step", lambda *_: 2.0**-40)
    ours, *others = (gradient(kind) for kind in ("ours", "hooks", "ghost", "vmap"))
    free = 1 - clip.SLACK if clip_norm < 1 else 1.0
    for other in others:
        torch.testing.assert_close(ours, free * other, rtol=0, atol=2e-3 * float(other.norm()))
        assert float((ours - free * other).norm()) < 2e-3 * float(other.norm())
    if clip_norm > 1:
        assert float((ours - gradient("plain")).norm()) < 2e-3 * float(ours.norm())


def test_noise_of_all_kinds_is_alike() -> None:
    parameters = len(gradient("plain"))
    for kind in ("ours", "hooks", "ghost", "vmap"):
        assert float(gradient(kind).norm()) == pytest.approx(parameters**0.5 / BATCH, rel=0.05)
