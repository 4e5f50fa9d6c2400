"""The book-keeping critic: exact clipping of every unit for one backward pass (Bu et al., 2022).

Opacus' hooks form each unit's gradient; its ghost clipping runs a second backward pass. Here the forward pass notes
what each layer saw, one backward pass finds the gradients at the layers' *outputs* only, the rules turn the two into
bounds of norms, and the clipped sum is formed once, with the clip factors already in it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from opacus.grad_sample.gsm_base import AbstractGradSampleModule
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from silogan.client.mechanism.clip import clip_factors
from silogan.client.mechanism.dpsgd.rules import RULES, Contribution
from silogan.common.errors import ConfigError


@dataclass
class _Call:
    """One run of a layer: what went in, and what came out, whose gradient the backward pass is asked for."""

    inputs: Tensor
    output: Tensor
    version: int


class BookKeepingModule(AbstractGradSampleModule):
    """A critic that adds up the clipped gradients of units, in float64.

    Calls through this module are noted; calls of the critic itself (the generator's pass) are not, and cost nothing
    extra. `forward` and `add` alternate; several such pairs add up until `take`.

    Args:
        module: the critic; each layer with parameters is one of `RULES` and runs once in a forward pass.

    Attributes:
        trained: the parameters that need a gradient, in the order in which `take` has them.

    Raises:
        ConfigError: a layer has no rule.

    Privacy:
        Unit: one row of the losses. What `add` adds for it has a norm of at most (1 - SLACK)·C, whatever the weights
        and the data: a unit whose gradient is not finite counts as zero. A frozen parameter has no place in the sum.
        What `take` returns must not leave before the noise.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module, batch_first=True, loss_reduction="sum")
        # what rounds more coarsely than float32, or may choose another kernel each time, is switched off
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        self._recording = False
        self._calls: dict[nn.Module, _Call] = {}
        self._handles: list[RemovableHandle] = []
        self.trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._sums = self._zeros()
        for name, layer in module.named_modules():
            if any(parameter.requires_grad for parameter in layer.parameters(recurse=False)):
                if type(layer) not in RULES:
                    kinds = ", ".join(kind.__name__ for kind in RULES)
                    raise ConfigError(name or "discriminator", f"{type(layer).__name__} has no rule", f"use {kinds}")
                self._handles.append(layer.register_forward_hook(self._note))

    def forward(self, *args: Any) -> Tensor:
        """The critic's own answer.

        Raises:
            RuntimeError: the last forward pass has had no `add`, or a layer ran twice in this one.
        """
        if self._calls:
            raise RuntimeError("a second forward pass before `add` would mix two batches")
        self._recording = True
        try:
            return self._module(*map(_laid_out, args))
        finally:
            self._recording = False

    def add(self, losses: Tensor, clip_norm: float, counts: Tensor | None = None, *, public: bool = False) -> None:
        """Adds Σᵢ gᵢ·cᵢ to the sum, where gᵢ is the gradient of the sum of row i and cᵢ its clip factor.

        Args:
            losses: float32[N], one record a unit; or float32[N, V] for units that are bags of V views, where records
                i·V to i·V+V-1 of the forward pass belong to unit i (`bag_mean` weighs them).
            clip_norm: C > 0.
            counts: bool[N], False for rows without a unit; all are units if None.
            public: whether no row is a patient's, so that rounding need not be bounded.

        Raises:
            RuntimeError: there was no forward pass, or a layer's output was changed in place.
        """
        views = losses.shape[1] if losses.dim() > 1 else 1
        with torch.autocast(losses.device.type, enabled=False):
            seen = self.seen(losses)
            with torch.no_grad():
                rules = (RULES[type(layer)](layer, inputs, b, views) for layer, inputs, b in seen)
                parts = [part for rule in rules for part in rule if part.parameter in self._sums]
                self._add(parts, clip_norm, counts, public)

    def seen(self, losses: Tensor) -> list[tuple[nn.Module, Tensor, Tensor]]:
        """What each layer saw in the forward pass, and the gradient at its output, in its parameters' precision."""
        calls, self._calls = self._calls, {}
        if not calls:
            raise RuntimeError("`add` needs a forward pass through this module")
        if any(call.output._version != call.version for call in calls.values()):
            raise RuntimeError("a layer's output was changed in place after the layer ran")
        gradients = torch.autograd.grad(losses.sum(), [call.output for call in calls.values()], allow_unused=True)
        return [
            (layer, *_as_computed(layer, call.inputs, gradient))
            for (layer, call), gradient in zip(calls.items(), gradients, strict=True)
            if gradient is not None  # pyright: ignore[reportUnnecessaryComparison]  (so it is for an unused layer)
        ]

    def take(self) -> Tensor:
        """The sum so far, float64[d]; resets it to zero."""
        sums, self._sums = self._sums, self._zeros()
        return torch.cat([sums[parameter].flatten() for parameter in self.trained])

    def remove_hooks(self) -> None:
        """Removes the hooks from the critic's layers."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _zeros(self) -> dict[Tensor, Tensor]:
        return {p: torch.zeros(p.shape, dtype=torch.float64, device=p.device) for p in self.trained}

    def _note(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if not self._recording or not torch.is_grad_enabled():
            return
        if layer in self._calls:
            raise RuntimeError(f"{type(layer).__name__} ran twice in one forward pass; give each use its own layer")
        self._calls[layer] = _Call(inputs[0].detach(), output, output._version)

    def _add(self, parts: list[Contribution], clip_norm: float, counts: Tensor | None, public: bool) -> None:
        squared, reach = (torch.stack(values).sum(dim=0) for values in zip(*(part[1:3] for part in parts), strict=True))
        counts = torch.ones_like(squared, dtype=torch.bool) if counts is None else counts
        factors = clip_factors(squared, reach, clip_norm, counts)
        for part in parts:
            weighted_sum = part.public_sum if public and part.public_sum else part.weighted_sum
            self._sums[part.parameter] += weighted_sum(factors)


def bag_mean(losses: Tensor, present: Tensor) -> Tensor:
    """Weighs the losses of views such that each row sums to the mean over its bag.

    Args:
        losses: float[N, V].
        present: bool[N, V], False where a bag has fewer than V views and a place is filled.

    Returns:
        float[N, V]; zero, without a gradient, where no view is present.
    """
    return torch.where(present, losses, 0.0) / present.sum(dim=1, keepdim=True).clamp(min=1)


def _laid_out(value: Any) -> Any:
    """Images with the channels of a pixel side by side: on a CPU all layers then are quicker, and so are the rules."""
    if not isinstance(value, Tensor) or value.dim() != 4 or value.device.type != "cpu":
        return value
    return torch.empty_like(value, memory_format=torch.channels_last).copy_(value)


def _as_computed(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The values that a layer computed with, in the precision of its parameters."""
    precision = next(layer.parameters(recurse=False)).dtype
    if inputs.is_floating_point():
        inputs = inputs.to(gradient.dtype).to(precision)
    return inputs, gradient.to(precision)
