from collections.abc import Callable

import pytest
import torch
from opacus import GradSampleModule
from torch import Tensor, nn
from torch.optim import SGD

from client.dpsgd import BookKeepingModule, ClippedSumOptimizer, PerUnitOptimizer, PrivateOptimizer
from client.randomness import Randomness, SeededRandomness

NOISE, CLIP, BATCH = 0.7, 0.5, 6.5  # σ, C and a B that is not a whole number


KIND: list[type[PrivateOptimizer]] = [ClippedSumOptimizer]


@pytest.fixture(autouse=True, params=[ClippedSumOptimizer, PerUnitOptimizer], ids=["bookkeeping", "hooks"])
def _kind(request: pytest.FixtureRequest) -> None:
    KIND[0] = request.param


class Silent:
    """Noise of zero."""

    def normal(self, size: int) -> Tensor:
        return torch.zeros(size)

    def poisson_sample(self, *_: object) -> Tensor:
        raise AssertionError("an optimizer does not sample")


def small_network(seed: int) -> nn.Sequential:
    """A network for [N, 2, 4, 4] with layers, sizes and values that depend on the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        channels = 2 * (1 + seed % 3)
        layers: list[nn.Module] = [nn.Conv2d(2, channels, 3, padding=seed % 2, bias=seed % 2 == 0), nn.LeakyReLU(0.2)]
        if seed % 3 == 1:
            layers.append(nn.GroupNorm(2, channels))
        layers += [nn.Flatten(), nn.LazyLinear(3), nn.Tanh(), nn.Linear(3, 1)]
        network = nn.Sequential(*layers)
        network(torch.zeros(1, 2, 4, 4))
    return network


def batch(seed: int, size: int) -> Tensor:
    # scales from far below the clipping norm to far above it
    scale = torch.logspace(-3, 3, max(size, 1))[:size].view(-1, 1, 1, 1)
    return torch.randn(size, 2, 4, 4, generator=torch.Generator().manual_seed(seed)) * scale


def noisy_gradient(
    network: nn.Module, inputs: Tensor, optimizer_for: Callable[[SGD], PrivateOptimizer]
) -> tuple[Tensor, Tensor]:
    """The flat gradient that reaches the inner optimizer, and the step that it takes at learning rate 1."""
    before = torch.cat([p.detach().flatten().clone() for p in network.parameters()])
    inner = SGD(network.parameters(), lr=1.0)
    seen: list[Tensor] = []
    inner.register_step_pre_hook(lambda *_: seen.append(torch.cat([p.grad.flatten() for p in network.parameters()])))
    optimizer = optimizer_for(inner)
    optimizer.zero_grad()
    if isinstance(optimizer, PerUnitOptimizer):
        wrapped = GradSampleModule(network, loss_reduction="sum")
        wrapped(inputs).sum().backward()
    else:
        wrapped = BookKeepingModule(network, max_grad_norm=optimizer.max_grad_norm)
        wrapped.backward(wrapped(inputs).flatten())
    optimizer.step()
    after = torch.cat([p.detach().flatten() for p in network.parameters()])
    wrapped.remove_hooks()
    assert len(seen) == 1
    return seen[0].clone(), before - after


def private(
    randomness: Randomness, *, clip: float = CLIP, expected: float = BATCH, noise: float = NOISE
) -> Callable[[SGD], PrivateOptimizer]:
    def make(inner: SGD) -> PrivateOptimizer:
        return KIND[0](
            inner,
            randomness,
            noise_multiplier=noise,
            max_grad_norm=clip,
            expected_batch_size=expected,
        )

    return make


def per_sample_gradients(network: nn.Module, inputs: Tensor) -> Tensor:
    """float64[N, parameters], one backward pass for each unit."""
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(network(one[None]).sum(), list(network.parameters()))])
        for one in inputs
    ]
    return torch.stack(rows).double() if rows else torch.zeros(0, sum(p.numel() for p in network.parameters())).double()


def clipped_sum(gradients: Tensor, clip: float = CLIP) -> Tensor:
    return (gradients * (clip / gradients.norm(dim=1, keepdim=True)).clamp(max=1)).sum(dim=0)


@pytest.mark.parametrize("seed", range(12))
def test_gradient_equals_a_slow_loop_over_units(seed: int) -> None:
    network = small_network(seed)
    inputs = batch(seed, 1 + seed)
    gradients = per_sample_gradients(network, inputs)
    norms = gradients.norm(dim=1)
    if seed > 2:
        assert norms.max() > CLIP, "nothing would be clipped"
    size = gradients.shape[1]
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed)) * NOISE * CLIP
    expected = (clipped_sum(gradients) + noise) / BATCH

    randomness = SeededRandomness(torch.Generator().manual_seed(seed))
    gradient, step = noisy_gradient(network, inputs, private(randomness))
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-5 * CLIP / BATCH * 10)
    torch.testing.assert_close(step, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_unit_that_is_not_finite_counts_as_zero_and_spoils_nobody(bad: float) -> None:
    network = small_network(2)
    inputs = batch(1, 6)
    spoilt = inputs.clone()
    spoilt[2, 0, 1, 1] = bad
    spoilt[4, :, :, :] = bad
    gradient, _ = noisy_gradient(network, spoilt, private(Silent()))
    gradients = per_sample_gradients(small_network(2), inputs[[0, 1, 3, 5]])
    with_both = gradient.double() * BATCH
    others = clipped_sum(gradients)
    assert with_both.isfinite().all()
    if bad == 3e38:  # large but finite inputs may still count, by no more than C each
        assert (with_both - others).norm() <= 2 * CLIP * (1 + 1e-4)
    else:
        torch.testing.assert_close(with_both, others, rtol=1e-4, atol=1e-5)


def test_all_units_not_finite_still_takes_a_noisy_step() -> None:
    network = small_network(0)
    size = sum(p.numel() for p in network.parameters())
    inputs = torch.full((3, 2, 4, 4), float("nan"))
    randomness = SeededRandomness(torch.Generator().manual_seed(1))
    gradient, step = noisy_gradient(network, inputs, private(randomness))
    noise = torch.randn(size, generator=torch.Generator().manual_seed(1)) * NOISE * CLIP / BATCH
    torch.testing.assert_close(gradient, noise)
    assert step.norm() > 0


@pytest.mark.parametrize("clip", [1e-3, 0.1])
def test_one_unit_moves_the_sum_by_no_more_than_the_clipping_norm(clip: float) -> None:
    inputs = batch(3, 9)
    make = private(Silent(), clip=clip, expected=1.0)
    whole, _ = noisy_gradient(small_network(3), inputs, make)
    for left_out in range(len(inputs)):
        others = torch.cat((inputs[:left_out], inputs[left_out + 1 :]))
        rest, _ = noisy_gradient(small_network(3), others, make)
        assert (whole - rest).norm() <= clip * (1 + 1e-3)


def test_noise_has_the_standard_deviation_of_the_plan_in_every_coordinate() -> None:
    sigma, clip, expected, draws = 1.3, 0.4, 3.7, 300
    randomness = SeededRandomness(torch.Generator().manual_seed(8))
    network = small_network(1)
    inputs = batch(2, 5)
    signal = clipped_sum(per_sample_gradients(network, inputs), clip) / expected
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    noise: list[Tensor] = []
    for _ in range(draws):
        network.load_state_dict(state)
        gradient, _ = noisy_gradient(network, inputs, private(randomness, noise=sigma, clip=clip, expected=expected))
        noise.append(gradient.double() - signal)
    drawn = torch.stack(noise) / (sigma * clip / expected)
    assert abs(drawn.std() - 1) < 8 / (2 * drawn.numel()) ** 0.5
    assert (drawn.std(dim=0) - 1).abs().max() < 8 / (2 * draws) ** 0.5
    assert drawn.mean(dim=0).abs().max() < 8 / draws**0.5
    # one vector over all parameters: no two of them share their noise
    correlation = torch.corrcoef(drawn.T) - torch.eye(drawn.shape[1])
    assert correlation.abs().max() < 8 / draws**0.5


def test_empty_batch_takes_a_noisy_step() -> None:
    network = small_network(0)
    size = sum(p.numel() for p in network.parameters())
    randomness = SeededRandomness(torch.Generator().manual_seed(4))
    gradient, step = noisy_gradient(network, batch(0, 0), private(randomness))
    noise = torch.randn(size, generator=torch.Generator().manual_seed(4)) * NOISE * CLIP / BATCH
    torch.testing.assert_close(gradient, noise)
    torch.testing.assert_close(step, noise, rtol=1e-4, atol=1e-6)


def test_divisor_is_the_public_batch_whatever_the_batch() -> None:
    one = batch(5, 1) * 1e3  # its gradient is clipped
    steps: dict[int, Tensor] = {}
    for copies in (1, 4):
        steps[copies], _ = noisy_gradient(small_network(5), one.expand(copies, -1, -1, -1), private(Silent()))
    torch.testing.assert_close(steps[4], 4 * steps[1], rtol=1e-5, atol=1e-8)
    assert abs(steps[1].norm() - CLIP / BATCH) < 1e-5


def test_noise_is_added_once_even_if_asked_twice() -> None:
    network = small_network(0)
    optimizer = private(SeededRandomness(torch.Generator().manual_seed(0)))(SGD(network.parameters(), lr=1.0))
    for parameter in network.parameters():
        parameter.summed_grad = torch.zeros_like(parameter)
    optimizer.add_noise()
    with pytest.raises(ValueError, match="haven't been cleared"):
        optimizer.add_noise()
