"""Book-keeping against a loop over the units: random networks, bags of views, micro-batches and precisions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from client.dpsgd import BookKeepingModule, bag_mean
from client.dpsgd.rules import RULES, convolution
from common.errors import ConfigError
from common.standardised import StandardisedConv2d
from common.networks.supported import PRIVATE_LAYERS

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Network(nn.Module):
    """Random layers for [M, C, S, S] and labels [M, 2], down to one number an image."""

    def __init__(self, layers: list[nn.Module], rows: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers, nn.Flatten(2))
        self.by_position = nn.LazyLinear(4)
        self.norm = nn.LayerNorm(4)
        self.labels = nn.Embedding(rows, 4, padding_idx=0)
        self.logit = nn.Sequential(nn.Flatten(), nn.LazyLinear(1, bias=False), nn.Flatten(0))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        h = self.norm(self.by_position(self.features(images)))
        return self.logit(torch.cat((torch.tanh(h), torch.tanh(self.labels(labels))), dim=1))


@st.composite
def networks(draw: Draw) -> tuple[Network, int, int]:
    """A network, its channels and its image size."""
    channels, size = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([5, 8, 9]))
    layers: list[nn.Module] = []
    inputs = channels
    for _ in range(draw(st.integers(1, 2))):
        outputs = draw(st.sampled_from([2, 4, 6]))
        kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
        stride = draw(st.integers(1, 3))
        options: dict[str, Any] = {
            "stride": stride,
            "padding": draw(st.integers(0, 1)),
            "dilation": draw(st.sampled_from([1, 1, 2])),
            "groups": draw(st.sampled_from([1, 2])) if inputs % 2 == 0 else 1,
            "bias": draw(st.booleans()),
        }
        kind = draw(st.sampled_from([nn.Conv2d, nn.ConvTranspose2d, StandardisedConv2d]))
        if kind is nn.ConvTranspose2d:
            options["output_padding"] = draw(st.integers(0, stride - 1))
        else:
            options["padding_mode"] = draw(st.sampled_from(["zeros", "reflect"]))
        layers.append(kind(inputs, outputs, kernel, **options))
        norms = [nn.GroupNorm(2, outputs), nn.InstanceNorm2d(outputs, affine=draw(st.booleans())), nn.Identity()]
        layers += [draw(st.sampled_from(norms)), nn.LeakyReLU(0.2)]
        inputs = outputs
    return Network(layers, rows=5), channels, size


def initialised(network: Network, images: Tensor, labels: Tensor) -> bool:
    """Gives lazy layers their size and all parameters new values; False if the images are too small for the layers."""
    try:
        network(images[:1], labels[:1])
    except (RuntimeError, ValueError):
        return False
    for number, parameter in enumerate(network.parameters()):
        with torch.no_grad():
            parameter.normal_(0, 0.5, generator=torch.Generator().manual_seed(number))
    return True


def slow_sum(network: nn.Module, images: Tensor, labels: Tensor, present: Tensor, clip: float) -> list[Tensor]:
    """The clipped sum by one backward pass a bag, each over the mean of its own views alone."""
    parameters = list(network.parameters())
    total = [torch.zeros_like(parameter) for parameter in parameters]
    views = present.shape[1]
    for bag, those in enumerate(present):
        mine = torch.arange(bag * views, (bag + 1) * views)[those]
        if not len(mine):
            continue
        loss = network(images[mine], labels[mine]).mean()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        norm = float(torch.cat([g.flatten() for g in gradients]).norm())
        factor = min(1.0, clip / norm if norm else 1.0)
        total = [one + factor * gradient for one, gradient in zip(total, gradients, strict=True)]
    return total


def fast_sum(
    network: nn.Module, images: Tensor, labels: Tensor, present: Tensor, clip: float, bags_at_once: int
) -> list[Tensor]:
    """The same by book-keeping, some bags at a time."""
    module = BookKeepingModule(network, max_grad_norm=clip)
    views = present.shape[1]
    for part, mine, those in zip(
        images.split(bags_at_once * views), labels.split(bags_at_once * views), present.split(bags_at_once), strict=True
    ):
        module.backward(bag_mean(module(part, mine).view(-1, views), those))
    module.remove_hooks()
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
    network.zero_grad()
    return found


def relative_error(found: list[Tensor], expected: list[Tensor], clip: float) -> float:
    """Of the whole vector; a sum that vanishes is compared with the clipping norm."""
    (one, other) = (torch.cat([part.flatten() for part in parts]) for parts in (found, expected))
    return float((one - other).norm() / max(float(other.norm()), 1e-3 * clip))


@settings(max_examples=150)
@given(
    shape=networks(),
    bags=st.integers(1, 5),
    views=st.integers(1, 4),
    bags_at_once=st.integers(1, 5),
    clip=st.sampled_from([0.1, 1.0, 10.0]),
    grams=st.sampled_from([None, True, False]),
    double=st.booleans(),
    seed=st.integers(0, 100),
)
def test_clipped_sum_equals_a_loop_over_the_bags(
    shape: tuple[Network, int, int],
    bags: int,
    views: int,
    bags_at_once: int,
    clip: float,
    grams: bool | None,
    double: bool,
    seed: int,
) -> None:
    network, channels, size = shape
    rng = torch.Generator().manual_seed(seed)
    images = torch.randn(bags * views, channels, size, size, generator=rng)
    labels = torch.randint(0, 5, (bags * views, 2), generator=rng)
    present = torch.rand(bags, views, generator=rng) < 0.8
    assume(initialised(network, images, labels))
    expected = slow_sum(network.double(), images.double(), labels, present, clip)
    if not double:
        network, expected = network.float(), [part.float() for part in expected]
    with pytest.MonkeyPatch.context() as patch:
        if grams is not None:
            patch.setattr(convolution, "_cost_of_forming", lambda *_: 1e30 if grams else -1)
        found = fast_sum(network, images.to(expected[0].dtype), labels, present, clip, bags_at_once)
    assert relative_error(found, expected, clip) < (1e-10 if double else 1e-5)


# --- errors that the test above must notice --------------------------------------------------------------------------


def small() -> tuple[Network, Tensor, Tensor]:
    """A network and two bags of three views."""
    rng = torch.Generator().manual_seed(1)
    images, labels = torch.randn(6, 2, 8, 8, generator=rng), torch.randint(1, 5, (6, 2), generator=rng)
    network = Network([nn.Conv2d(2, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 3, 2, 1), nn.GroupNorm(2, 4)], 5)
    assert initialised(network, images, labels)
    return network.double(), images.double(), labels


def error_of(network: Network, images: Tensor, labels: Tensor, clip: float = 0.3) -> float:
    present = torch.ones(2, 3, dtype=torch.bool)
    found = fast_sum(network, images, labels, present, clip, 2)
    return relative_error(found, slow_sum(network, images, labels, present, clip), clip)


def test_a_missing_cross_term_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    intact = convolution._patch_gram

    def without_cross_terms(images: Tensor, window: Any) -> Tensor:
        gram = intact(images, window)
        views = images.shape[1]
        same = torch.eye(views, dtype=torch.bool).repeat_interleave(gram.shape[1] // views, 0)
        return gram * same.repeat_interleave(gram.shape[1] // views, 1)

    assert error_of(*small()) < 1e-10
    monkeypatch.setattr(convolution, "_cost_of_forming", lambda *_: 1e30)
    assert error_of(*small()) < 1e-10
    monkeypatch.setattr(convolution, "_patch_gram", without_cross_terms)
    assert error_of(*small()) > 1e-3


@pytest.mark.parametrize("left_out", ["weight", "bias"])
def test_a_parameter_left_out_of_the_norm_is_noticed(monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    for kind, rule in RULES.items():

        def broken(layer: nn.Module, *args: Any, rule: Any = rule) -> Any:
            for part in rule(layer, *args):
                shorter = part.squared_norms * (part.parameter is not getattr(layer, left_out, None))
                yield part._replace(squared_norms=shorter)

        monkeypatch.setitem(RULES, kind, broken)
    assert error_of(*small()) > 1e-3


def test_a_layer_used_twice_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    network.insert(1, network[0])
    module = BookKeepingModule(network, max_grad_norm=1.0)
    with pytest.raises(RuntimeError, match="Linear ran twice"):
        module(torch.zeros(2, 3))


def test_a_second_forward_pass_before_the_backward_pass_is_refused() -> None:
    module = BookKeepingModule(nn.Linear(3, 1), max_grad_norm=1.0)
    module(torch.zeros(2, 3))
    with pytest.raises(RuntimeError, match="two batches"):
        module(torch.zeros(2, 3))


def test_an_output_changed_in_place_is_refused() -> None:
    module = BookKeepingModule(nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True), nn.Flatten(0)), max_grad_norm=1.0)
    losses = module(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="in place"):
        module.backward(losses)


def test_a_backward_pass_without_a_forward_pass_is_refused() -> None:
    with pytest.raises(RuntimeError, match="needs a forward pass"):
        BookKeepingModule(nn.Linear(3, 1), max_grad_norm=1.0).backward(torch.zeros(2))


def test_a_layer_without_a_rule_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="1: Bilinear has no rule") as refusal:
        BookKeepingModule(nn.Sequential(nn.Linear(3, 3), nn.Bilinear(3, 3, 1)), max_grad_norm=1.0)
    assert "StandardisedConv2d" in str(refusal.value)


def test_there_is_a_rule_for_each_layer_that_a_plan_allows() -> None:
    assert set(RULES) == set(PRIVATE_LAYERS)


def test_calls_past_the_module_are_not_noted() -> None:
    network = nn.Linear(3, 1)
    module = BookKeepingModule(network, max_grad_norm=1.0)
    logits = module(torch.ones(2, 3))
    network(torch.full((7, 3), 1e6))
    module.backward(logits.flatten())
    assert float(network.weight.grad.norm()) == pytest.approx(2 * (3 / 4) ** 0.5)


def test_an_empty_batch_adds_nothing() -> None:
    network = nn.Linear(3, 1)
    module = BookKeepingModule(network, max_grad_norm=1.0)
    module.backward(module(torch.zeros(0, 3)).flatten())
    assert network.weight.grad is None


# --- mixed precision -------------------------------------------------------------------------------------------------

BFLOAT16_ERROR = 0.05
"""Stated in `Training.precision`: three significant digits in each pass, and a few layers to go wrong in."""


@pytest.mark.parametrize("clip", [0.01, 1.0])
def test_bfloat16_passes_keep_the_sum_near_and_the_sensitivity_exact(clip: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten()
    )
    network.append(nn.Linear(32 * 49, 1))
    images = torch.randn(16, 1, 28, 28)

    def total(bfloat16: bool, those: Tensor) -> Tensor:
        module = BookKeepingModule(network, max_grad_norm=clip)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = module(those)
        module.backward(logits.float().flatten())
        module.remove_hooks()
        assert all(p.grad.dtype == torch.float32 for p in network.parameters())
        found = torch.cat([p.grad.flatten() for p in network.parameters()])
        network.zero_grad()
        return found

    exact, rounded = total(False, images), total(True, images)
    assert 1e-5 < float((exact - rounded).norm() / exact.norm()) < BFLOAT16_ERROR
    for one in images.split(1):
        assert float(total(True, one).norm()) <= clip * (1 + 1e-5)
