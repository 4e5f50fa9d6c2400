"""Chest X-rays with a made-up row, and what of the dependence between both survives in synthetic records.

    python simulations/benchmarks/chest_records.py make FOLDER [--holdout]
    python simulations/benchmarks/chest_records.py measure [--holdout] [--seeds 3] [--set KEY=VALUE]

The images are those of PneumoniaMNIST. A row depends on its image's class, on its brightness and on the difference of
its halves, by public constants and a seed of its own. No row is of a patient, and none is shipped. `--holdout` takes a
part of the training images in the place of the test images: choices are made there, never on the test split.
"""

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.common.config.scenario import load_scenario
from silogan.simulations.benchmarks._runs import ROOT, data_folder, run

CLASSES = ("normal", "pneumonia")
COLUMNS = ("age", "sex", "density", "side")
_HELD_OUT = 12  # one in so many of the training images
_BRIGHTNESS, _SPREAD = 146.0, 20.0  # of such images, roughly

_Pixels = NDArray[np.uint8]


def rows_of(pixels: _Pixels, labels: NDArray[np.int64], seed: int) -> list[tuple[str, str, str, str]]:
    """A made-up row for each image.

    Age depends on class and brightness, sex on the class alone, density on the brightness, and the side on which half
    is brighter.

    Args:
        pixels: uint8[N, S, S].
        labels: int64[N], positions in `CLASSES`.
        seed: of what is drawn.
    """
    rng, half = np.random.default_rng(seed), pixels.shape[2] // 2
    brightness = (pixels.mean(axis=(1, 2)) - _BRIGHTNESS) / _SPREAD
    difference = (pixels[:, :, :half].mean(axis=(1, 2)) - pixels[:, :, half:].mean(axis=(1, 2))) / _SPREAD
    noise = rng.standard_normal((3, len(pixels)))
    age = np.digitize(0.4 * brightness - 0.8 * labels + noise[0], (-0.9, 0.1))
    sex = rng.random(len(pixels)) < 0.5 + 0.1 * labels
    density = np.clip(np.rint(50 + 12 * brightness + 8 * noise[1]), 0, 100)
    side = np.digitize(difference + 0.5 * noise[2], (-0.4, 0.4))
    ages, sexes = ("under 1 year", "1 to 2 years", "3 to 5 years"), ("female", "male")
    sides = ("right", "both", "left")
    columns = zip(age.tolist(), sex.tolist(), density.tolist(), side.tolist(), strict=True)
    return [(ages[a], sexes[s], f"{d:.0f}", sides[w]) for a, s, d, w in columns]


def make(source: Path, folder: Path, *, held_out: bool = False, most: int | None = None) -> None:
    """Writes `images/train` and `images/test` by class, and `rows.csv`.

    Args:
        source: PneumoniaMNIST, an `.npz` file.
        folder: a new one.
        held_out: whether a part of the training images takes the place of the test images.
        most: images of each split, at most.
    """
    lines: list[tuple[str, ...]] = []
    with np.load(source) as archive:
        splits = {part: (archive[f"{part}_images"], archive[f"{part}_labels"].flatten()) for part in ("train", "test")}
    if held_out:
        pixels, labels = splits["train"]
        taken = np.arange(len(labels)) % _HELD_OUT == 0
        splits = {"train": (pixels[~taken], labels[~taken]), "test": (pixels[taken], labels[taken])}
    for seed, (part, (pixels, labels)) in enumerate(splits.items()):
        for name in CLASSES:
            (folder / "images" / part / name).mkdir(parents=True)
        rows = rows_of(pixels, labels.astype(np.int64), seed)
        for number, (image, label, row) in enumerate(zip(pixels[:most], labels, rows, strict=False)):
            file = f"{part}/{CLASSES[label]}/{number:05d}.png"
            Image.fromarray(image).save(folder / "images" / file)
            lines.append((file, *row))
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", *COLUMNS), *lines])


def _source() -> Path:
    found = data_folder()
    if found is None or not (found / "medmnist" / "pneumoniamnist.npz").is_file():
        raise SystemExit("chest_records: no data; set SILOGAN_DATA to a folder with medmnist/pneumoniamnist.npz")
    return found / "medmnist" / "pneumoniamnist.npz"


def _measure(arguments: argparse.Namespace) -> None:
    """A line of JSON for each seed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(_source(), folder, held_out=arguments.holdout)
        places = [f"data.root={folder / 'images'}", f"data.rows={folder / 'rows.csv'}"]
        for seed in range(arguments.seeds):
            overrides = [*places, f"seed={seed}", *arguments.set]
            scenario = load_scenario(ROOT / "simulations" / "scenarios" / "chest-xray-record.yaml", overrides)
            seconds, report = run(scenario)
            model, utility = report["configuration"]["model"], report["utility"]
            columns = [{key: _rounded(value) for key, value in one.items()} for one in report["joint"]["columns"]]
            told = {key: value for key, value in utility.items() if key.startswith(("auroc", "balanced"))}
            about = {"seed": seed, "seconds": round(seconds), "frequencies": model["frequencies"]}
            images = {key: _rounded(value) for key, value in told.items()}
            sys.stdout.write(json.dumps({**about, "cells": model["cells"], **images, "columns": columns}) + "\n")
            sys.stdout.flush()


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making, measuring = commands.add_parser("make"), commands.add_parser("measure")
    making.add_argument("folder", type=Path)
    measuring.add_argument("--seeds", type=int, default=3)
    measuring.add_argument("--set", action="append", default=[])
    for one in (making, measuring):
        one.add_argument("--holdout", action="store_true")
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(_source(), arguments.folder, held_out=arguments.holdout)
    else:
        _measure(arguments)


if __name__ == "__main__":
    main()
