"""Images with masks go through the command line from phantoms to generated files, the report and the audit."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from silogan.common.config.scenario import Scenario, load_scenario
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.masked import MASK, MaskedSchema
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.yaml_text import write_yaml
from silogan.run import Run
from silogan.server.evaluation import segmenter
from silogan.server.fitting.release import statistic
from silogan.server.release.generator import load_generator
from silogan.server.release.outputs.masked import OUTLINE, outlined
from silogan.simulations.attacks import canaries
from silogan.simulations.evaluate import evaluate
from silogan.simulations.prepare import planned
from silogan.simulations.synthetic_masks import read_masked
from tests.server.release.outputs.described import validated
from tests.test_command_line import silogan

Bytes = NDArray[np.uint8]

pytestmark = pytest.mark.usefixtures("threads_kept")

VALUES: dict[str, Any] = {
    "name": "masked",
    "seed": 0,
    "data": {"source": "phantoms", "records": 400, "image_size": 16},
    "sites": {"count": 2},
    "model": {"family": "gaussians", "frequencies": 6, "cells": 1, "draws": True, "edge": 0.5},
    "training": {"rounds": 0, "device": "cpu"},
    "privacy": {"epsilon": 1000, "delta": 1.0e-3},
    "evaluation": {"samples": 200, "epochs": 1, "others": False},
}


@pytest.fixture(scope="module", name="finished")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scenario, str]:
    """The folder of a run, its scenario, and what the terminal showed."""
    folder = tmp_path_factory.mktemp("masked")
    file = folder / "masked.yaml"
    file.write_text(write_yaml(VALUES), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmenter, "STEPS", 100)
        done = silogan("simulate", file, "--out", folder / "run")
    assert done.code == 0, done.err
    return folder / "run", load_scenario(file), done.out


def test_the_report_has_the_dice_of_segmenters(finished: tuple[Path, Scenario, str]) -> None:
    run, _, out = finished
    report = json.loads((run / "report.json").read_bytes())
    dice = {of: report["utility"][f"dice_{of}"] for of in ("synthetic", "real", "blind")}
    assert 0.6 < dice["synthetic"] < dice["real"] <= 1
    assert dice["blind"] < dice["real"]
    assert report["records"] == {"noun": "images with masks", "described": "images of 16x16 pixels, grey with masks"}
    assert any(f"Dice {dice['synthetic']:.3f}, real {dice['real']:.3f}" in one for one in report["verdict"]["reasons"])
    assert report["utility"]["accuracy_real"] is not None
    assert "accuracy_released" not in report["utility"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Synthetic pairs" in page
    assert f"{dice['synthetic']:.3f}" in page
    assert f"Dice {dice['synthetic']:.3f}, real {dice['real']:.3f}" in out


def test_files_hold_each_image_with_its_mask(
    finished: tuple[Path, Scenario, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _ = finished
    for file_format in ("png", "npz"):
        done = silogan(
            "generate",
            run,
            "--anyway",
            "--count",
            21,
            "--format",
            file_format,
            "--seed",
            1,
            "--out",
            tmp_path / file_format,
        )
        assert done.code == 0, done.err
    out = tmp_path / "png"
    rows = list(csv.DictReader((out / "metadata.csv").read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["file_name", "mask_file_name", "label"]
    with np.load(tmp_path / "npz") as archive:
        arrays = dict(archive)
    assert arrays["train_masks"].shape == arrays["train_images"].shape == (21, 16, 16)
    for place, row in enumerate(rows):
        assert row["mask_file_name"] == row["file_name"].replace("images/", "masks/", 1)
        for name, of in (("file_name", "images"), ("mask_file_name", "masks")):
            with Image.open(out / row[name]) as image:
                assert image.info["SiloGAN"].startswith("synthetic")
                assert np.array_equal(np.asarray(image), arrays[f"train_{of}"][place])
        assert row["label"] == ("nodule", "mass")[int(arrays["train_labels"][place, 0])]
    assert set(np.unique(arrays["train_masks"]).tolist()) == {0, 255}
    sums = (out / "SHA256SUMS").read_text(encoding="utf-8")
    assert all(row[name] in sums for row in rows for name in ("file_name", "mask_file_name"))
    validated(out / "croissant.json", monkeypatch)


def test_files_are_measured_as_the_run_was(
    finished: tuple[Path, Scenario, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _ = finished
    monkeypatch.setattr(segmenter, "STEPS", 100)
    generator = load_generator(run / GENERATOR_FILE)
    schema = generator.schema
    assert isinstance(schema, MaskedSchema)
    for file_format in ("png", "npz"):
        Run.open(run).generate(tmp_path / file_format, 200, file_format=file_format, seed=1, anyway=True)
    read = [read_masked(tmp_path / file_format, schema) for file_format in ("png", "npz")]
    png, npz = (torch.cat((one[PIXELS], one[MASK]), dim=1).flatten(1).numpy() for one, _ in read)
    assert sorted(map(bytes, png)) == sorted(map(bytes, npz))
    report = json.loads((run / "report.json").read_bytes())
    found = evaluate(tmp_path / "png", run)["utility"]
    shown = silogan("evaluate", tmp_path / "png", "--real", run).out
    told = r"Dice on real test masks: learnt from synthetic 0\.\d{3}, from real 0\.\d{3}, from places alone 0\.\d{3}\n"
    assert re.search(told, shown)
    assert found["dice_real"] == report["utility"]["dice_real"]
    assert found["dice_synthetic"] == pytest.approx(report["utility"]["dice_synthetic"], abs=0.1)
    next((tmp_path / "png" / "masks").rglob("*.png")).unlink()
    with pytest.raises(DataError, match="has no mask"):
        read_masked(tmp_path / "png", schema)


def _without(masks: Bytes) -> Bytes | None:
    return None


def _narrower(masks: Bytes) -> Bytes:
    return masks[:, 1:]


def _floats(masks: Bytes) -> NDArray[np.float32]:
    return masks.astype(np.float32)


@pytest.mark.parametrize("change", [_without, _narrower, _floats])
def test_a_file_without_fitting_masks_is_refused(
    change: Callable[[Bytes], NDArray[Any] | None], finished: tuple[Path, Scenario, str], tmp_path: Path
) -> None:
    run, _, _ = finished
    Run.open(run).generate(tmp_path / "all.npz", 8, file_format="npz", seed=1, anyway=True)
    with np.load(tmp_path / "all.npz") as archive:
        arrays = dict(archive)
    masks = change(arrays.pop("train_masks"))
    if masks is not None:
        arrays["train_masks"] = masks
    np.savez(tmp_path / "other.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="is not a file written by silogan generate"):
        read_masked(tmp_path / "other.npz", MaskedSchema(16, 1, ("nodule", "mass")))


def test_python_has_the_masks_as_an_array(finished: tuple[Path, Scenario, str]) -> None:
    samples = Run.open(finished[0]).samples(5, seed=1)
    assert samples.images is not None
    assert samples.masks is not None
    assert samples.masks.shape == samples.images.shape == (5, 16, 16)
    assert set(np.unique(samples.masks).tolist()) <= {0, 255}


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3), (200, 1)])
def test_a_sheet_outlines_masks(size: int, channels: int) -> None:
    mask = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    mask[..., 2:6, 2:6] = 255
    shown = outlined({PIXELS: torch.full((1, channels, size, size), 100, dtype=torch.uint8), MASK: mask})[0]
    scale = shown.shape[-1] // size
    assert shown.shape == (3, size * scale, size * scale)
    line = (shown == torch.tensor(OUTLINE, dtype=torch.uint8).view(3, 1, 1)).all(dim=0)
    assert int(line.sum()) == 4 * (4 * scale - 1)
    assert bool((shown[:, ~line] == 100).all())


def test_a_canary_adds_as_much_as_any_record_may(finished: tuple[Path, Scenario, str]) -> None:
    """An audit's canary is a white image that is all mask: no record's part of a statistic has a larger norm."""
    study = planned(canaries.audited(finished[1]))
    drawn = canaries.draw(study.schema, 2, 0)
    for phase in study.plan.phases:
        of = statistic(study, phase.name, canaries.sent_with(study, phase))
        labels = drawn.records.labels - study.schema.num_classes
        rows = of.rows(study.schema.encode(drawn.records.stored), labels)
        assert float(rows.norm(dim=1).min()) > 0.98 * 63 / 64, phase.name
        assert float(rows.norm(dim=1).max()) < 1, phase.name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"family": "gaussians", "frequencies": 23}}, "model.frequencies: is 23, but"),
        ({"model": {**VALUES["model"], "public": {"path": "x"}}}, "model.public: has images without masks"),
        (
            {"training": {"rounds": 0, "refine": {}}},
            "training.refine: has a critic that cannot read masks beside images",
        ),
        ({"model": {"family": "dcgan"}}, "model.family"),
    ],
)
def test_what_does_not_fit_masks_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "masked.yaml"
    file.write_text(write_yaml({**VALUES, **changes}), encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        planned(load_scenario(file))
    assert message in str(raised.value)
