"""Tests that this machine's result for a unit depends neither on the other units of its block nor on its place in it.

The proof (`client/mechanism/noisy_sum.py`) assumes that in a block of a fixed shape a unit's answer and gradients
depend on the unit alone, bit for bit: weights can be chosen that turn a last digit into a whole gradient. It is the
libraries' and the processor's doing, so it is tried on the machine that works, with the network's own layers, random
weights and made-up records, before anything is charged.
"""

import copy
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from silogan.client.mechanism.dpsgd import BookKeepingModule
from silogan.client.mechanism.dpsgd.rules import RULES
from silogan.common.errors import Code, VerificationError
from silogan.common.models.losses import Loss
from silogan.common.privacy.statistics import Statistic

_DRAWS = 2
_VALUES = 256
"""Answers whose loss is tried at every place: where places differ, about one value in thirty shows it."""

_known: set[tuple[object, ...]] = set()


def check_isolation(
    discriminator: nn.Module,
    loss: Loss,
    shape: tuple[int, ...],
    *,
    block: int,
    views: int,
    precision: AbstractContextManager[Any],
) -> None:
    """Passes if a unit gives the same bits at every place of a block, with any other units; remembers passed cases.

    Args:
        discriminator: whose layers are tried; it stays as it is.
        loss: of its answers.
        shape: of a record.
        block: units in a block.
        views: records of a unit.
        precision: context of the passes.

    Raises:
        VerificationError: it does not.
    """
    layers = tuple(str(layer) for layer in discriminator.modules())
    device = next(discriminator.parameters()).device
    with precision:
        machine = str(device), torch.get_num_threads(), torch.is_autocast_enabled(device.type)
        case = (layers, loss, shape, block, views, *machine)
    if case in _known:
        return
    critic = BookKeepingModule(copy.deepcopy(discriminator).requires_grad_(True))
    rng, everywhere = torch.Generator(device).manual_seed(0), list[Tensor]()
    for _ in range(_DRAWS):
        with torch.no_grad():
            for parameter in critic.trained:
                parameter.normal_(0, 0.1, generator=rng)
        unit, others = (torch.randn(n, views, *shape, generator=rng, device=device) for n in (1, block))
        everywhere = _seen(critic, loss, unit.expand_as(others), precision)
        if not all(_alike(by_unit) for by_unit in everywhere):
            raise _mixes("where it stands")
        for place in {0, block // 2, block - 1}:
            others[place] = unit[0]
            beside_others = _seen(critic, loss, others, precision)
            if not all(torch.equal(one[place], two[place]) for one, two in zip(everywhere, beside_others, strict=True)):
                raise _mixes("the others")
    values = torch.randn(_VALUES, *everywhere[0].shape[2:], generator=rng, device=device).mul_(4)
    if not all(_alike(_slope(loss, value.repeat(block * views, *[1] * value.dim()))) for value in values):
        raise _mixes("where it stands")
    _known.add(case)


def check_statistic(statistic: Statistic, shape: tuple[int, ...], block: int) -> None:
    """Passes if a record has the same slot and the same row, bit for bit, at every place of a block of records.

    Args:
        statistic: as it will be asked of patients.
        shape: of a record.
        block: records in a block.

    Raises:
        VerificationError: it does not.
    """
    rng = torch.Generator().manual_seed(0)
    record, others = (torch.rand(n, *shape, generator=rng).mul_(2).sub_(1) for n in (1, block))
    labels = torch.zeros(block, dtype=torch.int64)
    everywhere = statistic.placed(record.expand_as(others).contiguous(), labels)
    if not all(_alike(part) for part in everywhere):
        raise _mixes("where it stands")
    for place in {0, block // 2, block - 1}:
        others[place] = record[0]
        beside_others = statistic.placed(others, labels)
        if not all(torch.equal(one[place], two[place]) for one, two in zip(everywhere, beside_others, strict=True)):
            raise _mixes("the others")


def _seen(critic: BookKeepingModule, loss: Loss, units: Tensor, precision: AbstractContextManager[Any]) -> list[Tensor]:
    """All that is computed for units [N, V, ...] before it is added up: tensors [N, ...]."""
    count, views = units.shape[:2]
    labels = torch.zeros(count * views, dtype=torch.int64, device=units.device)
    with precision:
        answers = critic(units.flatten(0, 1).contiguous(), labels)
    answers = answers.float()
    found = [answers.detach()]
    for layer, inputs, b in critic.seen(loss.real(answers)):
        with torch.no_grad():
            bounds = [bound for part in RULES[type(layer)](layer, inputs, b, views) for bound in part[1:3]]
        found += [inputs, b, *bounds]
    return [tensor.unflatten(0, (count, -1)) for tensor in found]


def _slope(loss: Loss, answers: Tensor) -> Tensor:
    answers.requires_grad_(True)
    return torch.autograd.grad(loss.real(answers).sum(), answers)[0]


def _alike(rows: Tensor) -> bool:
    return torch.equal(rows, rows[:1].expand_as(rows))


def _mixes(what: str) -> VerificationError:
    problem = f"is not private: what it computes for a record depends on {what} in a batch"
    hint = "use another device or version of torch"
    return VerificationError("this machine's arithmetic", problem, hint, code=Code.UNAVAILABLE)
