"""The released generator: what it draws is fixed by weights and seed, and what it may not draw it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from silogan.common.errors import DataError, PrivacyRefusal
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.models.weights import generator_weights
from silogan.common.privacy.plan import NO_PRIVACY, SEEDED
from silogan.common.wire.messages import Weights
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.release.generator import ReleasedGenerator, load_generator, release, save_generator


def fresh_generator(study: Study) -> Weights:
    return generator_weights(initial_weights(study))


def rng(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def path(study: Study, tmp_path: Path) -> Path:
    """The file of the tiny study's generator."""
    save_generator(study, fresh_generator(study), tmp_path / GENERATOR_FILE)
    return tmp_path / GENERATOR_FILE


@pytest.fixture
def unconditional(make_study: Callable[..., Study]) -> Study:
    """A study of the family without labels, in colour."""
    return make_study(model={"family": "article"}, schema=ImageSchema(64, 3, ("healthy", "ill")))


def rewritten(path: Path, **changes: object) -> None:
    """Changes the header of a generator's file."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["silogan"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    path.write_bytes(save(weights, metadata={"silogan": json.dumps({**header, **changes})}))


def pixels(generator: ReleasedGenerator, labels: torch.Tensor | None, count: int) -> torch.Tensor:
    return generator.sample(labels, count, rng())[PIXELS]


def test_a_saved_generator_draws_what_the_study_draws(study: Study, path: Path) -> None:
    loaded, direct = load_generator(path), release(study, fresh_generator(study))
    labels = loaded.balanced_labels(7)
    assert torch.equal(pixels(loaded, labels, 7), pixels(direct, labels, 7))
    assert (loaded.schema, loaded.marks, loaded.study_id) == (study.schema, (SEEDED,), study.study_id)


def test_only_the_generator_is_released(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        assert all(name.startswith("generator.") for name in file.keys())  # noqa: SIM118
        assert file.metadata().keys() == {"silogan"}
        assert json.loads(file.metadata()["silogan"]).keys() == {"study_id", "model", "schema", "plan", "marks"}


def test_images_are_bytes_of_the_schema(study: Study, path: Path) -> None:
    images = pixels(load_generator(path), torch.tensor([0, 1, 2, 2]), 4)
    assert images.shape == (4, 1, 8, 8)
    assert images.dtype == torch.uint8


def test_the_whole_range_of_tanh_becomes_the_whole_range_of_bytes(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-1, 0 and 1 become 0, 128 (127.5 to even) and 255."""
    generator = release(study, fresh_generator(study))

    drawn = torch.tensor([-1.0, 0.0, 1.0, -1.0001]).reshape(1, 1, 2, 2)
    monkeypatch.setattr(type(generator.network), "forward", lambda *_: drawn.clone())
    assert pixels(generator, None, 1).flatten().tolist() == [0, 128, 255, 0]


def test_the_seed_and_nothing_else_decides(path: Path) -> None:
    generator = load_generator(path)
    labels = generator.balanced_labels(6)
    before = torch.get_rng_state()
    first = pixels(generator, labels, 6)
    assert torch.equal(first, pixels(generator, labels, 6))
    assert not torch.equal(first, generator.sample(labels, 6, rng(6))[PIXELS])
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_stay_with_their_images_over_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = load_generator(path)
    labels = generator.balanced_labels(7)
    z = torch.cat([torch.randn(size, 2, generator=source) for source in [rng()] for size in (4, 3)])
    with torch.inference_mode():
        whole = generator.network(z, labels).add(1).mul(127.5).round().to(torch.uint8)
    monkeypatch.setattr("silogan.common.models.networks.base._NetworkSampler.chunk", 4)
    assert torch.equal(pixels(generator, labels, 7), whole)


def test_balanced_labels_go_through_the_classes_in_turn(path: Path) -> None:
    labels = load_generator(path).balanced_labels(7)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_generator_without_labels_draws_without_labels(unconditional: Study, tmp_path: Path) -> None:
    save_generator(unconditional, fresh_generator(unconditional), tmp_path / GENERATOR_FILE)
    generator = load_generator(tmp_path / GENERATOR_FILE)
    assert generator.balanced_labels(3) is None
    assert pixels(generator, None, 3).shape == (3, 3, 64, 64)


def test_a_generator_without_privacy_is_refused(make_study: Callable[..., Study], tmp_path: Path) -> None:
    study = make_study(privacy={"enabled": False})
    save_generator(study, fresh_generator(study), tmp_path / GENERATOR_FILE)
    with pytest.raises(PrivacyRefusal) as caught:
        load_generator(tmp_path / GENERATOR_FILE)
    assert caught.value.exit_code == 5
    assert NO_PRIVACY in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"generator\.safetensors': is missing or damaged"):
        load_generator(tmp_path / GENERATOR_FILE)


@pytest.mark.parametrize("content", [b"", b"junk", save({"w": torch.zeros(1)}), "half"])
def test_a_file_that_is_no_generator_is_refused(path: Path, content: bytes | str) -> None:
    path.write_bytes(path.read_bytes()[:-5] if isinstance(content, str) else content)
    with pytest.raises(DataError, match="is missing or damaged"):
        load_generator(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": None},
        {"schema": {"size": 8}},
        {"schema": {"size": 28, "channels": 1, "classes": ["a", "b", "c"]}},
        {"schema": {"size": 8, "channels": 1, "classes": ["a", "b"]}},
        {"model": {"family": "dcgan", "latent_dim": 3, "width": 2}},
        {"model": {"family": "dcgan", "latent_dim": -1}},
        {"model": {"family": "dcgan", "depth": 3}},
        {"model": 5},
        {"marks": None},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_its_weights_is_refused(path: Path, changes: dict[str, object]) -> None:
    rewritten(path, **changes)
    with pytest.raises(DataError, match="is missing or damaged"):
        load_generator(path)


@pytest.mark.parametrize("key", ["study_id", "marks", "schema", "model"])
def test_a_header_without_a_key_is_refused(path: Path, key: str) -> None:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["silogan"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del header[key]
    path.write_bytes(save(weights, {"silogan": json.dumps(header)}))
    with pytest.raises(DataError, match="is missing or damaged"):
        load_generator(path)
