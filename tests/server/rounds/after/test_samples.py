"""About ten rounds of a run leave a sample grid."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from silogan.common.wire.run_folder import SAMPLES_FOLDER
from silogan.common.wire.study import Study
from silogan.server.release.generator import release
from silogan.server.release.samples import sample_grid
from silogan.server.rounds.after import EndedRound
from silogan.server.rounds.after.samples import draw
from silogan.server.rounds.checkpoint import Checkpoint


def ended(study: Study, start: Checkpoint, run_dir: Path) -> EndedRound:
    return EndedRound(study, run_dir, start, asked_at=0.0, replied=3, refused=[], quarantined=[])


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
    monkeypatch.setattr("silogan.server.rounds.after.samples.sample_grid", lambda _: b"png")
    study = make_study(training={"rounds": rounds}, privacy={"epsilon": 1e4})
    for number in range(1, rounds + 1):
        draw(ended(study, start, run_dir), replace(start, round=number))
    names = sorted(path.name for path in (run_dir / SAMPLES_FOLDER).iterdir())
    assert names == [f"round-{number:06d}.png" for number in expected]


def test_the_file_holds_the_grid_of_the_moving_average(study: Study, start: Checkpoint, run_dir: Path) -> None:
    weights = {name: tensor * 2 for name, tensor in start.ema.items()}
    draw(ended(study, start, run_dir), replace(start, round=4, ema=weights))
    assert (run_dir / SAMPLES_FOLDER / "round-000004.png").read_bytes() == sample_grid(release(study, weights))
