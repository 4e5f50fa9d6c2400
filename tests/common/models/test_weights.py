"""Weights of both networks: taken apart, put together, loaded, compared."""

from pathlib import Path

import pytest
import torch

from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Article
from silogan.common.models.networks import GAN, build
from silogan.common.models.weights import (
    Misfit,
    Weights,
    digest,
    distance,
    generator_weights,
    moving_average,
    networks,
    part_of,
    under,
    weights_of,
    without,
)

ROOT = Path(__file__).resolve().parents[3] / "silogan"
MODEL, SCHEMA = Article(latent_dim=5, width=4), ImageSchema(64, 1, ("0", "1"))


@pytest.fixture
def gan() -> GAN:
    return build(MODEL, SCHEMA)


def test_networks_of_their_own_weights_are_the_same_and_share_no_memory(gan: GAN) -> None:
    """With buffers of both kinds, float32 and int64: the article's networks have batch normalisation."""
    sent = weights_of(gan)
    assert {tensor.dtype for tensor in sent.values()} >= {torch.float32}
    loaded = networks(MODEL, SCHEMA, sent)
    assert all(torch.equal(tensor, sent[name]) for name, tensor in weights_of(loaded).items())
    assert weights_of(loaded).keys() == sent.keys()
    assert all(parameter.requires_grad for network in loaded for parameter in network.parameters())
    assert all(network.training for network in loaded)
    with torch.no_grad():
        next(loaded.discriminator.parameters()).add_(1)
    assert any(not torch.equal(tensor, sent[name]) for name, tensor in weights_of(loaded).items())
    assert all(torch.equal(tensor, sent[name]) for name, tensor in weights_of(gan).items())


def test_loading_draws_no_random_numbers(gan: GAN) -> None:
    before = torch.random.get_rng_state()
    networks(MODEL, SCHEMA, weights_of(gan))
    assert torch.equal(torch.random.get_rng_state(), before)


def first(weights: Weights) -> str:
    return next(name for name in weights if name.startswith("discriminator."))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda w: {**w, "generator": torch.ones(1)}, "are of another network"),
        (lambda w: {**w, "ema.generator.x": torch.ones(1)}, "are of another network"),
        (lambda w: {**w, "generator.x": torch.ones(1)}, "do not fit the study's generator"),
        (lambda w: {name: t for name, t in w.items() if name != first(w)}, "do not fit the study's discriminator"),
        (lambda w: {**w, first(w): w[first(w)][:1]}, "do not fit the study's discriminator"),
        (lambda w: {**w, first(w): w[first(w)].double()}, "do not fit the study's discriminator"),
        (lambda _: {}, "do not fit the study's generator"),
    ],
    ids=["no part", "an average", "extra", "missing", "shape", "type", "nothing"],
)
def test_weights_of_other_networks_are_a_misfit(gan: GAN, change: object, problem: str) -> None:
    with pytest.raises(Misfit, match=problem):
        networks(MODEL, SCHEMA, change(weights_of(gan)))


def test_a_part_alone_is_loaded_from_its_own_weights_and_no_others(gan: GAN) -> None:
    alone = networks(MODEL, SCHEMA, generator_weights(weights_of(gan)), ("generator",)).generator.eval()
    z, labels = torch.randn(3, 5), torch.tensor([0, 1, 0])
    assert torch.equal(alone(z, labels), gan.generator.eval()(z, labels))
    with pytest.raises(Misfit, match="are of another network"):
        networks(MODEL, SCHEMA, weights_of(gan), ("generator",))


def test_parts_are_taken_out_and_put_back() -> None:
    a, b, c = torch.ones(1), torch.zeros(1), torch.full((1,), 2.0)
    whole = {"generator.a": a, "generators.a": b, "ema.generator.a": c}
    assert part_of(whole, "generator") == {"a": a}
    assert generator_weights(whole) == {"generator.a": a}
    assert part_of(whole, "ema") == {"generator.a": c}
    assert without(whole, "ema") == {"generator.a": a, "generators.a": b}
    assert {**without(whole, "ema"), **under("ema", part_of(whole, "ema"))} == whole


def test_no_other_module_spells_the_prefixes() -> None:
    prefixes = [f'"{part}.' for part in ("generator", "discriminator", "ema")]
    found = {
        str(path.relative_to(ROOT))
        for room in ("common", "client", "server", "simulations")
        for path in (ROOT / room).rglob("*.py")
        if any(prefix in path.read_text(encoding="utf-8") for prefix in prefixes)
    }
    assert found == {
        "common/wire/run_folder.py",  # the name of a file
        "simulations/attacks/canary_network.py",  # the one tensor that an audit looks at
        "simulations/fuzz/messages.py",  # names that are wrong on purpose
    }


def test_the_digest_is_of_values_in_the_order_of_names() -> None:
    a, b = {"v": torch.tensor([1.0]), "w": torch.tensor([2.0])}, {"w": torch.tensor([2.0]), "v": torch.tensor([1.0])}
    assert digest(a) == digest(b)
    assert digest(a) != digest({**a, "w": torch.tensor([2.5])})


def test_the_moving_average_is_that_of_its_formula() -> None:
    old, new = {"w": torch.tensor([1.0, 10.0])}, {"w": torch.tensor([2.0, -10.0]), "other": torch.ones(1)}
    assert torch.allclose(moving_average(old, new, 0.75)["w"], torch.tensor([1.25, 5.0]))
    assert torch.equal(moving_average(old, new, 0.0)["w"], new["w"])
    assert moving_average(old, new, 0.5).keys() == {"w"}


def test_the_distance_goes_over_all_weights() -> None:
    a = {"v": torch.tensor([1.0, 2.0]), "w": torch.zeros(2, 2)}
    b = {"v": torch.tensor([1.0, 5.0]), "w": torch.full((2, 2), 2.0)}
    assert distance(a, b) == distance(b, a) == 5.0
    assert distance(a, a) == 0.0
