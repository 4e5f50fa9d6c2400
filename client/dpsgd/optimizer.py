"""Opacus' DP optimizers, with noise from the site's own source of randomness and no unit that can spoil the sum."""

import torch
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.optimizers.optimizer import (
    _check_processed_flag,  # pyright: ignore[reportPrivateUsage]
    _mark_as_processed,  # pyright: ignore[reportPrivateUsage]
)
from torch import nn
from torch.optim import Optimizer

from client.randomness import Randomness


class PrivateOptimizer(DPOptimizer):
    """Adds noise to a clipped sum, divides by a public constant, and steps.

    The gradient that reaches `optimizer` is (Σᵢ gᵢ·min(1, C/‖gᵢ‖) + N(0, σ²C²)) / B (Abadi et al., 2016, algorithm 1).

    Args:
        optimizer: takes the noisy gradient; holds the parameters of one grad-sample module whose loss is a sum.
        randomness: where the noise comes from.
        noise_multiplier: σ > 0.
        max_grad_norm: C > 0.
        expected_batch_size: B > 0, public; need not be a whole number.

    Privacy:
        Unit: one entry of the batch. Neighbouring: add or remove one. Sensitivity of the sum: C, whatever the gradients
        are: a non-finite one counts as zero. The parameters after `step` may leave; gradients before it may not.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        randomness: Randomness,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        expected_batch_size: float,
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,  # pyright: ignore[reportArgumentType]  (Opacus only divides by it)
            loss_reduction="mean",
        )
        self._randomness = randomness

    def add_noise(self) -> None:
        """Adds one Gaussian vector over all parameters to the clipped sum, once.

        Raises:
            ValueError: the sum has its noise already; `zero_grad` belongs between two steps.
        """
        parameters: list[nn.Parameter] = self.params
        scale = self.noise_multiplier * self.max_grad_norm
        noise = self._randomness.normal(sum(p.numel() for p in parameters)).mul_(scale)
        for p, part in zip(parameters, noise.split([p.numel() for p in parameters]), strict=True):
            total: torch.Tensor = p.summed_grad  # pyright: ignore
            _check_processed_flag(total)
            p.grad = part.view_as(p).add_(total.view_as(p))
            _mark_as_processed(total)


class PerUnitOptimizer(PrivateOptimizer):
    """For Opacus' hooks, which leave the gradient of each unit at `p.grad_sample`: clips and sums them."""

    def clip_and_accumulate(self) -> None:
        """Opacus' clipping, after units whose gradient is not finite have been set to zero."""
        # A sum is the cheapest pass that any inf or NaN survives.
        finite = torch.stack([g.flatten(1).sum(dim=1) for g in self.grad_samples]).sum(dim=0).isfinite()
        if not bool(finite.all()):
            for p in self.params:
                p.grad_sample[~finite] = 0  # pyright: ignore
        super().clip_and_accumulate()


class ClippedSumOptimizer(PrivateOptimizer, DPOptimizerFastGradientClipping):
    """For modules whose backward pass leaves the clipped sum at `p.grad`: book-keeping, and Opacus' ghost clipping."""

    def accumulate(self) -> None:
        """Takes the clipped sum over, without a copy."""
        for p in self.params:
            total = torch.zeros_like(p) if p.grad is None else p.grad
            p.summed_grad = total if p.summed_grad is None else p.summed_grad.add_(total)  # pyright: ignore
