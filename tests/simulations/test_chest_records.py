"""Made-up rows depend on their images as is said, and are files that a scenario reads."""

from pathlib import Path

import numpy as np

from silogan.client.data import read
from silogan.common.config.scenario import load_scenario
from silogan.simulations.benchmarks.chest_records import CLASSES, make, rows_of

SCENARIO = Path(__file__).parents[2] / "simulations" / "scenarios" / "chest-xray-record.yaml"


def test_files_are_read_as_the_scenario_says(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 28, 28), dtype=np.uint8)
    labels = (np.arange(24) % 2)[:, None]
    arrays = {
        f"{part}_{what}": of for part in ("train", "test") for what, of in (("images", pixels), ("labels", labels))
    }
    np.savez(tmp_path / "x.npz", **arrays)  # pyright: ignore[reportArgumentType]
    make(tmp_path / "x.npz", tmp_path / "made", held_out=True)
    places = [f"data.root={tmp_path / 'made' / 'images'}", f"data.rows={tmp_path / 'made' / 'rows.csv'}"]
    found = read(load_scenario(SCENARIO, places).data)
    assert (len(found.train), len(found.test)) == (22, 2)  # one in twelve of the training images is held out
    assert found.schema.classes == CLASSES


def test_density_follows_brightness_and_sex_does_not() -> None:
    pixels = np.full((2000, 8, 8), 146, dtype=np.uint8)
    pixels[::2] = 186
    columns = list(zip(*rows_of(pixels, np.zeros(2000, np.int64), 0), strict=True))
    density = np.array(columns[2], dtype=np.float64)
    assert density[::2].mean() - density[1::2].mean() > 20  # 2 deviations of brightness, 12 each
    male = np.array(columns[1]) == "male"
    assert abs(male[::2].mean() - male[1::2].mean()) < 0.1
