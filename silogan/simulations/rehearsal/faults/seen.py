"""Observations after a run: at the coordinator, at the hospitals, and in their ledgers."""

import json
import re
from pathlib import Path
from typing import Any

from silogan.client.ledger.chain import read_entries
from silogan.client.node.service import LOG_FILE
from silogan.common.operations.logs import is_line
from silogan.common.wire.run_folder import QUARANTINE_FILE
from silogan.simulations.rehearsal.federation import STEPS, Federation, Host

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 300  # characters of what is told


def rounds_of(events: Path) -> list[dict[str, Any]]:
    """The rounds that a run has completed, as it wrote them down."""
    return [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()] if events.exists() else []


def in_a_round(host: Host) -> bool:
    """Whether a hospital is at work: it has reserved a round, and not settled it."""
    ledger = read_entries(host.folder / "ledgers" / "digits.sqlite")
    return ledger[-1].content["kind"] == "reserve"


def refused(rounds: list[dict[str, Any]]) -> str:
    """Who was missing in which rounds, and why, at the coordinator."""
    reasons: dict[str, list[str]] = {}
    for event in rounds:
        for one in event["sites_refused"]:
            reasons.setdefault(f"{one['site']}: {one['why']}", []).append(str(event["round"]))
    return _short("; ".join(f"round {', '.join(numbers)}: {why}" for why, numbers in reasons.items()))


def warned(host: Host, since: str) -> str:
    """What the node itself warned of since a time (ISO 8601, UTC)."""
    late = [line for line in _log(host) if line["time"] >= since and line["level"] != "info"]
    return _short("; ".join(dict.fromkeys(f"{line['from']}: {line['message']}" for line in late)))


def last_words(host: Host) -> str:
    """The last that a node's programs said before it was stopped."""
    messages = [_COLOURS.sub("", line["message"]) for line in _log(host)]
    told = [message for message in messages if re.search(r"ERROR|ended with|refuse[sd]|rror:", message)]
    return _short("; ".join(dict.fromkeys(told or messages[-1:])))


def quarantined(federation: Federation) -> str:
    """Who is in quarantine in the last run that has any."""
    runs = federation.server.folder / "runs"
    files = sorted(runs.glob(f"*/{QUARANTINE_FILE}"), key=lambda path: path.stat().st_mtime)
    records = json.loads(files[-1].read_text(encoding="utf-8")) if files else {}
    names = [f"{site} after {len(one['violations'])} violations" for site, one in records.items() if one["quarantined"]]
    return f"in quarantine: {', '.join(names) or 'nobody'}"


def ledgers(federation: Federation, study_id: str, rounds: list[dict[str, Any]], steps: int = STEPS) -> str:
    """For each hospital the rounds that were averaged, settled, and reserved only, and whether that is exact.

    Exact: the audit finds nothing, what the coordinator has averaged is settled, and nothing was charged beyond what
    was asked for.

    Args:
        federation: has run it.
        study_id: of the run.
        rounds: that it has completed.
        steps: of a round.
    """
    averaged = _averaged(rounds, len(federation.hospitals))
    return ", ".join(
        _ledger(host, study_id, steps, len(rounds), count)
        for host, count in zip(federation.hospitals, averaged, strict=True)
    )


def _averaged(rounds: list[dict[str, Any]], sites: int) -> list[int]:
    """How many rounds of each site were averaged. Only the first site is ever away, and what it lacks is its own."""
    named = [[refusal["site"] for refusal in event["sites_refused"]] for event in rounds]
    others = [sum(f"site-{number}" not in names for names in named) for number in range(2, sites + 1)]
    return [sum(event["sites_replied"] for event in rounds) - sum(others), *others]


def _ledger(host: Host, study_id: str, steps: int, rounds: int, averaged: int) -> str:
    spent = json.loads(host.run("node", "status", str(host.folder), "--json"))["digits"]
    phases = [phase for run in spent["runs"] if run["study_id"] == study_id for phase in run["phases"]]
    settled, reserved = (sum(one[f"steps_{kind}"] for one in phases) // steps for kind in ("settled", "reserved"))
    audit = json.loads(host.run("audit", str(host.folder), "--json"))
    exact = audit["ok"] and settled >= averaged and settled + reserved <= rounds + 1
    verdict = "exact" if exact else "NOT EXACT"
    return f"{host.name}: {averaged} averaged, {settled} settled, {reserved} reserved, {verdict}"


def _log(host: Host) -> list[dict[str, Any]]:
    """A node's log. Lines that a full disk has cut are left out."""
    log = host.folder / LOG_FILE
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if is_line(line)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
