"""The fault campaign's own eyes: what it takes from events, logs and ledgers, without a federation."""

import json
from pathlib import Path
from typing import Any

import pytest

from silogan.client.node.service import LOG_FILE
from silogan.simulations.rehearsal.faults import FAULTS, seen
from silogan.simulations.rehearsal.federation import Federation, Host


def event(number: int, replied: int, *missing: str) -> dict[str, Any]:
    return {
        "round": number,
        "sites_replied": replied,
        "sites_refused": [{"site": one, "why": "late"} for one in missing],
    }


def test_who_was_missing_is_told_once_for_all_rounds() -> None:
    rounds = [event(1, 3), event(2, 2, "site-1"), event(3, 2, "site-1"), event(4, 2, "site-2")]
    assert seen.refused(rounds) == "round 2, 3: site-1: late; round 4: site-2: late"


def test_rounds_averaged_are_counted_from_replies_where_a_site_was_never_asked() -> None:
    # in round 3 the first site was not even asked, so no refusal names it
    assert seen._averaged([event(1, 3), event(2, 2, "site-1"), event(3, 2)], 3) == [1, 3, 3]


@pytest.mark.parametrize(
    ("settled", "reserved", "audit", "verdict"),
    [
        (5, 0, True, "exact"),
        (4, 2, True, "exact"),  # killed twice, all of it charged
        (3, 1, True, "NOT EXACT"),  # the coordinator has averaged what the ledger never settled
        (5, 3, True, "NOT EXACT"),  # charged for more than was asked
        (5, 0, False, "NOT EXACT"),
    ],
)
def test_a_ledger_is_exact_only_if_all_holds(settled: int, reserved: int, audit: bool, verdict: str) -> None:
    class Hospital(Host):
        def run(self, *arguments: str) -> str:
            phase = {"steps_settled": settled * 10, "steps_reserved": reserved * 10}
            charged = {"study_id": "s", "phases": [phase]}
            return json.dumps({"ok": audit} if arguments[0] == "audit" else {"digits": {"runs": [charged]}})

    federation = Federation(Path(), Host("c", Path(), ""), [Hospital("hospital-1", Path(), "")], 1)
    rounds = [event(1, 1), event(2, 1), event(3, 1), event(4, 1), event(5, 0, "site-1"), event(6, 0, "site-1")]
    told = seen.ledgers(federation, "s", rounds, 10)
    assert told == f"hospital-1: 4 averaged, {settled} settled, {reserved} reserved, {verdict}"


def test_warnings_after_the_fault_and_the_last_words_are_read_from_the_log(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).parent.mkdir()
    lines = [
        {"time": "2026-01-01T00:00:01", "level": "warning", "from": "worker", "message": "before"},
        {"time": "2026-01-01T00:00:03", "level": "warning", "from": "worker", "message": "after"},
        {"time": "2026-01-01T00:00:04", "level": "info", "from": "supernode", "message": "\x1b[91mERROR\x1b[0m: no"},
    ]
    text = "\n".join([*map(json.dumps, lines), '{"time": "2026-01-01T00:00:05", "lev'])  # cut by a full disk
    (tmp_path / LOG_FILE).write_text(text)
    host = Host("hospital-1", tmp_path, "")
    assert seen.warned(host, "2026-01-01T00:00:02") == "worker: after"
    assert seen.last_words(host) == "ERROR: no"
    assert seen.last_words(Host("silent", tmp_path / "none", "")) == ""


def test_every_fault_says_what_it_is() -> None:
    assert len(FAULTS) == 25
    assert all(fault.__doc__ and name == name.lower() and "_" not in name for name, fault in FAULTS.items())
