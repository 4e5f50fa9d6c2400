"""Sample grids: the same latent vectors every round, for about ten rounds of a run, marked."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from common.modality.image import ImageSchema
from common.privacy.plan import NO_PRIVACY, SEEDED
from common.wire.messages import Weights
from common.wire.study import Study
from server.app import initial_weights
from server.release.generator import release
from server.release.samples import SAMPLES_FOLDER, sample_grid, save_round_samples
from server.rounds.checkpoint import Checkpoint


def generator_weights(study: Study) -> Weights:
    return {name: tensor for name, tensor in initial_weights(study).items() if name.startswith("generator.")}


def text(png: bytes) -> dict[str, str]:
    with Image.open(io.BytesIO(png)) as image:
        return image.text


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        (1, [1]),
        (4, [1, 2, 3, 4]),
        (10, list(range(1, 11))),
        (35, [3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 35]),
        (200, list(range(20, 201, 20))),
    ],
)
def test_about_ten_rounds_leave_a_grid_and_the_last_always(
    make_study: Callable[..., Study],
    start: Checkpoint,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: int,
    expected: list[int],
) -> None:
    monkeypatch.setattr("server.release.samples.sample_grid", lambda _: b"png")
    study = make_study(training={"rounds": rounds}, privacy={"epsilon": 1e4})
    for number in range(1, rounds + 1):
        save_round_samples(study, start.ema, number, run_dir)
    names = sorted(path.name for path in (run_dir / SAMPLES_FOLDER).iterdir())
    assert names == [f"round-{number:06d}.png" for number in expected]


def test_the_same_weights_give_the_same_grid_and_others_another(study: Study) -> None:
    weights = generator_weights(study)
    grid = sample_grid(release(study, weights))
    assert sample_grid(release(study, weights)) == grid
    changed = {name: tensor * 50 for name, tensor in weights.items()}
    assert sample_grid(release(study, changed)) != grid


def test_the_file_holds_the_grid_of_the_moving_average(study: Study, run_dir: Path) -> None:
    weights = generator_weights(study)
    save_round_samples(study, weights, 4, run_dir)
    assert (run_dir / SAMPLES_FOLDER / "round-000004.png").read_bytes() == sample_grid(release(study, weights))


@pytest.mark.parametrize(
    ("seed", "private", "mark"),
    [
        (None, True, "synthetic"),
        (1, True, f"synthetic; {SEEDED}"),
        (1, False, f"synthetic; {NO_PRIVACY}; {SEEDED}"),
    ],
)
def test_a_grid_carries_its_marks(make_study: Callable[..., Study], seed: int | None, private: bool, mark: str) -> None:
    study = make_study(seed=seed, privacy={"enabled": private})
    png = sample_grid(release(study, generator_weights(study)))
    assert text(png) == {"SiloGAN": mark, "study": study.study_id}


def test_a_generator_without_labels_fills_a_square(make_study: Callable[..., Study]) -> None:
    study = make_study(model={"family": "article"}, schema=ImageSchema(64, 3, ("healthy", "ill")))
    with Image.open(io.BytesIO(sample_grid(release(study, generator_weights(study))))) as image:
        assert image.mode == "RGB"
        assert image.width == image.height
