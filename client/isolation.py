"""Whether this machine keeps the rows of a block apart: asked once, before patients are in one.

The proof (`client/mechanism/noisy_sum.py`) assumes that in a block of a fixed shape a unit's part depends on the unit
and its place alone, bit for bit. It is the libraries' and the processor's doing, so it is tried on the machine that
works, with the network's own layers, random weights and made-up records.
"""

import copy
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from client.mechanism.dpsgd import BookKeepingModule, bag_mean
from common.errors import Code, VerificationError

_known: set[tuple[object, ...]] = set()


def check_isolation(
    discriminator: nn.Module,
    shape: tuple[int, ...],
    *,
    block: int,
    views: int,
    precision: AbstractContextManager[object],
) -> None:
    """Passes if the others in a block do not change what a unit adds; remembers what has passed.

    Args:
        discriminator: whose layers are tried; it stays as it is.
        shape: of a record.
        block: units in a block.
        views: records of a unit.
        precision: context of the passes.

    Raises:
        VerificationError: they do.
    """
    layers = tuple(str(layer) for layer in discriminator.modules())
    device = next(discriminator.parameters()).device
    with precision:
        rounded = torch.is_autocast_enabled(device.type)
    case = (layers, shape, block, views, str(device), torch.get_num_threads(), rounded)
    if case in _known:
        return
    critic = BookKeepingModule(copy.deepcopy(discriminator).requires_grad_(True))
    rng = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in critic.trained:
            parameter.normal_(0, 0.1, generator=rng)
    records = torch.randn(block * views, *shape, generator=rng, device=device)
    for place in {0, block // 2, block - 1}:
        own = slice(place * views, (place + 1) * views)
        others = torch.full_like(records, 0.5)
        others[own] = records[own]
        parts = [_part(critic, those, place, views, precision) for those in (records, others)]
        if not torch.equal(*parts):
            problem = "mixes the records of a batch: what one adds depends on the others"
            mend = "use another device or version of torch"
            raise VerificationError("this machine's arithmetic", problem, mend, code=Code.UNAVAILABLE)
    _known.add(case)


def _part(
    critic: BookKeepingModule, records: Tensor, place: int, views: int, precision: AbstractContextManager[object]
) -> Tensor:
    """What the unit at a place adds where it alone is counted."""
    with precision:
        answers = critic(records, torch.zeros(len(records), dtype=torch.int64, device=records.device))
    answers = answers.float().view(-1, views)
    critic.add(
        bag_mean(answers, torch.ones_like(answers, dtype=torch.bool)),
        1.0,
        torch.arange(len(answers), device=records.device) == place,
    )
    return critic.take()
