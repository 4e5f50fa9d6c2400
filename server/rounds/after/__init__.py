"""The steps after a round's replies were combined: one file each, in the order of `AFTER_ROUND`.

Whatever stands before `events.record` is in the checkpoint; whatever stands after it is not missed if the server dies
before it comes to that.
"""

from server.rounds.after import average, events, guard, samples, server_training
from server.rounds.after.base import AfterRound, EndedRound

__all__ = ["AFTER_ROUND", "AfterRound", "EndedRound"]

AFTER_ROUND: tuple[AfterRound, ...] = (
    server_training.train,
    average.average,
    events.describe,
    guard.watch,
    events.record,
    samples.draw,
)
