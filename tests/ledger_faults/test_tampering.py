"""Faults of the ledger's content: no round goes on from them, and `silogan audit` names each with exit code 6.

fault                                               test
--------------------------------------------------- --------------------------------------------------------------------
older copy of the ledger restored                   test_older_copy_is_refused_and_named
row edited, deleted or signed with another key      test_what_was_done_to_the_ledger_is_refused_and_named
last row deleted                                    test_older_copy_is_refused_and_named (by whoever knows its head)
the site's key swapped                              test_swapped_key_is_refused_and_named
entry dated back                                    test_entry_dated_back_with_the_key_is_named
all of the above, in a process of its own           test_audit_of_several_ledgers_names_each
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from silogan import cli
from silogan.client.ledger.audit import THE_LEDGER, audit
from silogan.client.ledger.chain import Chain, read_entries
from silogan.client.ledger.keys import SiteKey
from silogan.client.node.node import Node
from silogan.common.errors import VerificationError
from silogan.common.wire.messages import Reply
from silogan.common.wire.study import Study
from tests.ledger_faults.hospital import STEPS, Hospital, assert_clean, assert_one_line, assert_refused, cost, tamper

ROOT = Path(__file__).resolve().parents[2]
OTHER_KEY = SiteKey(Ed25519PrivateKey.generate())
# 1 opens, 2 approves; 3 reserves and 4 settles round 1; 5 reserves and 6 settles round 2
LAST = 6


def silogan_audit(*paths: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and findings of the command, in this process: importing everything anew takes seconds."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["silogan", "audit", *map(str, paths), "--json"])
        with pytest.raises(SystemExit) as end:
            cli.main()
    return int(end.value.code or 0), json.loads(out.getvalue())


def assert_named(path: Path, entry: int, problem: str) -> None:
    code, found = silogan_audit(path)
    assert code == 6
    assert not found["ok"]
    assert [one for one in found["findings"] if one["entry"] == entry and problem in one["problem"]], found["findings"]


@pytest.fixture
def replies(hospital: Hospital, study: Study) -> list[Reply]:
    """Two rounds were done; nothing is wrong yet."""
    done = [hospital.round(study, number) for number in (1, 2)]
    assert len(read_entries(hospital.path)) == LAST
    assert_clean(hospital)
    return done


# --- the end cut off -------------------------------------------------------------------------------------------------


def last_row_deleted(path: Path) -> None:
    tamper(path, f"DELETE FROM entries WHERE seq = {LAST}")  # noqa: S608


def last_round_deleted(path: Path) -> None:
    tamper(path, f"DELETE FROM entries WHERE seq >= {LAST - 1}")  # noqa: S608


CUTS = pytest.mark.parametrize("how", ["backup", "last row deleted", "last round deleted"])


def cut(hospital: Hospital, study: Study, how: str) -> str:
    """Two rounds, after which the ledger loses its end; the head that it had."""
    hospital.round(study, 1)
    backup = hospital.path.read_bytes()
    head = hospital.round(study, 2).ledger_head
    if how == "backup":
        hospital.path.write_bytes(backup)
    else:
        (last_row_deleted if how == "last row deleted" else last_round_deleted)(hospital.path)
    return head


@CUTS
@pytest.mark.parametrize("seen_by", ["server", "site"])
def test_older_copy_is_refused_and_named(
    hospital: Hospital, study: Study, how: str, seen_by: str, tmp_path: Path
) -> None:
    head = cut(hospital, study, how)
    assert_clean(hospital)  # the file itself cannot show it
    assert [one.entry for one in audit(hospital.path, known_heads=[head]).findings] == [THE_LEDGER]
    assert_named(hospital.run_folder(study, tmp_path / "run", head=head, rounds=2), THE_LEDGER, "others have seen")
    site, known = hospital.site(study), ""
    if seen_by == "server":
        shutil.rmtree(site.state_folder)
        known = head
    assert_refused(
        hospital,
        lambda seen: hospital.round_of(seen.site(site), 3, known_head=known),
        VerificationError,
        match="older copy",
    )
    assert "reserve" not in hospital.kinds()[5:]


def test_whole_ledger_is_clean_beside_what_the_coordinator_knows(
    hospital: Hospital, study: Study, replies: list[Reply], tmp_path: Path
) -> None:
    """Otherwise the findings above could come from how the run's folder is made."""
    folder = hospital.run_folder(study, tmp_path / "run", head=replies[-1].ledger_head, rounds=2)
    code, found = silogan_audit(folder, hospital.path)
    assert (code, found["ok"]) == (0, True)
    assert [cohort["epsilon_prv"] for cohort in found["cohorts"]] == [cost(2 * STEPS)] * 2


# --- rows ------------------------------------------------------------------------------------------------------------


def sql(*statements: str) -> Callable[[Path], None]:
    return lambda path: tamper(path, *statements)


def signed_anew(key: SiteKey, *, change: Callable[[list[dict[str, Any]]], object] = list) -> Callable[[Path], None]:
    """Somebody with a key, who mends every hash and signs every entry."""

    def rewrite(path: Path) -> None:
        bodies = [json.loads(entry.body) for entry in read_entries(path)]
        change(bodies)
        path.unlink()
        with Chain(path, key).transaction() as chain:
            for body in bodies:
                chain.append(body)

    return rewrite


def dated_back(bodies: list[dict[str, Any]]) -> None:
    bodies[4]["created"] = "1999-12-31T00:00:00+00:00"


TAMPERING: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "steps lowered": (
        sql("""UPDATE entries SET body = replace(body, '"steps":2', '"steps":0')"""),
        3,
        "changed",
    ),
    "space added to the last row": (sql(f"UPDATE entries SET body = body || ' ' WHERE seq = {LAST}"), LAST, "changed"),  # noqa: S608
    "dated back": (
        sql("UPDATE entries SET body = json_set(body, '$.created', '1999-12-31T00:00:00+00:00') WHERE seq = 5"),
        5,
        "changed",
    ),
    "budget raised": (
        sql("UPDATE entries SET body = json_set(body, '$.policy.epsilon', 99.0) WHERE seq = 1"),
        1,
        "changed",
    ),
    "approval of more noise": (
        sql("UPDATE entries SET body = json_set(body, '$.plan.training.noise_multiplier', 1.0) WHERE seq = 2"),
        2,
        "changed",
    ),
    "middle row deleted": (sql("DELETE FROM entries WHERE seq = 3"), 3, "does not follow"),
    "first row deleted": (sql("DELETE FROM entries WHERE seq = 1"), 1, "does not follow"),
    "charge deleted and renumbered": (
        sql("DELETE FROM entries WHERE seq IN (3, 4)", "UPDATE entries SET seq = seq - 2 WHERE seq > 4"),
        3,
        "does not follow",
    ),
    "last row signed for another": (
        sql(f"UPDATE entries SET signature = (SELECT signature FROM entries WHERE seq = 3) WHERE seq = {LAST}"),  # noqa: S608
        LAST,
        "not signed",
    ),
    "all rows deleted": (sql("DELETE FROM entries"), THE_LEDGER, "holds no entry"),
    "signed with another key": (signed_anew(OTHER_KEY), 1, "not signed"),
    "dated back and signed with another key": (signed_anew(OTHER_KEY, change=dated_back), 5, "older"),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_what_was_done_to_the_ledger_is_refused_and_named(
    hospital: Hospital, study: Study, replies: list[Reply], name: str
) -> None:
    change, entry, problem = TAMPERING[name]
    site = hospital.site(study)
    change(hospital.path)
    assert_refused(hospital, lambda seen: hospital.round_of(seen.site(site), 3), VerificationError, written=False)
    assert_named(hospital.path, entry, problem)


def test_entry_dated_back_with_the_key_is_named(hospital: Hospital, study: Study, replies: list[Reply]) -> None:
    signed_anew(hospital.node.key, change=dated_back)(hospital.path)
    assert_named(hospital.path, 5, "older than the entry before it")


def test_rewriting_with_the_site_s_key_and_nothing_changed_is_no_finding(
    hospital: Hospital, study: Study, replies: list[Reply]
) -> None:
    """Otherwise what was dated back could be found for how it was made."""
    signed_anew(hospital.node.key)(hospital.path)
    assert_clean(hospital)


def test_ledger_written_anew_for_another_key_is_named_by_whoever_knows_the_site_s(
    hospital: Hospital, study: Study, replies: list[Reply], tmp_path: Path
) -> None:
    signed_anew(OTHER_KEY, change=lambda bodies: bodies[0].update(key=OTHER_KEY.public))(hospital.path)
    assert audit(hospital.path).findings == ()  # the file alone believes its own key
    folder = hospital.run_folder(study, tmp_path / "run", head=replies[-1].ledger_head, rounds=2)
    assert_named(folder, 1, "not the site's")
    assert_named(folder, THE_LEDGER, "others have seen")


def test_swapped_key_is_refused_and_named(
    hospital: Hospital, study: Study, replies: list[Reply], tmp_path: Path
) -> None:
    site = hospital.site(study)
    key = hospital.node.folder / "site.key"
    key.unlink()
    SiteKey.create(key)
    with pytest.raises(VerificationError, match="not signed by this site's key") as caught:
        Node(hospital.node.folder).register.all()
    assert_one_line(caught.value)
    assert_refused(
        hospital,
        lambda seen: hospital.round_of(seen.site(site), 3),
        VerificationError,
        match="not signed by this site's key",
        written=False,
    )
    folder = hospital.run_folder(study, tmp_path / "run", head=replies[-1].ledger_head, rounds=2)
    assert_named(folder, 1, "not the site's")
    assert len(read_entries(hospital.path)) == LAST


def test_audit_of_several_ledgers_names_each(
    hospital: Hospital, study: Study, replies: list[Reply], tmp_path: Path
) -> None:
    paths: list[Path] = []
    for number, (change, _, _) in enumerate(TAMPERING.values()):
        paths.append(tmp_path / f"ledger-{number}.sqlite")
        paths[-1].write_bytes(hospital.path.read_bytes())
        change(paths[-1])
    command = [sys.executable, "-m", "silogan", "audit", *map(str, paths), str(hospital.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 6, done.stderr
    assert done.stderr.count("\n") == 1
    for path, (_, entry, problem) in zip(paths, TAMPERING.values(), strict=True):
        where = f"entry {entry}" if entry else "the ledger"
        said = [line for line in done.stdout.splitlines() if line.startswith(f"{path.stem}: {where} ")]
        assert [line for line in said if problem in line], (path.stem, said)
    assert f"{hospital.path.stem}: " not in done.stdout
