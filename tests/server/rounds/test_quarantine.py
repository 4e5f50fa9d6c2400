"""The file of violations: what it keeps, whom it takes out, and that it is never taken for empty."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.errors import UsageError, VerificationError
from silogan.server.rounds import quarantine as module
from silogan.server.rounds.quarantine import Quarantine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quarantine.json"


def offend(quarantine: Quarantine, site: str, times: int) -> None:
    for number in range(1, times + 1):
        quarantine.record(site, number, "reply: is not finite")


def test_the_last_violation_that_is_borne_puts_a_site_in_quarantine(path: Path) -> None:
    quarantine = Quarantine(path, after=3)
    offend(quarantine, "north", 2)
    offend(quarantine, "south", 1)
    assert quarantine.sites == frozenset()
    quarantine.record("north", 7, "reply: answers another round")
    assert quarantine.sites == {"north"}
    assert quarantine.violations() == {"north": 3, "south": 1}


def test_a_person_can_read_it(path: Path) -> None:
    quarantine = Quarantine(path, after=1)
    quarantine.record("Köln", 4, "reply: is not finite")
    content = path.read_text(encoding="utf-8")
    assert "Köln" in content
    assert len(content.splitlines()) > 5
    [entry] = json.loads(content)["Köln"]["violations"]
    assert (entry["round"], entry["what"], entry["pardoned"]) == (4, "reply: is not finite", False)
    assert entry["when"].endswith("+00:00")


def test_another_server_finds_what_the_first_wrote(path: Path) -> None:
    offend(Quarantine(path, after=3), "north", 2)
    again = Quarantine(path, after=3)
    assert again.sites == frozenset()
    again.record("north", 3, "reply: is not finite")
    assert Quarantine(path, after=3).sites == {"north"}


def test_quarantine_stays_though_more_violations_are_borne_later(path: Path) -> None:
    offend(Quarantine(path, after=1), "north", 1)
    assert Quarantine(path, after=100).sites == {"north"}


def test_a_readmitted_site_starts_anew_and_its_history_stays(path: Path) -> None:
    quarantine = Quarantine(path, after=2)
    offend(quarantine, "north", 2)
    Quarantine(path, after=2).readmit("north")  # by another process, while the server runs
    assert quarantine.sites == frozenset()
    assert quarantine.violations() == {}
    quarantine.record("north", 8, "reply: is not finite")
    assert quarantine.sites == frozenset()
    quarantine.record("north", 9, "reply: is not finite")
    assert quarantine.sites == {"north"}
    entries = json.loads(path.read_text())["north"]["violations"]
    assert [(entry["round"], entry["pardoned"]) for entry in entries] == [(1, True), (2, True), (8, False), (9, False)]


@pytest.mark.parametrize("site", ["south", "nobody"])
def test_only_a_site_in_quarantine_is_readmitted(path: Path, site: str) -> None:
    quarantine = Quarantine(path, after=2)
    offend(quarantine, "north", 2)
    offend(quarantine, "south", 1)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"site '{site}': is not in quarantine; choose one that is: north"):
        quarantine.readmit(site)
    assert path.read_bytes() == before


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "torn": lambda content: content[:-10],
    "not JSON": lambda _: b"north",
    "not text": lambda _: b"\xff\xfe\x00",
    "a list": lambda _: b"[]",
    "an unknown key": lambda content: content.replace(b"pardoned", b"forgiven"),
    "a missing key": lambda content: content.replace(b'"what"', b'"why"'),
    "another type": lambda content: content.replace(b"true", b'"no"'),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_an_error_and_is_left_as_it_is(path: Path, damage: Callable[[bytes], bytes]) -> None:
    quarantine = Quarantine(path, after=1)
    offend(quarantine, "north", 1)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    for use in (
        lambda: Quarantine(path, after=1),
        lambda: quarantine.sites,
        lambda: quarantine.record("north", 1, "x"),
        lambda: quarantine.readmit("north"),
    ):
        with pytest.raises(VerificationError, match=r"quarantine file 'quarantine\.json': is damaged"):
            use()
    assert path.read_bytes() == damaged


def test_what_cannot_be_written_is_an_error_and_costs_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine = Quarantine(path, after=2)
    offend(quarantine, "north", 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_bytes_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        quarantine.record("north", 2, "x")
    assert quarantine.violations() == {"north": 1}


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=12), st.integers(1, 5))
def test_a_site_is_out_exactly_when_its_own_violations_reach_the_limit(
    tmp_path_factory: pytest.TempPathFactory, offenders: list[str], after: int
) -> None:
    quarantine = Quarantine(tmp_path_factory.mktemp("violations") / "quarantine.json", after)
    for site in offenders:
        quarantine.record(site, 1, "reply: is not finite")
    assert quarantine.sites == {site for site in "abc" if offenders.count(site) >= after}
