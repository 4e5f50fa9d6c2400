"""Where records are too few a linear classifier is released and no images, and labels may come from a classifier."""

from pathlib import Path
from typing import Any

import pytest
import torch

from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import UsageError
from silogan.common.models.networks import build
from silogan.common.models.weights import generator_weights, weights_of
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import Study
from silogan.server.release.generate import generate
from silogan.server.release.generator import load_generator, save_generator
from silogan.simulations.evaluate import evaluate
from silogan.simulations.simulate import simulate
from tests.server.release.test_generate import draw, npz

pytestmark = pytest.mark.usefixtures("threads_kept")


def few(epsilon: float, **model: Any) -> dict[str, Any]:
    return {
        "name": "few",
        "seed": 3,
        "model": {"family": "gaussians", **model},
        "training": {"rounds": 0},
        "privacy": {"epsilon": epsilon, "delta": 1e-4},
        "evaluation": {"samples": 400, "epochs": 2, "others": True},
    }


def test_too_few_records_release_their_classifier_alone(tmp_path: Path) -> None:
    report = simulate(parse_scenario(few(4.0)), tmp_path / "run")
    assert report["expected"].startswith("too few records")
    assert report["configuration"]["model"]["draws"] is False
    assert report["utility"]["accuracy_released"] > 0.5
    assert report["utility"]["accuracy_synthetic"] is None
    assert "others" not in report["utility"]
    assert report["fidelity"] is None
    assert "too few images to draw more" in report["utility_reason"]
    assert not list((tmp_path / "run" / "samples").iterdir())
    assert evaluate(tmp_path / "run", None)["utility"] == report["utility"]
    assert "No samples were drawn" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")

    generator = load_generator(tmp_path / "run" / GENERATOR_FILE)
    assert set(generator.network.state_dict()) == {"directions", "offsets"}
    with pytest.raises(UsageError, match=r"^generator: draws nothing: the records were too few"):
        generate(tmp_path / "run", count=1, out=tmp_path / "out", file_format=None, labels=None, seed=None)
    assert not (tmp_path / "out").exists()


def test_they_are_drawn_where_the_scenario_insists(tmp_path: Path) -> None:
    report = simulate(parse_scenario(few(4.0, draws=True)), tmp_path / "run")
    assert report["expected"].startswith("too few records")
    assert report["utility"]["accuracy_synthetic"] is not None
    assert report["utility"]["accuracy_relabelled"] is not None
    assert (tmp_path / "run" / "samples" / "final.png").is_file()


def classifying(study: Study, folder: Path) -> Path:
    """A run whose classifier takes everything for class 2."""
    scenario = study.scenario.model_copy(update={"model": parse_scenario(few(1, frequencies=4, cells=1)).model})
    gan = build(scenario.model, study.schema)
    gan.generator.get_buffer("offsets").copy_(torch.tensor([0.0, 0.0, 5.0]))
    fitted = Study(scenario, study.schema, study.plan, study.sites)
    save_generator(fitted, generator_weights(weights_of(gan)), folder / GENERATOR_FILE)
    return folder


def test_labels_come_from_the_classifier_or_from_what_was_asked_for(
    study: Study, run_dir: Path, tmp_path: Path
) -> None:
    run, out = classifying(study, run_dir), {"file_format": "npz", "count": 600}
    draw(run, tmp_path / "asked.npz", **out)
    draw(run, tmp_path / "found.npz", by_classifier=True, **out)
    asked, found = npz(tmp_path / "asked.npz"), npz(tmp_path / "found.npz")
    assert (asked["train_images"] == found["train_images"]).all()
    assert set(asked["train_labels"].flatten()) == {0, 1, 2}
    assert set(found["train_labels"].flatten()) == {2}


def test_a_release_without_a_classifier_cannot_name_classes(study: Study, run_dir: Path, tmp_path: Path) -> None:
    weights = generator_weights(weights_of(build(study.scenario.model, study.schema)))
    save_generator(study, weights, run_dir / GENERATOR_FILE)
    with pytest.raises(UsageError, match=r"^--labels-by classifier: needs a release with a classifier; leave it out$"):
        draw(run_dir, tmp_path / "out", by_classifier=True)
    assert not (tmp_path / "out").exists()
