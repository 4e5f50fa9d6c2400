"""The status of a federation, as plain values for people, scripts and metrics.

Whatever is damaged, the rest is reported: what cannot be read is a line among the `problems`, or the `problem` of its
    run.
"""

import time
from dataclasses import asdict
from typing import Any

from silogan.common.errors import SiloganError, reason
from silogan.common.operations.supervise import running
from silogan.common.wire.study import Study
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.enrolment import EnrolledSite
from silogan.server.operations.nodes import NodeFacts
from silogan.server.operations.submission import Submission
from silogan.server.rounds.events import Event, read_events
from silogan.server.rounds.mark import mark

SILENT_SECONDS = 40.0
"""A node that works is heard of every 30 seconds; Flower calls it online for twice as long."""


def status(coordinator: Coordinator) -> dict[str, Any]:
    """Running services, certificate, hospitals and runs; nothing in it comes from patients' data."""
    problems: list[str] = []
    services = running(coordinator.folder)
    nodes: dict[int, NodeFacts] | None = None
    if services:
        try:
            nodes = coordinator.control.nodes()
        except SiloganError as error:  # it is just being started, or its database is damaged
            problems.append(str(error))
    certificate = _certificate(coordinator, problems)
    try:
        enrolled = list(coordinator.enrolment.all().values())
    except SiloganError as error:
        enrolled = []
        problems.append(str(error))
    runs = coordinator.runs.all().items()
    return {
        "services": services,
        "certificate": certificate,
        "sites": [_site(site, nodes) for site in enrolled],
        "runs": [_run(coordinator, name, submission) for name, submission in runs],
        "problems": problems,
    }


def _certificate(coordinator: Coordinator, problems: list[str]) -> dict[str, Any]:
    try:
        found = coordinator.authority.status()
    except SiloganError as error:
        problems.append(str(error))
        return {"days_left": None, "warnings": []}
    return {"days_left": found.days_left, "warnings": list(found.warnings)}


def _site(site: EnrolledSite, nodes: dict[int, NodeFacts] | None) -> dict[str, Any]:
    """A hospital; `heard` is when its node was last heard of, or since when it is offline (seconds since 1970)."""
    node = (nodes or {}).get(site.node)
    heard = None if node is None else node.heard
    if not site.public_key:
        found = "removed"
    elif not site.node:
        found = "not registered with the SuperLink yet"
    elif nodes is None:
        found = "unknown: the SuperLink does not answer"
    elif node is None:
        found = "unknown to the SuperLink: will be registered again within 10 s, or by `silogan server repair`"
    elif node.status == "online" and heard is not None and time.time() - heard > SILENT_SECONDS:
        found = "silent"
    else:
        found = node.status
    return {"name": site.name, "declared_size": site.declared_size, "status": found, "heard": heard}


def _run(coordinator: Coordinator, name: str, submission: Submission) -> dict[str, Any]:
    facts = asdict(submission)
    about: dict[str, Any] = {"name": name, **{key: facts[key] for key in ("state", "attempts", "problem")}}
    try:
        return about | _progress(coordinator, name, submission)
    except (SiloganError, OSError) as error:
        damage = reason(error)
    nothing: dict[str, Any] = {"round": 0, "rounds": None, **_last({}), "seconds_left": None, "ledger_heads": {}}
    return {**about, "problem": _both(submission.problem, damage), **nothing}


def _progress(coordinator: Coordinator, name: str, submission: Submission) -> dict[str, Any]:
    folder = coordinator.runs.path(name)
    found, damage = mark(folder)
    rounds = Study.load(folder).scenario.training.rounds
    events = [event for event in read_events(folder) if event.get("event") != "phase"]
    seconds = [event["seconds"] for event in events[-5:] if isinstance(event.get("seconds"), int | float)]
    left = (rounds - found.round) * sum(seconds) / len(seconds) if seconds and submission.state == "running" else None
    return {
        "problem": _both(submission.problem, damage),
        "round": found.round,
        "rounds": rounds,
        **_last(events[-1] if events else {}),
        "seconds_left": left,
        "ledger_heads": found.ledger_heads,
    }


def _both(problem: str, damage: str) -> str:
    """What ended a run, and what is damaged now."""
    return "; ".join(one for one in (problem, damage) if one)


def _last(event: Event) -> dict[str, Any]:
    """Who answered in a round, who refused, and what it has cost by then; nothing where the line does not say it."""
    try:
        answered, refused = int(event["sites_replied"]), [str(one["site"]) for one in event["sites_refused"]]
        epsilon = None if event["epsilon"] is None else float(event["epsilon"]["max"])
    except (KeyError, TypeError, ValueError):
        return {"answered": 0, "refused": [], "epsilon": None}
    return {"answered": answered, "refused": refused, "epsilon": epsilon}
