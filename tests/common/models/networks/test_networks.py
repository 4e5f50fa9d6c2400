"""What every family promises: shapes, ranges, meta-device building, reproducible first values, private gradients."""

from collections import Counter

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

from silogan.common.config.scenario import parse_model
from silogan.common.errors import ConfigError
from silogan.common.modality import KINDS
from silogan.common.modality.image import ImageSchema
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import GAN, build, check_private, initialise
from silogan.common.models.networks.initialise import GENERATOR_GAIN

CASES = [
    *((("dcgan", size, channels)) for size in (8, 28, 32, 64) for channels in (1, 3)),
    ("article", 64, 1),
    ("article", 64, 3),
]
# What is fitted has no first values to train: tests/server/fitting.
TRAINED = sorted(name for name, options in KINDS["image"].families.items() if not options.fitted)
SMALLEST = [("dcgan", 8, 1), ("dcgan", 28, 1), ("article", 64, 1)]


def make(family: str, size: int, channels: int, classes: int = 3, width: int = 4) -> GAN:
    schema = ImageSchema(size, channels, tuple(str(i) for i in range(classes)))
    gan = build(parse_model({"family": family, "latent_dim": 5, "width": width}), schema)
    initialise(gan, torch.Generator().manual_seed(0))
    return gan


def batch(gan: GAN, size: int, channels: int, count: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(count, gan.generator.latent_dim, generator=rng)
    images = torch.rand(count, channels, size, size, generator=rng) * 2 - 1
    return z, images, torch.arange(count) % 3


def test_every_family_is_tested() -> None:
    assert {family for family, _, _ in CASES} == set(TRAINED)


@pytest.mark.parametrize(("family", "size", "channels"), CASES)
def test_shapes_and_ranges(family: str, size: int, channels: int) -> None:
    gan = make(family, size, channels)
    z, images, labels = batch(gan, size, channels)
    fakes = gan.generator(100 * z, labels)
    assert fakes.shape == (4, channels, size, size)
    assert fakes.abs().max() <= 1
    assert fakes.std() > 0
    assert gan.discriminator(images, labels).shape == (4,)
    assert gan.discriminator(images[:1], labels[:1]).shape == (1,)
    assert gan.discriminator(images[:0], labels[:0]).shape == (0,)


@pytest.mark.parametrize(("family", "size", "channels"), CASES)
def test_every_parameter_gets_a_gradient(family: str, size: int, channels: int) -> None:
    gan = make(family, size, channels)
    z, _, labels = batch(gan, size, channels)
    gan.discriminator(gan.generator(z, labels), labels).sum().backward()
    for network in gan:
        assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("family", TRAINED)
def test_labels_matter_exactly_where_a_network_says_so(family: str) -> None:
    gan = make(family, 64, 1)
    z, images, labels = batch(gan, 64, 1)
    other = (labels + 1) % 3
    fakes_differ = not torch.equal(gan.generator(z, labels), gan.generator(z, other))
    logits_differ = not torch.equal(gan.discriminator(images, labels), gan.discriminator(images, other))
    assert fakes_differ == gan.generator.conditional
    assert logits_differ == gan.discriminator.conditional


def test_a_conditional_network_without_labels_says_so() -> None:
    gan = make("dcgan", 8, 1)
    z, images, _ = batch(gan, 8, 1)
    with pytest.raises(ValueError, match="needs labels"):
        gan.generator(z, None)
    with pytest.raises(ValueError, match="needs labels"):
        gan.discriminator(images, None)


def test_an_unconditional_network_takes_no_labels() -> None:
    gan = make("article", 64, 1)
    z, images, _ = batch(gan, 64, 1)
    assert gan.generator(z, None).shape == images.shape
    assert gan.discriminator(images, None).shape == (4,)


def test_one_class_is_enough() -> None:
    gan = make("dcgan", 8, 1, classes=1)
    z, _, _ = batch(gan, 8, 1)
    labels = torch.zeros(4, dtype=torch.int64)
    assert gan.discriminator(gan.generator(z, labels), labels).shape == (4,)


@pytest.mark.parametrize(("family", "size"), [("dcgan", 16), ("dcgan", 128), ("article", 32)])
def test_an_image_size_without_networks_is_refused(family: str, size: int) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.image_size: .*{size}.*; "):
        make(family, size, 1)


def test_an_unknown_family_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^model\.family: unknown value 'dcgann'; did you mean 'dcgan'"):
        make("dcgann", 8, 1)


@pytest.mark.parametrize(("family", "size", "channels"), CASES)
def test_a_network_built_on_meta_and_loaded_is_the_same_network(family: str, size: int, channels: int) -> None:
    gan = make(family, size, channels)
    z, images, labels = batch(gan, size, channels)
    with torch.device("meta"):
        empty = build(
            parse_model({"family": family, "latent_dim": 5, "width": 4}),
            ImageSchema(size, channels, tuple(str(i) for i in range(3))),
        )
    for network, loaded in zip(gan, empty, strict=True):
        loaded.load_state_dict(network.state_dict(), assign=True)
    assert torch.equal(gan.generator(z, labels), empty.generator(z, labels))
    assert torch.equal(gan.discriminator(images, labels), empty.discriminator(images, labels))


@pytest.mark.parametrize("family", TRAINED)
def test_first_values_come_from_the_given_generator_alone(family: str) -> None:
    first, second = make(family, 64, 1), make(family, 64, 1)
    different = build(parse_model({"family": family, "latent_dim": 5, "width": 4}), ImageSchema(64, 1, ("0", "1", "2")))
    before = torch.random.get_rng_state()
    initialise(different, torch.Generator().manual_seed(7))
    assert torch.equal(torch.random.get_rng_state(), before)
    for left, right, other in zip(first, second, different, strict=True):
        for name, value in left.state_dict().items():
            assert torch.equal(value, right.state_dict()[name])
        assert any(not torch.equal(value, other.state_dict()[name]) for name, value in left.state_dict().items())


@pytest.mark.parametrize(("family", "size", "channels"), CASES)
def test_the_discriminator_can_be_private(family: str, size: int, channels: int) -> None:
    check_private(make(family, size, channels).discriminator)


@pytest.mark.parametrize(("family", "size", "channels"), CASES)
def test_each_layer_of_the_discriminator_runs_once(family: str, size: int, channels: int) -> None:
    gan = make(family, size, channels)
    learned = [layer for layer in gan.discriminator.modules() if list(layer.parameters(recurse=False))]
    calls: Counter[nn.Module] = Counter()
    for layer in learned:
        layer.register_forward_hook(lambda layer, _inputs, _output: calls.update([layer]))
    _, images, labels = batch(gan, size, channels)
    gan.discriminator(images, labels)
    assert calls == Counter(learned)
    assert all(not list(layer.children()) for layer in learned)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # Opacus' hook on the layer next to the images
@pytest.mark.parametrize(("family", "size", "channels"), SMALLEST)
def test_per_sample_gradients_of_opacus_equal_a_loop(family: str, size: int, channels: int) -> None:
    discriminator = make(family, size, channels, width=2).discriminator.double()
    _, images, labels = batch(make(family, size, channels), size, channels)
    images = images.double()
    loss = LOSSES["nonsaturating"]
    names = [name for name, _ in discriminator.named_parameters()]
    expected: list[tuple[torch.Tensor, ...]] = []
    for image, label in zip(images, labels, strict=True):
        value = loss.real(discriminator(image[None], label[None])).sum()
        expected.append(torch.autograd.grad(value, list(discriminator.parameters())))
    hooked = GradSampleModule(discriminator, loss_reduction="sum")
    loss.real(hooked(images, labels)).sum().backward()
    for index, (name, parameter) in enumerate(zip(names, discriminator.parameters(), strict=True)):
        loop = torch.stack([gradients[index] for gradients in expected])
        torch.testing.assert_close(parameter.grad_sample, loop, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize(
    ("size", "width", "least", "most"),
    [(28, 64, 0.3e6, 1e6), (28, 128, 1e6, 2.5e6), (8, 32, 5e3, 1e4)],
)
def test_the_networks_have_the_size_that_the_recipes_assume(size: int, width: int, least: float, most: float) -> None:
    gan = make("dcgan", size, 1, classes=10, width=width)
    assert least < sum(p.numel() for p in gan.discriminator.parameters()) < most


def test_first_values_keep_the_scale_of_their_inputs() -> None:
    gan = make("dcgan", 32, 1, width=32)
    layers = gan.generator.get_submodule("layers")
    rng = torch.Generator().manual_seed(1)
    for layer in layers.modules():
        if isinstance(layer, nn.Linear):
            spread = layer(torch.randn(256, layer.in_features, generator=rng)).std()
        elif isinstance(layer, nn.ConvTranspose2d):
            spread = layer(torch.randn(16, layer.in_channels, 16, 16, generator=rng)).std()
        else:
            continue
        assert spread.item() == pytest.approx(GENERATOR_GAIN, rel=0.15)


def test_more_gaussians_than_a_machine_can_hold_are_refused_before_anything_is_asked_for() -> None:
    model = parse_model({"family": "gaussians", "frequencies": 32, "cells": 8})
    with pytest.raises(ConfigError, match=r"is 32, too many for 200 classes of 8 cells; lower it, or model\.cells"):
        build(model, ImageSchema(32, 1, tuple(f"class-{number}" for number in range(200))))
