"""Opacus' own private steps, for comparison: its hooks, and its ghost clipping.

Both see real and fake images in one batch, clip each by itself, and take their noise from PyTorch.
"""

import warnings
from collections.abc import Callable
from typing import Any

from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from torch import Tensor, nn
from torch.optim import Optimizer

# Opacus hooks the first layer, whose input (images) rightly needs no gradient.
warnings.filterwarnings("ignore", message="Full backward hook is firing")

Losses = Callable[[nn.Module], Tensor]
"""One loss an image, float32[N], of a critic's answers to the images of a step."""

Step = Callable[[], None]
"""The other arguments of what makes one: `noise_multiplier`, `max_grad_norm`, and as `batch` the images of a step."""


def hooks_step(critic: nn.Module, optimizer: Optimizer, losses: Losses, *, batch: int, **how: float) -> Step:
    """Steps whose hooks form the gradient of each image (Yousefpour et al., 2021)."""
    module = GradSampleModule(critic, loss_reduction="sum")
    private: Any = DPOptimizer(optimizer, expected_batch_size=batch, **how)  # pyright: ignore[reportArgumentType]

    def step() -> None:
        private.zero_grad()
        losses(module).sum().backward()
        private.step()

    return step


def ghost_step(critic: nn.Module, optimizer: Optimizer, losses: Losses, *, batch: int, **how: float) -> Step:
    """Steps by ghost clipping (Li et al., 2021): norms in one backward pass, the clipped sum in a second."""
    most: Any = how["max_grad_norm"]  # Opacus only divides it
    module: Any = GradSampleModuleFastGradientClipping(critic, loss_reduction="sum", max_grad_norm=most)
    private: Any = DPOptimizerFastGradientClipping(optimizer, expected_batch_size=batch, **how)  # pyright: ignore[reportArgumentType]

    def step() -> None:
        private.zero_grad()
        DPTensorFastGradientClipping(module, private, losses(module), loss_reduction="sum").backward()
        module.enable_hooks()
        private.step()

    return step
