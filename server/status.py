"""How a federation stands, as plain facts: for people, for scripts and for metrics."""

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from common.errors import FederationError
from common.study import Study
from common.supervise import running
from server.checkpoint import Checkpoint
from server.coordinator import Coordinator
from server.events import read_events


def status(coordinator: Coordinator) -> dict[str, Any]:
    """Programs that run, certificate, hospitals and runs; nothing in it comes from a patient."""
    services = running(coordinator.folder)
    certificates = coordinator.authority.status()
    nodes: dict[int, str] = {}
    if services:
        with suppress(FederationError):  # it is just being started
            nodes = coordinator.control.nodes()
    return {
        "services": services,
        "certificate": {"days_left": certificates.days_left, "warnings": list(certificates.warnings)},
        "sites": [
            {
                "name": site.name,
                "declared_size": site.declared_size,
                "status": nodes.get(site.node, "unknown") if site.node else "not told to the SuperLink yet",
            }
            for site in coordinator.enrolment.all().values()
        ],
        "runs": [_run(coordinator, name) for name in coordinator.runs.all()],
    }


def _run(coordinator: Coordinator, name: str) -> dict[str, Any]:
    submission, folder = coordinator.runs.get(name), coordinator.runs.path(name)
    study, checkpoint, events = Study.load(folder), Checkpoint.latest(folder), read_events(folder)
    rounds, reached = study.scenario.training.rounds, 0 if checkpoint is None else checkpoint.round
    last = events[-1] if events else {}
    seconds = [event["seconds"] for event in events[-5:] if "seconds" in event]
    left = (rounds - reached) * sum(seconds) / len(seconds) if seconds and submission.state == "running" else None
    facts = asdict(submission)
    return {
        "name": name,
        **{key: facts[key] for key in ("state", "attempts", "problem")},
        "round": reached,
        "rounds": rounds,
        "answered": last.get("sites_replied", 0),
        "refused": [refusal["site"] for refusal in last.get("sites_refused", [])],
        "epsilon": (last.get("epsilon") or {}).get("max"),
        "seconds_left": left,
        "ledger_heads": {} if checkpoint is None else checkpoint.ledger_heads,
    }
