"""The book-keeping discriminator: exact clipping of every unit for one backward pass (Bu et al., 2022).

Opacus' hooks form each unit's gradient; its ghost clipping runs a second backward pass. Here the forward pass notes
what each layer saw, one backward pass finds the gradients at the layers' *outputs* only, the rules turn the two into
norms, and the clipped sum is formed once, with the clip factors already in it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from opacus.grad_sample.gsm_base import AbstractGradSampleModule
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from client.dpsgd.rules import RULES, Contribution, Factors
from common.errors import ConfigError


@dataclass
class _Call:
    """One run of a layer: what went in, and what came out, whose gradient the backward pass is asked for."""

    inputs: Tensor
    output: Tensor
    version: int


class BookKeepingModule(AbstractGradSampleModule):
    """A discriminator whose `backward` adds the clipped sum of its units' gradients to `.grad`.

    Calls through this module are noted; calls of the discriminator itself (the generator's pass) are not, and cost
    nothing extra. `forward` and `backward` alternate; several such pairs before a step are micro-batches and add up.

    Args:
        module: the discriminator; each layer with parameters is one of `RULES` and runs once in a forward pass.
        max_grad_norm: C > 0.

    Raises:
        ConfigError: a layer has no rule.

    Privacy:
        Unit: one row of the losses. What `backward` adds has sensitivity C for each unit, whatever the data: a unit
        whose gradient is not finite counts as zero. In mixed precision too, since norm and sum are formed in the
        parameters' precision from the same values. `.grad` must not leave before the noise.
    """

    def __init__(self, module: nn.Module, *, max_grad_norm: float) -> None:
        super().__init__(module, batch_first=True, loss_reduction="sum")
        self._max_grad_norm = max_grad_norm
        self._recording = False
        self._calls: dict[nn.Module, _Call] = {}
        self._handles: list[RemovableHandle] = []
        for name, layer in module.named_modules():
            if any(parameter.requires_grad for parameter in layer.parameters(recurse=False)):
                if type(layer) not in RULES:
                    kinds = ", ".join(kind.__name__ for kind in RULES)
                    raise ConfigError(name or "discriminator", f"{type(layer).__name__} has no rule", f"use {kinds}")
                self._handles.append(layer.register_forward_hook(self._note))

    def forward(self, *args: Any) -> Tensor:
        """The discriminator's own answer.

        Raises:
            RuntimeError: the last forward pass has had no `backward`, or a layer ran twice in this one.
        """
        if self._calls:
            raise RuntimeError("a second forward pass before `backward` would mix two batches")
        self._recording = True
        try:
            return self._module(*args)
        except BaseException:
            self._calls.clear()
            raise
        finally:
            self._recording = False

    def backward(self, losses: Tensor) -> None:
        """Adds Σᵢ gᵢ·min(1, C/‖gᵢ‖) to `.grad`, where gᵢ is the gradient of the sum of row i.

        Args:
            losses: float[N], one image a unit; or float[N, V] for units that are bags of V views, where images i·V to
                i·V+V-1 of the forward pass belong to unit i (`bag_mean` weighs them).

        Raises:
            RuntimeError: there was no forward pass, or a layer's output was changed in place.
        """
        calls, self._calls = self._calls, {}
        if not calls:
            raise RuntimeError("`backward` needs a forward pass through this module")
        if any(call.output._version != call.version for call in calls.values()):
            raise RuntimeError("a layer's output was changed in place after the layer ran")
        if losses.numel() == 0:
            return
        views = losses.shape[1] if losses.dim() > 1 else 1
        outputs = [call.output for call in calls.values()]
        gradients = torch.autograd.grad(losses.sum(), outputs, allow_unused=True)
        with torch.no_grad():
            contributions = [
                contribution
                for (layer, call), gradient in zip(calls.items(), gradients, strict=True)
                if gradient is not None  # pyright: ignore[reportUnnecessaryComparison]  (so it is for an unused layer)
                for contribution in _contributions(layer, call.inputs, gradient, views)
            ]
            self._add(contributions)

    def remove_hooks(self) -> None:
        """Forgets the discriminator's layers."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _note(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if not self._recording or not torch.is_grad_enabled():
            return
        if layer in self._calls:
            raise RuntimeError(f"{type(layer).__name__} ran twice in one forward pass; give each use its own layer")
        self._calls[layer] = _Call(inputs[0].detach(), output, output._version)

    def _add(self, contributions: list[Contribution]) -> None:
        norms = torch.stack([part.squared_norms for part in contributions]).sum(dim=0).clamp(min=0).sqrt()
        spoilt = ~norms.isfinite()
        values = (self._max_grad_norm / norms).clamp(max=1).masked_fill(spoilt, 0)
        # On a GPU asking whether a unit is spoilt would wait for the queue; there the check is always paid for.
        none_spoilt = norms.device.type == "cpu" and not bool(spoilt.any())
        factors = Factors(values, None if none_spoilt else spoilt)
        for parameter, _, weighted_sum in contributions:
            total = weighted_sum(factors)
            parameter.grad = total if parameter.grad is None else parameter.grad.add_(total)


def bag_mean(losses: Tensor, present: Tensor | None = None) -> Tensor:
    """Weighs the losses of views such that each row sums to the mean over its bag.

    Args:
        losses: float[N, V].
        present: bool[N, V], False where a bag has fewer than V views and a place is filled; all present if None.

    Returns:
        float[N, V]; zero, without a gradient, where no view is present.
    """
    if present is None:
        return losses / losses.shape[1]
    count = present.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(present, losses, 0.0) / count


def _contributions(layer: nn.Module, inputs: Tensor, gradient: Tensor, views: int) -> list[Contribution]:
    """Applies the layer's rule in the parameters' precision to what the layer computed with."""
    precision = next(layer.parameters(recurse=False)).dtype
    if inputs.is_floating_point():
        inputs = inputs.to(gradient.dtype).to(precision)
    return list(RULES[type(layer)](layer, inputs, gradient.to(precision), views))
