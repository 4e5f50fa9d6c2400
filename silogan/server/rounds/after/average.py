"""The moving average of the generator, which is what a run releases."""

from dataclasses import replace

from silogan.common.models.weights import generator_weights, moving_average
from silogan.server.rounds.after.base import EndedRound
from silogan.server.rounds.checkpoint import Checkpoint


def average(ended: EndedRound, state: Checkpoint) -> Checkpoint:
    """Averages from the first round's generator on, not from the random one before it."""
    generator, decay = generator_weights(state.weights), ended.study.scenario.federation.ema_decay
    return replace(state, ema=moving_average(ended.before.ema, generator, decay) if ended.before.round else generator)
