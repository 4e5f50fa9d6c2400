"""Public images on the way through a whole study: the coordinator needs them for the fit, and nobody else ever."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from silogan.client.ledger.register import Registration
from silogan.client.node.explanation import explain
from silogan.client.node.node import Cost
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import DataError
from silogan.common.modality.image_features import Spectrum
from silogan.common.models.networks.gaussians import ClassGaussians
from silogan.common.wire.run_folder import GENERATOR_FILE, REPORT_PAGE, RUN_FILE
from silogan.common.wire.study import Study, parse_study
from silogan.server.release.generate import generate
from silogan.server.release.generator import load_generator
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.prepare import prepare
from silogan.simulations.simulate import simulate

CREDIT = "fine detail copied from public images 'open' (licence: CC0)"


def scenario(public: Path | None) -> Scenario:
    model: dict[str, Any] = {"family": "gaussians", "frequencies": 4, "edge": 1}
    if public is not None:
        model["public"] = {"path": str(public), "licence": "CC0", "above": 3}
    return parse_scenario({
        "name": "fitted", "seed": 5, "sites": {"count": 2}, "model": model, "training": {"rounds": 0},
        "privacy": {"epsilon": 10.0, "delta": 1e-4}, "evaluation": {"enabled": False},
    })  # fmt: skip


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A folder of ten pictures."""
    folder = tmp_path / "open"
    folder.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (10, 16, 16), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def state_of(run_dir: Path) -> dict[str, torch.Tensor]:
    found = Checkpoint.latest(run_dir)
    assert found is not None
    return found.ema


def test_a_released_generator_has_the_detail_in_its_file_and_the_release_as_it_was(
    tmp_path: Path, public: Path, threads_kept: None
) -> None:
    """The fit is bit for bit the same with public images and without; images keep its lowest frequencies exactly."""
    plain, run_dir = tmp_path / "plain", tmp_path / "run"
    simulate(scenario(None), plain)
    report = simulate(scenario(public), run_dir)
    beside = "They are of no\nhospital's patients."
    assert beside in (run_dir / REPORT_PAGE).read_text(encoding="utf-8")
    assert beside not in (plain / REPORT_PAGE).read_text(encoding="utf-8")
    before, after = state_of(plain), state_of(run_dir)
    assert after.keys() - before.keys() == {"generator.detail.images"}
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    studies = Study.load(plain), Study.load(run_dir)
    assert studies[0].plan == studies[1].plan

    shutil.rmtree(public)
    loaded, smooth = load_generator(run_dir / GENERATOR_FILE), load_generator(plain / GENERATOR_FILE)
    assert str(tmp_path).encode() not in (run_dir / GENERATOR_FILE).read_bytes()
    network, without = loaded.network, smooth.network
    assert isinstance(network, ClassGaussians)
    assert network.detail is not None
    z, labels = torch.randn(50, network.latent_dim), torch.arange(50) % 10
    drawn = without(z, labels)
    spectrum, shown = Spectrum((1, 8, 8), 3), network.detail(drawn)
    torch.testing.assert_close(spectrum.of(shown), spectrum.of(drawn), rtol=1e-4, atol=1e-5)
    assert (shown - drawn).abs().mean() > 0.02

    assert report["credit"] == CREDIT
    assert CREDIT.replace("'", "&#39;") in (run_dir / REPORT_PAGE).read_text(encoding="utf-8")
    drawn = generate(run_dir, count=10, out=tmp_path / "drawn", file_format="png", labels=None, seed=1)
    assert CREDIT in str(drawn)
    picture = next((tmp_path / "drawn").rglob("*.png"))
    assert CREDIT in Image.open(picture).text["SiloGAN"]  # pyright: ignore[reportAttributeAccessIssue]
    assert simulate(scenario(public), run_dir, resume=True) == report


def test_a_hospital_reads_of_them_and_does_not_need_them(tmp_path: Path, public: Path) -> None:
    study = prepare(scenario(public), tmp_path / "run")
    shutil.rmtree(public)
    parse_study.cache_clear()
    received = parse_study((tmp_path / "run" / RUN_FILE).read_text(encoding="utf-8"))
    assert received == study
    assert study.scenario.model.model_dump()["public"]["sha256"] is not None
    cohort = Registration("data", "bergen", "data", study.scenario.data, study.schema, "record", 100, ())
    cost = Cost(0.0, 0.1, 1.0, 1.0, 0, 30.0, 1e-5, ())
    assert CREDIT in dict(explain(received, cohort, "server", cost))["public images"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_images_that_are_gone_or_changed_stop_a_run_in_one_line(
    tmp_path: Path, public: Path, threads_kept: None, when: str
) -> None:
    if when == "before":
        shutil.rmtree(public)
        with pytest.raises(DataError, match="public images 'open': are neither a folder nor a file"):
            prepare(scenario(public), tmp_path / "run")
        return
    prepare(scenario(public), tmp_path / "run")
    (public / "0.png").unlink()
    with pytest.raises(DataError, match=r"public images 'open': are not those of model\.public\.sha256"):
        simulate(scenario(public), tmp_path / "run", resume=True)
