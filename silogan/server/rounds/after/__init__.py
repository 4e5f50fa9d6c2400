"""The steps after a round's replies were combined: one file each, in the order of `AFTER_ROUND`.

The results of steps before `events.record` are in the checkpoint; later steps may be lost if the server dies before
them.
"""

from silogan.server.rounds.after import average, events, guard, samples, server_training
from silogan.server.rounds.after.base import AfterRound, EndedRound

__all__ = ["AFTER_ROUND", "AfterRound", "EndedRound"]

AFTER_ROUND: tuple[AfterRound, ...] = (
    server_training.train,
    average.average,
    events.describe,
    guard.watch,
    events.record,
    samples.draw,
)
