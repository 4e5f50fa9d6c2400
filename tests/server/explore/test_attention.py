"""Gradients say what the score depends on, and the critic is that of the run's own checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from silogan.common.errors import DataError, VerificationError
from silogan.common.models.weights import Weights
from silogan.common.wire.study import Study
from silogan.server.explore.attention import attention, coloured, saliency
from silogan.server.explore.sheet import Sheet
from silogan.server.explore.subject import Subject
from silogan.server.release.generator import release
from silogan.server.rounds.checkpoint import Checkpoint
from tests.server.explore.test_latent import gaussians


def rng(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def looked(study: Study, run_dir: Path, start: Checkpoint) -> Sheet | None:
    subject = Subject.of(release(study, start.ema))
    return attention(subject, rng(), run_dir, study.study_id)


def saved(study: Study, run_dir: Path, checkpoint: Checkpoint) -> Checkpoint:
    study.save(run_dir)
    checkpoint.save(run_dir)
    return checkpoint


def test_the_gradient_of_a_linear_score_is_its_weights() -> None:
    weights = torch.randn(1, 8, 8, generator=rng())
    found = saliency(lambda records: (records * weights).sum(dim=(1, 2, 3)), torch.zeros(3, 1, 8, 8), rng())
    assert torch.allclose(found, weights.expand(3, 1, 8, 8), atol=1e-6)


def test_the_gradient_of_a_square_is_smoothed_around_the_image() -> None:
    images = torch.full((1, 1, 8, 8), 0.5)
    found = saliency(lambda records: records.square().sum(dim=(1, 2, 3)), images, rng())
    assert not torch.allclose(found, 2 * images)  # copies are noisy
    assert torch.allclose(found, 2 * images, atol=0.5)


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(DataError, match=r"^critic: has gradients that are not finite"):
        saliency(lambda records: (records * torch.nan).sum(dim=(1, 2, 3)), torch.zeros(1, 1, 8, 8), rng())


@given(st.floats(1e-30, 1e30))
def test_colours_tell_signs_whatever_the_scale(scale: float) -> None:
    maps = torch.zeros(1, 2, 2)
    maps[0, 0] = torch.tensor([scale, -scale])
    colours = coloured(maps)[0].int()
    red, blue, white = colours[:, 0, 0], colours[:, 0, 1], colours[:, 1, 1]
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
    assert white.min() > 240


def test_nothing_is_coloured_where_nothing_matters() -> None:
    assert coloured(torch.zeros(2, 4, 4)).min() > 240


def test_the_critic_of_a_run_is_looked_at(study: Study, run_dir: Path, start: Checkpoint) -> None:
    saved(study, run_dir, start)
    sheet = looked(study, run_dir, start)
    assert sheet is not None
    assert "critic" in sheet.title
    assert [group.name for group in sheet.groups] == ["zero", "one", "two"]
    row = sheet.groups[1].rows[0]
    assert row.shape == (8, 3, 8, 8)
    images, maps = row[::2], row[1::2]
    assert torch.equal(images[:, 0], images[:, 2])  # grey
    assert not torch.equal(maps[:, 0], maps[:, 2])


def test_a_critic_sees_the_class_of_the_image(study: Study, run_dir: Path, start: Checkpoint) -> None:
    def maps(weights: Weights) -> list[Tensor]:
        saved(study, run_dir, replace(start, weights=weights))
        sheet = looked(study, run_dir, start)
        assert sheet is not None
        return [group.rows[0][1::2] for group in sheet.groups]

    changed = dict(start.weights)
    name = "discriminator.by_class.weight"
    changed[name] = start.weights[name].clone()
    changed[name][2] += torch.randn(changed[name][2].shape, generator=rng())
    before, after = maps(start.weights), maps(changed)
    assert [torch.equal(one, other) for one, other in zip(before, after, strict=True)] == [True, True, False]


def test_without_a_checkpoint_there_is_no_sheet(study: Study, run_dir: Path, start: Checkpoint) -> None:
    assert looked(study, run_dir, start) is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"study_id": "0" * 64}, "is of another study than the generator"),
        ({"weights": {"discriminator.x": torch.zeros(1)}}, "has weights that do not fit the study's discriminator"),
        ({"weights": {}}, "has weights that do not fit the study's discriminator"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    changes: dict[str, object], problem: str, study: Study, run_dir: Path, start: Checkpoint
) -> None:
    saved(study, run_dir, replace(start, **changes))  # pyright: ignore[reportArgumentType]
    with pytest.raises(VerificationError, match=problem):
        looked(study, run_dir, start)


def test_a_released_classifier_needs_no_checkpoint(run_dir: Path) -> None:
    subject = gaussians()
    weights = torch.randn(1, 9, generator=rng())
    subject.network.get_buffer("directions").copy_(torch.cat((-weights, weights)))
    sheet = attention(subject, rng(), run_dir, "")
    assert sheet is not None
    assert "the released classifier" in sheet.title
    first, second = (group.rows[0][1] for group in sheet.groups)
    # of two classes what speaks for one speaks against the other, everywhere alike
    red_of_one, blue_of_other = first[0].int() - first[2], second[2].int() - second[0]
    assert torch.corrcoef(torch.stack((red_of_one, blue_of_other)).flatten(1).float())[0, 1] > 0.95
