"""The collapse guard: detects collapse from generated images alone, and rolls back to a healthy round.

A collapsed generator makes the same image again and again. A losing generator is recognised by the discriminator every
time, and learns nothing more from it. Both are visible in images that the server generates.

Privacy:
    Uses only the networks, which the sites have released under their plans: post-processing, never real data.
    Discarded rounds stay charged; the guard never changes the plan's number of rounds.
"""

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch

from silogan.common.config.scenario import Guard
from silogan.common.errors import FederationError
from silogan.common.models.losses import reality
from silogan.common.models.weights import AVERAGE, Weights, networks, part_of, under, without
from silogan.common.wire.study import Study
from silogan.server.rounds.after.base import EndedRound
from silogan.server.rounds.checkpoint import Checkpoint

_IMAGES_PER_CLASS = 48
_SEED = 2027
_MARGIN = 1.5


class Vitals(NamedTuple):
    """The health of a pair of networks.

    Attributes:
        variety: standard deviation of a pixel over generated images of one class, root mean square over pixels and
            classes; images are in [-1, 1], so it is in [0, 1].
        fake_accuracy: share of generated images that the discriminator tells to be generated, in [0, 1]. The server
            computes it from the weights: nothing that a site says of itself is believed.
    """

    variety: float
    fake_accuracy: float


@torch.inference_mode()
def vitals(study: Study, weights: Weights) -> Vitals:
    """Measures both networks' `weights` on images of fixed latent vectors, equally many of each class."""
    gan = networks(study.scenario.model, study.schema, weights)
    classes = study.schema.num_classes if gan.generator.conditional else 1
    rng = torch.Generator().manual_seed(_SEED)
    z = torch.randn(classes * _IMAGES_PER_CLASS, gan.generator.latent_dim, generator=rng)
    labels = torch.arange(classes).repeat_interleave(_IMAGES_PER_CLASS) if gan.generator.conditional else None
    images = gan.generator(z, labels)
    told = reality(gan.discriminator(images, labels)) < 0
    of_class = images.view(classes, _IMAGES_PER_CLASS, -1)
    return Vitals(float(of_class.var(dim=1, correction=0).mean().sqrt()), float(told.float().mean()))


@dataclass(frozen=True)
class GuardState:
    """The guard's state between rounds; part of a checkpoint.

    Attributes:
        healthy_round: the last round that was well by a margin, to which a rollback leads.
        bad_rounds: how many rounds in a row were not.
        rollbacks: how often it went back.
        fresh: whether the next round begins with new optimizers, being the first after a rollback.
    """

    healthy_round: int = 0
    bad_rounds: int = 0
    rollbacks: int = 0
    fresh: bool = False

    def to_dict(self) -> dict[str, float]:
        """As plain values."""
        return asdict(self)

    def lr_factor(self, settings: Guard | None) -> float:
        """What the generator's learning rate is multiplied by after the rollbacks so far, in (0, 1].

        A generator collapses where it outruns the discriminator, which then must not be slowed too.
        """
        return 1.0 if settings is None else settings.lr_factor**self.rollbacks


def judge(settings: Guard, state: GuardState, number: int, found: Vitals) -> GuardState:
    """The guard's state after round `number`, in which the networks were as `found`.

    Where `rollbacks` has grown, the caller goes back to the weights of `healthy_round`.

    Raises:
        FederationError: it has gone back as often as it may.
    """
    bad = not (found.variety >= settings.variety and found.fake_accuracy <= settings.fake_accuracy)  # NaN is bad
    if not bad:
        # do not return to a state that is close to collapse
        well = found.variety >= _MARGIN * settings.variety
        return replace(state, healthy_round=number if well else state.healthy_round, bad_rounds=0, fresh=False)
    if state.bad_rounds + 1 < settings.patience:
        return replace(state, bad_rounds=state.bad_rounds + 1, fresh=False)
    if state.rollbacks == settings.rollbacks:
        raise FederationError(
            f"round {number}",
            f"training goes wrong again after {state.rollbacks} rollbacks (variety "
            f"{found.variety:.2f}, D's accuracy on fakes {found.fake_accuracy:.2f})",
            "start a run with lower training.lr_generator and lr_discriminator; the rounds spent stay charged",
        )
    return replace(state, bad_rounds=0, rollbacks=state.rollbacks + 1, fresh=True)


def watch(ended: EndedRound, state: Checkpoint) -> Checkpoint:
    """The state with its measured health; after a rollback the weights are older ones."""
    settings, found = ended.study.scenario.training.guard, vitals(ended.study, state.weights)
    event = {**state.event, **found._asdict()}
    if settings is None:
        return replace(state, event=event)
    before = GuardState(**ended.before.guard)
    after = judge(settings, before, state.round, found)
    healthy = state.healthy or _together(ended.before)  # what the first round began with is well
    if after.rollbacks > before.rollbacks:
        event["rolled_back_to"] = after.healthy_round
        weights, ema = without(healthy, AVERAGE), part_of(healthy, AVERAGE)
        return replace(state, weights=weights, ema=ema, server={}, guard=after.to_dict(), healthy=healthy, event=event)
    if after.healthy_round == state.round:
        healthy = _together(state)
    return replace(state, guard=after.to_dict(), healthy=healthy, event=event)


def _together(state: Checkpoint) -> Weights:
    """What `Checkpoint.healthy` holds of a state."""
    return {**state.weights, **under(AVERAGE, state.ema)}
