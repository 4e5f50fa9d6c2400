from pathlib import Path

import numpy as np
import pytest

from silogan.client.data import READERS, read
from silogan.client.data.patients import simulated_patients
from silogan.common.config.scenario import parse_data
from silogan.common.errors import ConfigError
from silogan.common.modality.image_options import Digits, MedMnist
from silogan.common.modality.table_options import BreastCancer


def test_an_unknown_source_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^data\.source: unknown value 'digit'; did you mean 'digits'\?$"):
        parse_data({"source": "digit"})


@pytest.mark.parametrize("source", sorted(set(READERS) - {"digits", "breast-cancer", "phantoms"}))
def test_a_source_of_files_asks_for_its_root(source: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.root: is missing for source '{source}'"):
        read(parse_data({"source": source}))


@pytest.mark.parametrize("source", sorted(set(READERS) - {"folder", "images-with-rows", "images-with-masks"}))
def test_a_manifest_is_for_folders(source: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.patients: does not fit source '{source}'; remove it"):
        parse_data({"source": source, "patients": "patients.csv"})


def test_patients_can_be_simulated_in_either_split() -> None:
    data = read(Digits(images_per_patient=7))
    for part in (data.train, data.test):
        assert part.patients is not None
        assert part.patients.equal(simulated_patients(part.labels, 7))
    assert read(Digits()).train.patients is None
    rows = read(BreastCancer(rows_per_patient=5)).train
    assert rows.patients is not None
    assert rows.patients.equal(simulated_patients(rows.labels, 5))


def test_real_patients_are_not_overruled_by_simulated_ones(tmp_path: Path) -> None:
    images, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    parts = {f"{part}_images": images for part in ("train", "test")} | dict.fromkeys(
        ("train_labels", "test_labels"), labels
    )
    np.savez(tmp_path / "x.npz", **parts, train_patients=np.arange(4), test_patients=np.arange(4, 8))
    data = MedMnist(root=tmp_path / "x.npz", classes=("a", "b"))
    assert read(data).train.patients is not None
    with pytest.raises(ConfigError, match=r"^data\.images_per_patient: is 2, but the data says whose each record is"):
        read(data.model_copy(update={"images_per_patient": 2}))
