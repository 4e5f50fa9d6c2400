"""How a discriminator step is taken: by book-keeping, by Opacus' own modes, or plainly where there is no privacy.

An engine turns the losses of images into a step of the discriminator. One class an engine, one line in `DP_ENGINES`.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.grad_sample.gsm_base import AbstractGradSampleModule
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from torch import Tensor, nn
from torch.optim import Optimizer

from client.dpsgd.module import BookKeepingModule
from client.dpsgd.optimizer import ClippedSumOptimizer, PerUnitOptimizer, PrivateOptimizer
from client.randomness import Randomness
from common.errors import DataError
from common.networks import Discriminator
from common.plan import PrivacyPlan

# Opacus hooks the first layer, whose input (images) rightly needs no gradient.
warnings.filterwarnings("ignore", message="Full backward hook is firing")


class Engine(ABC):
    """Takes discriminator steps: `zero_grad`, then `logits` and `backward` in turn, then `step`.

    Attributes:
        micro_batches: whether a step may be made of several pairs of `logits` and `backward`.
    """

    micro_batches = True

    def __init__(self, discriminator: Discriminator, module: nn.Module, optimizer: Optimizer) -> None:
        self._discriminator, self._optimizer = discriminator, optimizer
        self._module: Any = module  # each engine knows its own kind

    def zero_grad(self) -> None:
        """Forgets the gradients of the last step."""
        self._optimizer.zero_grad()

    def logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """The discriminator's answers float[N], noted for `backward`."""
        return self._module(images, labels)

    @abstractmethod
    def backward(self, losses: Tensor) -> None:
        """Adds the gradient of the losses float[N] of the last `logits` to the step."""

    def step(self) -> None:
        """Changes the discriminator by what was added since `zero_grad`."""
        self._optimizer.step()

    @contextmanager
    def frozen(self) -> Generator[Discriminator]:
        """The discriminator for a generator's step: no gradient of its own, and nothing noted of any image."""
        self._discriminator.requires_grad_(False)
        try:
            yield self._discriminator
        finally:
            self._discriminator.requires_grad_(True)


class PlainEngine(Engine):
    """A step without privacy: the sum of the gradients, divided by the expected batch.

    Args:
        discriminator: the discriminator.
        optimizer: holds its parameters.
        expected_batch: B > 0.
    """

    def __init__(self, discriminator: Discriminator, optimizer: Optimizer, expected_batch: float) -> None:
        super().__init__(discriminator, discriminator, optimizer)
        self._expected_batch = expected_batch

    def backward(self, losses: Tensor) -> None:
        """See `Engine`."""
        (losses.sum() / self._expected_batch).backward()


class PrivateEngine(Engine):
    """A step of DP-SGD.

    Args:
        discriminator: the discriminator.
        optimizer: holds its parameters.
        randomness: source of the noise.
        plan: C and σ.
        expected_batch: public B > 0.

    Privacy:
        See `PrivateOptimizer`; the unit is one row of the losses.
    """

    optimizer_type: type[PrivateOptimizer] = ClippedSumOptimizer

    def __init__(
        self,
        discriminator: Discriminator,
        optimizer: Optimizer,
        randomness: Randomness,
        plan: PrivacyPlan,
        expected_batch: float,
    ) -> None:
        private = self.optimizer_type(
            optimizer,
            randomness,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=plan.clip_norm,
            expected_batch_size=expected_batch,
        )
        super().__init__(discriminator, self.wrap(discriminator, plan.clip_norm), private)

    @staticmethod
    @abstractmethod
    def wrap(discriminator: Discriminator, max_grad_norm: float) -> AbstractGradSampleModule:
        """The module through which private images pass."""


class BookKeeping(PrivateEngine):
    """One backward pass, exact (`client/dpsgd/module.py`). Losses may be float[N, V], for bags of views."""

    @staticmethod
    def wrap(discriminator: Discriminator, max_grad_norm: float) -> BookKeepingModule:
        """See `PrivateEngine`."""
        return BookKeepingModule(discriminator, max_grad_norm=max_grad_norm)

    def backward(self, losses: Tensor) -> None:
        """See `Engine`."""
        self._module.backward(losses)


class _Hooked(PrivateEngine):
    """Modules whose hooks see every pass, unless they rest."""

    micro_batches = False

    @contextmanager
    def frozen(self) -> Generator[Discriminator]:
        """See `Engine`; the hooks rest."""
        self._module.disable_hooks()
        try:
            with super().frozen() as discriminator:
                yield discriminator
        finally:
            self._module.enable_hooks()


class Hooks(_Hooked):
    """Opacus' hooks, which form the gradient of each image: for comparison, slow and large in memory."""

    optimizer_type = PerUnitOptimizer

    @staticmethod
    def wrap(discriminator: Discriminator, max_grad_norm: float) -> GradSampleModule:  # noqa: ARG004
        """See `PrivateEngine`; its optimizer clips."""
        return GradSampleModule(discriminator, loss_reduction="sum")

    def backward(self, losses: Tensor) -> None:
        """See `Engine`."""
        losses.sum().backward()


class Ghost(_Hooked):
    """Opacus' ghost clipping, which needs a second backward pass: for comparison."""

    @staticmethod
    def wrap(discriminator: Discriminator, max_grad_norm: float) -> GradSampleModuleFastGradientClipping:
        """See `PrivateEngine`."""
        return GradSampleModuleFastGradientClipping(
            discriminator,
            loss_reduction="sum",
            max_grad_norm=max_grad_norm,  # pyright: ignore[reportArgumentType]  (Opacus only divides it)
        )

    def backward(self, losses: Tensor) -> None:
        """See `Engine`.

        Raises:
            DataError: a gradient is not finite; Opacus' ghost clipping has no way to leave it out.
        """
        optimizer: Any = self._optimizer
        DPTensorFastGradientClipping(self._module, optimizer, losses, loss_reduction="sum").backward()
        if not bool(self._module.per_sample_gradient_norms.isfinite().all()):
            raise DataError("gradient", "is not finite", "set training.dp_engine to bookkeeping, which leaves it out")
        self._module.enable_hooks()


DP_ENGINES: dict[str, type[PrivateEngine]] = {"bookkeeping": BookKeeping, "ghost": Ghost, "hooks": Hooks}
"""Values of `training.dp_engine`."""
