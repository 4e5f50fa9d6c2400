"""Book-keeping against a loop over the units: random networks, bags of views, blocks and precisions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from silogan.client.mechanism import clip as clipping
from silogan.client.mechanism.dpsgd import BookKeepingModule, bag_mean
from silogan.client.mechanism.dpsgd.rules import RULES, convolution
from silogan.common.errors import ConfigError
from silogan.common.models.networks.standardised import StandardisedConv2d
from silogan.common.models.networks.supported import PRIVATE_LAYERS

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
        limit = (1 - clipping.SLACK) * clip
        factor = min(1.0, limit / norm if norm else 1.0)
        total = [one + factor * gradient for one, gradient in zip(total, gradients, strict=True)]
    return total


def fast_sum(
    network: nn.Module, images: Tensor, labels: Tensor, present: Tensor, clip: float, bags_at_once: int
) -> list[Tensor]:
    """The same by book-keeping, some bags at a time."""
    module = BookKeepingModule(network)
    views = present.shape[1]
    for part, mine, those in zip(
        images.split(bags_at_once * views), labels.split(bags_at_once * views), present.split(bags_at_once), strict=True
    ):
        module.add(bag_mean(module(part, mine).view(-1, views), those), clip, those.any(dim=1))
    parts = module.take().split([p.numel() for p in module.trained])
    assert not module.take().any(), "the sum begins anew"
    return [part.view_as(p) for part, p in zip(parts, module.trained, strict=True)]


def relative_error(found: list[Tensor], expected: list[Tensor], clip: float) -> float:
    """Of the whole vector; a sum that vanishes is compared with the clipping norm."""
    (one, other) = (torch.cat([part.flatten() for part in parts]) for parts in (found, expected))
    return float((one - other).norm() / max(float(other.norm()), 1e-3 * clip))


@pytest.fixture
def bare_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms without the allowance for rounding, which would hide what is tested here."""
    monkeypatch.setattr(clipping, "UNIT_ROUNDOFF", 2.0**-53)
    monkeypatch.setattr(clipping, "REACH", 1e6)


@pytest.mark.usefixtures("bare_norms")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
            patch.setattr(convolution, "_grams_are_cheaper", lambda *_: grams)
        found = fast_sum(network, images.to(expected[0].dtype), labels, present, clip, bags_at_once)
    assert relative_error(found, expected, clip) < (1e-6 if double else 2e-5)


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


@pytest.mark.usefixtures("bare_norms")
def test_a_missing_cross_term_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    intact = convolution._patch_gram

    def without_cross_terms(images: Tensor, window: Any) -> Tensor:
        gram = intact(images, window)
        views = images.shape[1]
        same = torch.eye(views, dtype=torch.bool).repeat_interleave(gram.shape[1] // views, 0)
        return gram * same.repeat_interleave(gram.shape[1] // views, 1)

    assert error_of(*small()) < 1e-6
    monkeypatch.setattr(convolution, "_grams_are_cheaper", lambda *_: True)
    assert error_of(*small()) < 1e-6
    monkeypatch.setattr(convolution, "_patch_gram", without_cross_terms)
    assert error_of(*small()) > 1e-3


@pytest.mark.parametrize("left_out", ["weight", "bias"])
def test_a_parameter_left_out_of_the_norm_is_noticed(monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    for kind, rule in RULES.items():

        def broken(layer: nn.Module, *args: Any, rule: Any = rule) -> Any:
            for part in rule(layer, *args):
                shorter = part.squared * (part.parameter is not getattr(layer, left_out, None))
                yield part._replace(squared=shorter)

        monkeypatch.setitem(RULES, kind, broken)
    assert error_of(*small()) > 1e-3


def test_a_layer_used_twice_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    network.insert(1, network[0])
    module = BookKeepingModule(network)
    with pytest.raises(RuntimeError, match="Linear ran twice"):
        module(torch.zeros(2, 3))


def test_a_second_forward_pass_before_the_sum_is_refused() -> None:
    module = BookKeepingModule(nn.Linear(3, 1))
    module(torch.zeros(2, 3))
    with pytest.raises(RuntimeError, match="two batches"):
        module(torch.zeros(2, 3))


def test_an_output_changed_in_place_is_refused() -> None:
    module = BookKeepingModule(nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True), nn.Flatten(0)))
    losses = module(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="in place"):
        module.add(losses, 1.0)


def test_a_sum_without_a_forward_pass_is_refused() -> None:
    with pytest.raises(RuntimeError, match="needs a forward pass"):
        BookKeepingModule(nn.Linear(3, 1)).add(torch.zeros(2), 1.0)


def test_a_layer_without_a_rule_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="1: Bilinear has no rule") as refusal:
        BookKeepingModule(nn.Sequential(nn.Linear(3, 3), nn.Bilinear(3, 3, 1)))
    assert "StandardisedConv2d" in str(refusal.value)


def test_there_is_a_rule_for_each_layer_that_a_plan_allows() -> None:
    assert set(RULES) == set(PRIVATE_LAYERS)


def test_calls_past_the_module_are_not_noted() -> None:
    network = nn.Linear(3, 1)
    module = BookKeepingModule(network)
    logits = module(torch.ones(2, 3))
    network(torch.full((7, 3), 1e6))
    module.add(logits.flatten(), 1.0)
    assert float(module.take()[:3].norm()) == pytest.approx(2 * (1 - clipping.SLACK) * (3 / 4) ** 0.5)


def test_rows_without_a_unit_add_nothing_and_change_nothing() -> None:
    network, images, labels = small()
    counts = torch.tensor([True, False])
    alone = fast_sum(network, images, labels, torch.ones(2, 3, dtype=torch.bool) & counts.unsqueeze(1), 0.3, 2)
    images[3:] = torch.nan
    with_rubbish = fast_sum(network, images, labels, torch.ones(2, 3, dtype=torch.bool) & counts.unsqueeze(1), 0.3, 2)
    assert all(torch.equal(one, other) for one, other in zip(alone, with_rubbish, strict=True))


def test_a_frozen_parameter_has_no_place_in_the_sum() -> None:
    network = nn.Linear(3, 1)
    network.bias.requires_grad_(False)
    module = BookKeepingModule(network)
    module.add(module(torch.ones(2, 3)).flatten(), 1.0)
    assert [tuple(p.shape) for p in module.trained] == [(1, 3)]
    assert module.take().shape == (3,)
    assert network.bias.grad is None


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
        module = BookKeepingModule(network)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = module(those)
        module.add(logits.float().flatten(), clip)
        return module.take()

    exact, rounded = total(False, images), total(True, images)
    assert 1e-5 < float((exact - rounded).norm() / exact.norm()) < BFLOAT16_ERROR
    for one in images.split(1):
        assert float(total(True, one).norm()) <= clip


def test_coarser_arithmetic_is_switched_off() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    BookKeepingModule(nn.Linear(3, 1))
    assert torch.get_float32_matmul_precision() == "highest"
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)
