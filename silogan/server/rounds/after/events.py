"""The event of a round, written together with the checkpoint."""

import time
from dataclasses import replace

from silogan.common.models.weights import distance
from silogan.server.rounds.after.base import EndedRound
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import append_event


def describe(ended: EndedRound, state: Checkpoint) -> Checkpoint:
    """The state with the round's event and time."""
    plan, seconds = ended.study.plan, time.monotonic() - ended.asked_at
    spent = plan.epsilon_after(plan.training.name, state.round)
    event = {
        "event": "round",
        "round": state.round,
        "rounds": ended.study.scenario.training.rounds,
        "seconds": round(seconds, 3),
        "sites_replied": ended.replied,
        "sites_refused": [{"site": site, "why": str(error)} for site, error in ended.refused],
        "quarantined": ended.quarantined,
        "epsilon": None if spent is None else {"min": spent, "max": spent},
        "update_norm": distance(state.weights, ended.before.weights),
    }
    return replace(state, event=event, training_seconds=ended.before.training_seconds + seconds)


def record(ended: EndedRound, state: Checkpoint) -> Checkpoint:
    """Writes the checkpoint, which holds the event too, then the line in `events.jsonl`."""
    state.save(ended.run_dir)
    append_event(ended.run_dir, state.event)
    return state
