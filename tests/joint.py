"""Images of 8x8 pixels with rows that depend on them, for tests."""

import csv
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.table_file import read_description

CLASSES = ("a", "b")
DESCRIPTION = """
columns:
  sex: {type: binary, values: [f, m]}
  stage: {type: ordinal, values: [I, II, III]}
  dose: {type: integer, min: 0, max: 99, edges: [30, 60], optional: true}
  side: {type: categorical, values: [left, right, both]}
"""


def described(folder: Path) -> Path:
    """A file that describes the columns."""
    path = folder / "columns.yaml"
    path.write_text(DESCRIPTION, encoding="utf-8")
    return path


def joint_schema(folder: Path) -> JointSchema:
    return JointSchema(CLASSES, 8, 1, read_description(described(folder)).with_classes(CLASSES))


def joint_records(count: int, seed: int = 0) -> tuple[Stored, Tensor]:
    """Records and labels: sex follows nothing, stage and dose brightness, side which half is brighter."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    level, tilt, *noise = torch.randn(6, count, generator=rng)
    ramp = torch.linspace(-1, 1, 8).view(1, 1, 1, 8)
    values = 128 + 25 * level.view(-1, 1, 1, 1) + 25 * tilt.view(-1, 1, 1, 1) * ramp + 10 * labels.view(-1, 1, 1, 1)
    pixels = (values + 4 * torch.randn(count, 1, 8, 8, generator=rng)).round().clamp(0, 255).byte()
    stage = torch.bucketize(level + 0.7 * noise[0], torch.tensor([-0.8, 0.5])).double()
    dose = (45 + 15 * level + 15 * noise[1]).round().clamp(0, 99).double()
    dose[noise[2] > 1.5] = torch.nan
    side = torch.tensor([0.0, 2.0, 1.0]).double()[torch.bucketize(tilt + 0.5 * noise[3], torch.tensor([-0.6, 0.6]))]
    sex = (torch.rand(count, generator=rng) < 0.3).double()
    return {PIXELS: pixels, "sex": sex, "stage": stage, "dose": dose, "side": side}, labels


def write_records(folder: Path, count: int, seed: int = 0) -> dict[str, str]:
    """Files of such records, and the options of `data` that name them."""
    stored, labels = joint_records(count, seed)
    lines: list[tuple[str, ...]] = [("file", "patient", "sex", "stage", "dose", "side")]
    for place in range(count):
        file = Path(CLASSES[int(labels[place])]) / f"{place:04d}.png"
        (folder / "images" / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stored[PIXELS][place, 0].numpy()).save(folder / "images" / file)
        dose = float(stored["dose"][place])
        row = "fm"[int(stored["sex"][place])], ("I", "II", "III")[int(stored["stage"][place])]
        side = ("left", "right", "both")[int(stored["side"][place])]
        lines.append((file.as_posix(), f"P{place // 2}", *row, "" if math.isnan(dose) else f"{dose:.0f}", side))
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)
    places = {"root": folder / "images", "rows": folder / "rows.csv", "columns": described(folder)}
    return {key: str(path) for key, path in places.items()}
