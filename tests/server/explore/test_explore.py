"""`silogan explore`: marked, reproducible sheets, and never of what may not be drawn."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from silogan.cli import main
from silogan.common.errors import DataError, PrivacyRefusal, UsageError, VerificationError
from silogan.common.modality.image import ImageSchema
from silogan.common.models.weights import generator_weights
from silogan.common.privacy.plan import NO_PRIVACY, SEEDED
from silogan.common.wire.run_folder import GENERATOR_FILE, REPORT_FILE
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.explore.explore import explore
from silogan.server.explore.subject import MOST_CLASSES
from silogan.server.release.about import DIGITAL_SOURCE_TYPE
from silogan.server.release.generator import save_generator
from silogan.server.release.outputs.image_png import XMP
from silogan.server.rounds.checkpoint import Checkpoint
from tests.server.release import tables
from tests.server.release.test_generate import files, finished
from tests.server.release.test_generator import rewritten

WALKS = ["interpolation.png", "traversal.png", "truncation.png"]


@pytest.fixture
def run(study: Study, run_dir: Path, start: Checkpoint) -> Path:
    study.save(run_dir)
    start.save(run_dir)
    return finished(study, run_dir)


def test_all_sheets_are_there_and_the_same_for_a_seed(run: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        explore(run, tmp_path / "new" / name, seed=seed)
    a, b, c = (files(tmp_path / "new" / name) for name in "abc")
    assert list(a) == ["attention.png", *WALKS]
    assert a == b
    assert [name for name in a if a[name] == c[name]] == ["traversal.png"]  # nothing in it is drawn at random


def test_every_sheet_carries_the_marks_of_synthetic_images(run: Path, study: Study, tmp_path: Path) -> None:
    explored = explore(run, tmp_path / "out", seed=1)
    assert explored.marks == (SEEDED,)
    for name in explored.sheets:
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.text["SiloGAN"] == f"synthetic; {SEEDED}"
            assert picture.text["study"] == study.study_id
            assert DIGITAL_SOURCE_TYPE in picture.text[XMP]
            assert picture.width > 400


def test_where_nobody_looks_the_others_are_written_and_it_is_said(study: Study, run_dir: Path, tmp_path: Path) -> None:
    explored = explore(finished(study, run_dir), tmp_path / "out", seed=1)
    assert list(files(tmp_path / "out")) == WALKS
    assert explored.notes == ("no attention.png: the release has no classifier, and the run folder no critic",)


def test_of_very_many_classes_it_says_how_many_are_shown(
    make_study: Callable[..., Study], run_dir: Path, tmp_path: Path
) -> None:
    names = tuple(map(str, range(MOST_CLASSES + 1)))
    explored = explore(finished(make_study(schema=ImageSchema(8, 1, names)), run_dir), tmp_path / "out", seed=1)
    assert explored.notes[0] == "the first 40 of 41 classes are shown"


def test_nothing_is_written_over(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept", encoding="utf-8")
    with pytest.raises(UsageError, match="exists already"):
        explore(run, tmp_path / "out")
    assert list(files(tmp_path / "out")) == ["mine"]


def test_a_table_has_no_images_to_show(study: Study, run_dir: Path, tmp_path: Path) -> None:
    run = tables.finished(study, run_dir)
    with pytest.raises(
        UsageError, match=r"^silogan explore: is for images, and this run draws table rows; read its report$"
    ):
        explore(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_may_not_be_drawn_is_not_shown(run: Path, tmp_path: Path) -> None:
    rewritten(run / GENERATOR_FILE, marks=[NO_PRIVACY])
    with pytest.raises(PrivacyRefusal):
        explore(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_run_is_shown_only_where_it_is_wanted_and_says_so(run: Path, tmp_path: Path) -> None:
    failed = {"verdict": {"word": "failed", "reasons": ["draws one image"]}}
    (run / REPORT_FILE).write_text(json.dumps(failed), encoding="utf-8")
    with pytest.raises(VerificationError, match="draws one image; read its report; --anyway draws all the same"):
        explore(run, tmp_path / "out", seed=1)
    assert not (tmp_path / "out").exists()
    assert "its run has failed" in str(explore(run, tmp_path / "out", seed=1, anyway=True))
    with Image.open(tmp_path / "out" / "truncation.png") as picture:
        assert "its run has failed" in picture.text["SiloGAN"]


def test_weights_that_draw_no_numbers_are_refused(study: Study, run_dir: Path, tmp_path: Path) -> None:
    weights = generator_weights(initial_weights(study))
    save_generator(study, {n: torch.full_like(w, torch.nan) for n, w in weights.items()}, run_dir / GENERATOR_FILE)
    with pytest.raises(DataError, match=r"^generator: draws numbers that are not finite"):
        explore(run_dir, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_wrote_and_that_no_privacy_was_spent(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["silogan", "explore", str(run), "--out", str(out), "--seed", "1"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    sheets = "interpolation.png, truncation.png, traversal.png, attention.png"
    assert capsys.readouterr().out == f"{sheets} in {out} ({SEEDED})\nno privacy was spent\n"
