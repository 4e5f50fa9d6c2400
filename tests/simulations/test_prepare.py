from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from silogan.client.data import DataSet, Records
from silogan.client.data.positions import load_positions
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import ConfigError, DataError, PrivacyRefusal
from silogan.common.modality import Data
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.models.networks import FAMILIES
from silogan.common.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from silogan.common.wire.run_folder import PARTITION_FILE, holds_run
from silogan.common.wire.study import Study
from silogan.simulations import prepare as module
from silogan.simulations.prepare import prepare, reopen


def scenario(**sections: Any) -> Scenario:
    values: dict[str, Any] = {
        "name": "small",
        "seed": 1,
        "sites": {"count": 3},
        "training": {"rounds": 2, "local_steps": 2, "device": "cpu"},
        "privacy": {"noise_multiplier": 1.0},
    }
    return parse_scenario(values | sections)


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Stands in for all data: 997 noisy training images of two classes from natural sites 0, 1 and 3 of four."""
    rng = torch.Generator().manual_seed(0)

    def images(count: int) -> Records:
        pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=rng)
        return Records({PIXELS: pixels}, torch.arange(count) % 2, torch.tensor([0, 1, 3])[torch.arange(count) % 3])

    names = ("Charité", "Groote Schuur", "Closed", "St. Olav's")
    value = DataSet(ImageSchema(8, 1, ("benign", "malignant")), images(997), images(100), names)

    def read(_data: Data) -> DataSet:
        return value

    monkeypatch.setattr(module, "read", read)
    return value


def test_a_prepared_folder_holds_the_study_and_a_partition_of_all_images(tmp_path: Path) -> None:
    study = prepare(scenario(), tmp_path / "run")
    assert Study.load(tmp_path / "run") == study
    assert [site.name for site in study.sites] == ["site-1", "site-2", "site-3"]
    assert [site.declared_size for site in study.sites] == [330, 330, 330], "two digits, rounded down"
    parts = [load_positions(tmp_path / "run" / PARTITION_FILE, index) for index in range(3)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(997))
    assert holds_run(tmp_path / "run")
    assert not holds_run(tmp_path)


def test_site_names_sort_as_their_numbers_do(tmp_path: Path) -> None:
    names = [site.name for site in prepare(scenario(sites={"count": 12}), tmp_path).sites]
    assert names == sorted(names)
    assert (names[0], names[-1]) == ("site-01", "site-12")


def test_the_seed_fixes_the_partition_and_without_one_it_is_new(tmp_path: Path) -> None:
    def positions(seed: int | None, name: str) -> list[int]:
        prepare(scenario(seed=seed), tmp_path / name)
        return load_positions(tmp_path / name / PARTITION_FILE, 0).tolist()

    assert positions(1, "a") == positions(1, "b")
    assert positions(1, "c") != positions(2, "d")
    assert positions(None, "e") != positions(None, "f")


def test_natural_sites_keep_their_names_also_where_one_has_no_images(tmp_path: Path, data: DataSet) -> None:
    names = ("Charité", "Groote Schuur", "Closed", "Haukeland 2.b")
    object.__setattr__(data, "site_names", names)
    study = prepare(scenario(sites={"count": 3, "partition": "natural"}), tmp_path)
    assert [site.name for site in study.sites] == ["Charité", "Groote Schuur", "Haukeland 2.b"]
    assert data.train.sites is not None
    for index, code in enumerate((0, 1, 3)):
        assert set(data.train.sites[load_positions(tmp_path / PARTITION_FILE, index)].tolist()) == {code}


def give_patients(data: DataSet, each: int) -> torch.Tensor:
    patients = torch.arange(len(data.train)) // each
    object.__setattr__(data.train, "patients", patients)
    return patients


def test_where_patients_are_known_they_are_the_unit(tmp_path: Path, data: DataSet) -> None:
    patients = give_patients(data, 5)
    study = prepare(scenario(privacy={"noise_multiplier": 1.0, "records_per_patient": 2}), tmp_path)
    assert (study.plan.unit, study.plan.training.records_per_patient) == ("patient", 2)
    assert [site.declared_size for site in study.sites] == [60, 60, 60], "200 patients, not 997 images"
    parts = [load_positions(tmp_path / PARTITION_FILE, index) for index in range(3)]
    owners = [set(patients[part].tolist()) for part in parts]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 200
    assert Study.load(tmp_path) == study


def test_a_scenario_may_ask_for_records_although_patients_are_known(tmp_path: Path, data: DataSet) -> None:
    give_patients(data, 5)
    study = prepare(scenario(privacy={"noise_multiplier": 1.0, "unit": "record"}), tmp_path)
    assert study.plan.unit == "record"
    assert [site.declared_size for site in study.sites] == [330, 330, 330]


def test_a_patient_at_two_natural_sites_is_a_unit_at_each(tmp_path: Path, data: DataSet) -> None:
    object.__setattr__(data, "site_names", ("north", "south", "closed", "west"))
    give_patients(data, 100)  # each has images at all three sites
    study = prepare(scenario(sites={"count": 3, "partition": "natural"}), tmp_path)
    assert study.plan.unit == "patient"
    assert [site.declared_size for site in study.sites] == [10, 10, 10]


@pytest.mark.parametrize("name", ["../escape", "a/b", ".hidden", "", "a\0b", "x" * 65, "a\nb", "-rf"])
def test_a_site_name_that_is_no_file_name_is_refused(name: str, tmp_path: Path, data: DataSet) -> None:
    object.__setattr__(data, "site_names", ("one", name, "three", "four"))
    with pytest.raises(DataError, match=r"^site name .*letters.*; rename"):
        prepare(scenario(sites={"count": 3, "partition": "natural"}), tmp_path)
    assert not holds_run(tmp_path)


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"training": {"loss": "bce"}}, "training.loss"),
        ({"training": {"device": "abacus"}}, "training.device"),
        ({"model": {"family": "vae"}}, "model.family"),
        ({"sites": {"partition": "fair"}}, "sites.partition"),
        ({"sites": {"count": 998}}, "sites.count"),
        ({"model": {"family": "article"}}, "data.image_size"),
        ({"privacy": {"noise_multiplier": 1.0, "unit": "patient"}}, "privacy.unit"),
        ({"privacy": {"noise_multiplier": 1.0, "records_per_patient": 2}}, "privacy.records_per_patient"),
    ],
)
def test_what_a_scenario_gets_wrong_is_found_before_a_run_is_there(
    sections: dict[str, Any], key: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(scenario(**sections), tmp_path)
    assert caught.value.thing == key
    assert not holds_run(tmp_path)


def test_a_budget_for_nothing_is_refused_before_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    monkeypatch.setattr(module, "read", reads.append)
    with pytest.raises(PrivacyRefusal, match="one round"):
        prepare(scenario(privacy={"noise_multiplier": 0.5, "epsilon": 0.1}), tmp_path / "run")
    assert reads == []
    assert not (tmp_path / "run").exists()


class MixingDiscriminator(DCGANDiscriminator):
    def __init__(self, width: int, schema: ImageSchema) -> None:
        super().__init__(width, schema)
        self.norm = nn.BatchNorm1d(1)


def test_a_layer_that_cannot_be_private_is_refused_unless_privacy_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def family(model: Any, schema: ImageSchema) -> tuple[DCGANGenerator, MixingDiscriminator]:
        return DCGANGenerator(model.latent_dim, model.width, schema), MixingDiscriminator(model.width, schema)

    monkeypatch.setitem(FAMILIES, "dcgan", family)
    with pytest.raises(ConfigError, match=r"discriminator\.norm: BatchNorm1d"):
        prepare(scenario(), tmp_path / "private")
    study = prepare(scenario(privacy={"enabled": False}), tmp_path / "plain")
    assert not study.plan.private


def test_a_folder_that_cannot_hold_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"cannot be written \(.*; choose another --out"):
        prepare(scenario(), tmp_path)


def test_a_run_is_reopened_by_the_same_scenario(tmp_path: Path) -> None:
    study = prepare(scenario(), tmp_path)
    assert reopen(scenario(), tmp_path) == study


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"seed": 2}, "seed=1, not 2"),
        ({"seed": None}, "seed=1, not None"),
        ({"privacy": {"noise_multiplier": 1.1}}, "privacy.noise_multiplier=1.0, not 1.1"),
        (
            {"training": {"rounds": 2, "local_steps": 2, "device": "cpu", "d_steps_per_g_step": {}}},
            "training.d_steps_per_g_step=5, not {",
        ),
    ],
)
def test_another_scenario_is_refused_by_the_key_that_differs(
    sections: dict[str, Any], says: str, tmp_path: Path
) -> None:
    prepare(scenario(), tmp_path)
    with pytest.raises(ConfigError) as caught:
        reopen(scenario(**sections), tmp_path)
    assert says in caught.value.problem
    assert "choose another --out" in caught.value.hint


def test_a_run_file_that_was_changed_is_not_reopened(tmp_path: Path) -> None:
    prepare(scenario(), tmp_path)
    path = tmp_path / "run.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["plan"]["phases"][0]["noise_multiplier"] = 0.01
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.yaml was changed"):
        reopen(scenario(), tmp_path)
