"""The layers that a private discriminator may have.

A private step clips the gradient of each patient, so it needs layers whose output for one patient depends on that
patient alone, and a rule for the gradient of each. A layer outside this list is refused by name, never skipped: a
skipped layer would be trained without privacy.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.instancenorm import _InstanceNorm  # pyright: ignore[reportPrivateUsage]

from silogan.common.errors import ConfigError
from silogan.common.models.networks.base import Discriminator
from silogan.common.models.networks.image_critic import Standardised
from silogan.common.models.networks.standardised import StandardisedConv2d

PRIVATE_LAYERS: tuple[type[nn.Module], ...] = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d),
    StandardisedConv2d,
)

FIXED_LAYERS: tuple[type[nn.Module], ...] = (Standardised,)
"""Layers that hold a map which is never trained, and apply it to each record by itself."""


def check_private(discriminator: Discriminator) -> None:
    """Passes if every layer that learns or remembers has a per-patient gradient.

    Layers with neither parameters nor buffers are always allowed.

    Raises:
        ConfigError: naming the first layer that has none, its type and the hint.
    """
    owners: dict[int, str] = {}
    for path, layer in discriminator.named_modules(prefix="discriminator", remove_duplicate=False):
        if fault := _fault(layer):
            raise ConfigError(path, f"{type(layer).__name__} {fault[0]}", fault[1])
        for parameter in layer.parameters(recurse=False):
            owner = owners.setdefault(id(parameter), path)
            if owner != path:
                raise ConfigError(path, f"shares its parameters with {owner}", "give each layer its own")


def _fault(layer: nn.Module) -> tuple[str, str] | None:
    """Why a layer is not private, and the hint; None if it is."""
    if isinstance(layer, _BatchNorm):  # even without parameters and buffers
        return "mixes patients of a batch", "use GroupNorm"
    if isinstance(layer, _InstanceNorm) and layer.track_running_stats:
        return "keeps running statistics of patients", "set track_running_stats=False"
    if isinstance(layer, nn.Embedding) and (layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse):
        return "rescales by batch or is sparse", "use a plain Embedding"
    state = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    # The exact type: a subclass may compute something else from the same parameters.
    if state and type(layer) not in (*PRIVATE_LAYERS, *FIXED_LAYERS):
        return "has no per-patient gradient", f"use {', '.join(allowed.__name__ for allowed in PRIVATE_LAYERS)}"
    return None
