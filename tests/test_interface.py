"""The Python interface: a study as a function call, a run as an object, arrays and pictures of its records."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import silogan
from silogan import cli
from silogan.common.config.scenario import load_scenario
from silogan.common.errors import ConfigError, DataError, UsageError, VerificationError
from silogan.common.wire.run_folder import REPORT_FILE
from silogan.run import scenario_of
from silogan.simulations.shipped import scenario_file

QUICK = {
    "evaluation": {"epochs": 1, "samples": 200, "others": False},
    "seed": 3,
}
ROWS = {"evaluation": {"epochs": 1, "samples": 200}, "sites": {"count": 2}, "seed": 3}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> silogan.Run:
    return silogan.simulate("digits", tmp_path_factory.mktemp("images") / "run", progress=False, **QUICK)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> silogan.Run:
    return silogan.simulate("breast-cancer", tmp_path_factory.mktemp("rows") / "run", progress=False, **ROWS)


def test_a_run_is_opened_by_its_folder(images: silogan.Run) -> None:
    again = silogan.Run.open(str(images.folder))
    assert again == images
    assert again.report == json.loads((images.folder / REPORT_FILE).read_text("utf-8"))
    assert again.report["seeded"]
    assert again.report["configuration"]["evaluation"]["samples"] == 200
    assert again.verdict.to_json() == again.report["verdict"]


def test_samples_of_images_are_arrays(images: silogan.Run) -> None:
    found = images.samples(20, seed=1)
    assert found.images is not None
    assert (found.images.shape, found.images.dtype, len(found)) == ((20, 8, 8), np.uint8, 20)
    assert found.labels is not None
    assert set(found.labels) == set("0123456789")
    assert np.array_equal(found.images, images.samples(20, seed=1).images)  # type: ignore[arg-type]
    assert set(images.samples(6, ["3", "7"]).labels) == {"3", "7"}  # type: ignore[arg-type]
    assert set(images.samples(6, "3").labels) == {"3"}  # type: ignore[arg-type]
    assert "seeded" in " ".join(found.marks)


def test_samples_of_rows_meet_their_condition(rows: silogan.Run) -> None:
    found = rows.samples(50, "'mean radius' > 15 and diagnosis = malignant")
    assert found.images is None
    assert found.columns["mean radius"].dtype == np.float64
    assert found.columns["mean radius"].min() > 15
    assert found.label_name == "diagnosis"
    assert set(found.labels) == {"malignant"}  # type: ignore[arg-type]
    assert "mean radius" in repr(found)


def test_what_was_not_asked_well_is_told(images: silogan.Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown class '33'.*did you mean '3'"):
        images.samples(5, "33")
    with pytest.raises(UsageError, match="at least 1"):
        images.samples(0)
    with pytest.raises(UsageError, match=f"holds no run; open one of the runs in it: {images.folder.name}"):
        silogan.Run.open(images.folder.parent)
    with pytest.raises(UsageError, match="give the folder of a run"):
        silogan.Run.open(tmp_path)
    with pytest.raises(DataError, match="finish it"):
        _ = silogan.Run(tmp_path).report
    with pytest.raises(ConfigError, match=r"did you mean 'privacy\.epsilon'"):
        silogan.simulate("digits", tmp_path, privacy={"epsilom": 3})
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        silogan.simulate("digit", tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = silogan.simulat  # type: ignore[attr-defined]


def test_records_are_written(images: silogan.Run, rows: silogan.Run, tmp_path: Path) -> None:
    assert images.generate(tmp_path / "images.npz", 10, "4", anyway=True) == tmp_path / "images.npz"
    with np.load(tmp_path / "images.npz") as file:
        assert set(file["train_labels"].ravel()) == {4}
    rows.generate(tmp_path / "rows.csv", 10, "'mean radius' > 15")
    assert len((tmp_path / "rows.csv").read_text("utf-8").splitlines()) == 11


def test_a_run_that_has_failed_is_drawn_from_only_if_told_so(images: silogan.Run, tmp_path: Path) -> None:
    failed = silogan.Run(shutil.copytree(images.folder, tmp_path / "run"))
    report = {**images.report, "verdict": {"word": "failed", "reasons": ["it draws noise"]}}
    (failed.folder / REPORT_FILE).write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(VerificationError, match="failed: it draws noise; read its report; --anyway draws all the same"):
        failed.generate(tmp_path / "images.npz", 10)
    assert not (tmp_path / "images.npz").exists()
    failed.generate(tmp_path / "images.npz", 10, anyway=True)
    with np.load(tmp_path / "images.npz") as file:
        assert "its run has failed" in file["marks"]


@pytest.mark.parametrize(
    ("word", "required", "refused"),
    [
        *(("usable", "usable", False), ("weak", "usable", True), ("weak", "weak", False)),
        *(("failed", "weak", True), ("unmeasured", "weak", True)),
    ],
)
def test_a_verdict_can_be_required(
    word: str, required: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"utility": {}, "fidelity": None, "utility_reason": None, "fidelity_reason": "none", "table": None}
    verdict = {"word": word, "reasons": ["for a test"]}
    monkeypatch.setattr("silogan.simulations.evaluate.evaluate", lambda *_: {**figures, "verdict": verdict})
    done = CliRunner().invoke(cli.app, ["evaluate", str(tmp_path), "--require", required])
    assert f"{word}: for a test" in done.output
    assert isinstance(done.exception, VerificationError) == refused


def test_a_run_is_measured_and_audited(rows: silogan.Run) -> None:
    assert rows.audit()["ok"]
    assert rows.evaluate()["utility"] == rows.report["utility"]


def test_notebooks_show_pictures_and_no_foreign_markup(images: silogan.Run, rows: silogan.Run) -> None:
    html = images._repr_html_()
    assert 'src="data:image/png;base64,' in html
    assert str(images.verdict.word) in html
    assert "ε at most" in html
    assert 'src="data:image/png;base64,' in images.samples(20)._repr_html_()
    table = rows.samples(20)._repr_html_()
    assert table.count("<tr>") == 11
    hostile = silogan.Samples(None, {"<b>": np.array(["<i>", None], dtype=object)}, None, "label", (), ())
    assert "<b>" not in hostile._repr_html_()
    assert "<i>" not in hostile._repr_html_()


def test_missing_values_and_sets_of_codes_are_shown_as_such() -> None:
    days = np.array(["2026-03-09", "NaT"], dtype="datetime64[D]")
    codes = np.empty(2, dtype=object)
    codes[:] = [("E11", "I10"), ()]
    columns = {"day": days, "size": np.array([1.5, np.nan]), "dx": codes}
    shown = silogan.Samples(None, columns, None, "label", (), ())._repr_html_()
    assert "<tr><td>2026-03-09</td><td>1.5</td><td>E11, I10</td></tr><tr><td></td><td></td><td></td></tr>" in shown


def test_a_frame_needs_pandas(rows: silogan.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows.samples(5)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        found.frame()


def test_scenarios_are_taken_in_every_form(tmp_path: Path) -> None:
    by_name = scenario_of("digits", {"privacy": {"epsilon": 3}, "seed": 1})
    path = scenario_file(Path("digits"))
    assert by_name == scenario_of(path, {"privacy": {"epsilon": 3}, "seed": 1})
    assert by_name == scenario_of(load_scenario(path), {"privacy": {"epsilon": 3}, "seed": 1})
    assert by_name == scenario_of(load_scenario(path, ["privacy.epsilon=3"]).model_dump(mode="json"), {"seed": 1})
    assert (by_name.privacy.epsilon, by_name.privacy.delta) == (3, load_scenario(path).privacy.delta)


def test_a_plan_trains_nothing() -> None:
    found = silogan.plan("digits", privacy={"epsilon": 3})
    assert found.epsilon == 3
    assert {"digits", "mnist", "heart-disease"} <= {one.name for one in silogan.scenarios()}


def test_all_that_is_offered_is_there() -> None:
    assert set(silogan.__all__) <= set(dir(silogan))
    for name in silogan.__all__:
        assert getattr(silogan, name) is not None
    assert silogan.__version__ == importlib.metadata.version("silogan")


def test_it_works_beside_a_client_of_ones_own(tmp_path: Path) -> None:
    for name in ("client", "common", "server", "simulations"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n", encoding="utf-8")
    code = "import client, silogan, server; silogan.simulate, silogan.Run; print(client.MINE and server.MINE)"
    root = Path(silogan.__file__).parents[1]
    env = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
