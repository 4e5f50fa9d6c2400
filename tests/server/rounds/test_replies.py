"""What no honest site sends is left out, written down, and after a few times not asked for any more."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Error, RecordDict

from silogan.common.errors import Code, FederationError, VerificationError
from silogan.common.wire.messages import Reply, Weights
from silogan.common.wire.refusals import public_error, refusal_record
from silogan.common.wire.run_folder import QUARANTINE_FILE
from silogan.common.wire.study import Study
from silogan.server.rounds.aggregation import RULES
from silogan.server.rounds.aggregation.mean import WeightedMean
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import read_events
from silogan.server.rounds.quarantine import Quarantine

Answer = Callable[..., RecordDict | Error | None]
NAMES = {1: "site-1", 2: "site-2", 3: "site-3"}
HEADER = Reply("site-2", "training", 1, "").to_record({})["header"]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silogan.server.rounds.strategy._POLL_SECONDS", 0.001)


@pytest.fixture
def one_is_bad(federate: Callable[..., Any], honest: Callable[..., Answer]) -> Callable[..., Any]:
    """`one_is_bad(answer, ...)`: node 2 of three, all with proven names, answers so, the others honestly."""

    def run(bad: Answer, **options: Any) -> Any:
        good = honest()
        return federate(lambda node, *rest: (bad if node == 2 else good)(node, *rest), **{"names": NAMES, **options})

    return run


@pytest.fixture
def strict(make_study: Callable[..., Study]) -> Study:
    """Two violations are one too many."""
    return make_study(federation={"quarantine_after": 2})


def latest(run_dir: Path) -> Checkpoint:
    checkpoint = Checkpoint.latest(run_dir)
    assert checkpoint is not None
    return checkpoint


def violations(run_dir: Path) -> dict[str, int]:
    return Quarantine(run_dir / QUARANTINE_FILE, after=3).violations()


def refused(run_dir: Path) -> list[dict[str, str]]:
    return read_events(run_dir)[-1]["sites_refused"]


def moved(start: Checkpoint, run_dir: Path) -> float:
    """By how much the last average lies above the first weights: the same for every weight, to rounding."""
    [by] = {
        round(float(value), 3)
        for name, w in latest(run_dir).weights.items()
        for value in (w - start.weights[name]).view(-1)
    }
    return by


def asked(grid: Any) -> list[tuple[int, int]]:
    return [(instruction.round, node) for node, instruction in grid.asked]


# --- what is a violation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shift": lambda _: math.nan}, "is not finite"),
        ({"shift": lambda _: 1e30}, "moves the weights by more than 1000"),
        ({"shift": lambda _: 0.0}, "repeats weights that were sent before"),
        ({"round": 2}, "answers another round"),
        ({"round": 0}, "has no valid round"),
        ({"phase": "statistics"}, "answers another round"),
        ({"round": -1}, "has no valid round"),
        ({"ledger_head": "x" * 10_000_000}, "has no valid ledger head"),
        ({"steps": 3}, "malformed header"),
        ({"site": "site-1"}, "comes from a node that is not this site's"),
        ({"site": "site-9"}, "comes from a node that is not this site's"),
        ({"fake_accuracy": 0.5}, "malformed header"),
        ({"site": "\x1b[2Jsite-2"}, "has no valid site name"),
    ],
)
def test_what_no_honest_site_sends_is_an_violation_of_the_node_that_sent_it(
    one_is_bad: Callable[..., Any],
    honest: Callable[..., Answer],
    start: Checkpoint,
    run_dir: Path,
    changes: dict[str, Any],
    why: str,
) -> None:
    one_is_bad(honest(**changes))
    assert violations(run_dir) == {"site-2": 1}
    assert moved(start, run_dir) == 2.0  # of 1 and 3
    [entry] = refused(run_dir)
    assert entry["site"] == "site-2"
    assert why in entry["why"]
    kept = json.loads((run_dir / QUARANTINE_FILE).read_text())["site-2"]["violations"][0]
    assert kept["round"] == 1
    assert why in kept["what"]


@pytest.mark.parametrize(
    "record",
    [
        RecordDict(),
        RecordDict({"header": HEADER}),
        RecordDict({"header": HEADER, "weights": ArrayRecord()}),
        RecordDict({"refusal": ConfigRecord()}),
        RecordDict({"refusal": ArrayRecord()}),
        RecordDict({"refusal": ConfigRecord({"site": "site-2", "code": "the malignant class is empty"})}),
        RecordDict({"refusal": ConfigRecord({"site": "site-2", "code": "budget", "why": "secret words"})}),
    ],
    ids=[
        "nothing",
        "no weights",
        "other weights",
        "an empty refusal",
        "no refusal",
        "no code",
        "a refusal with a text",
    ],
)
def test_what_is_no_reply_is_an_violation(one_is_bad: Callable[..., Any], run_dir: Path, record: RecordDict) -> None:
    one_is_bad(lambda *_: record)
    assert violations(run_dir) == {"site-2": 1}
    [entry] = refused(run_dir)
    assert entry["site"] == "site-2"
    assert "malignant" not in entry["why"]
    assert "secret words" not in entry["why"]


@pytest.mark.parametrize("says", ["site-1", "hospital", "", "\x1b[2J", "x" * 10_000])
def test_a_refusal_is_its_nodes_whatever_name_it_gives(
    one_is_bad: Callable[..., Any], run_dir: Path, says: str
) -> None:
    one_is_bad(lambda *_: refusal_record(says, Code.BUDGET))
    assert violations(run_dir) == {}
    assert refused(run_dir) == [{"site": "site-2", "why": str(public_error(Code.BUDGET))}]


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("site-2", "site-2"),
        ("site-1", "node 2"),  # another node is
        ("hospital", "node 2"),
        ("", "node 2"),
        ("\x1b[2J", "node 2"),
        ("x" * 10_000, "node 2"),
    ],
)
def test_in_a_simulation_a_refusal_is_believed_a_name_of_the_roster_that_is_free(
    one_is_bad: Callable[..., Any], run_dir: Path, says: str, told: str
) -> None:
    one_is_bad(lambda *_: refusal_record(says, Code.BUDGET), names={})
    assert [entry["site"] for entry in refused(run_dir)] == [told]


def test_in_a_simulation_a_node_that_replied_refuses_under_the_same_name(
    one_is_bad: Callable[..., Any], honest: Callable[..., Answer], run_dir: Path
) -> None:
    def then_refuses(node: int, instruction: Any, weights: Weights) -> Any:
        return honest()(node, instruction, weights) if instruction.round == 1 else refusal_record("site-3", Code.BUDGET)

    one_is_bad(then_refuses, names={}, rounds=2)
    assert [entry["site"] for entry in refused(run_dir)] == ["site-2"]


def test_another_shape_is_an_violation(
    one_is_bad: Callable[..., Any], honest: Callable[..., Answer], run_dir: Path
) -> None:
    def reshaped(node: int, instruction: Any, weights: Weights) -> Any:
        return honest()(node, instruction, {name: tensor.unsqueeze(0) for name, tensor in weights.items()})

    one_is_bad(reshaped)
    assert violations(run_dir) == {"site-2": 1}


def test_a_second_reply_is_an_violation(
    federate: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path
) -> None:
    federate(honest(), names=NAMES, order=lambda replies: [*replies, replies[1]])
    assert violations(run_dir) == {"site-2": 1}
    assert "second reply in one round" in refused(run_dir)[0]["why"]
    assert moved(start, run_dir) == 2.0


@pytest.mark.parametrize(
    "answer",
    [
        lambda *_: None,
        lambda *_: Error(3, "lost"),
        *(lambda node, *_, code=code: refusal_record(f"site-{node}", code) for code in Code),
    ],
    ids=["silence", "error", *Code],
)
def test_refusals_errors_and_silence_are_none(one_is_bad: Callable[..., Any], run_dir: Path, answer: Answer) -> None:
    one_is_bad(answer, rounds=4)
    assert violations(run_dir) == {}
    assert not (run_dir / QUARANTINE_FILE).exists()
    assert {entry["site"] for entry in refused(run_dir)} <= {"site-2"}


def test_a_node_without_a_proven_name_is_not_asked(
    federate: Callable[..., Any], honest: Callable[..., Answer], run_dir: Path
) -> None:
    grid = federate(honest(), nodes=[1, 2, 3, 9], names={**NAMES, 8: "site-1"})
    assert [node for _, node in asked(grid)] == [1, 2, 3]
    assert read_events(run_dir)[-1]["sites_replied"] == 3


def test_in_a_simulation_only_a_node_that_has_shown_its_name_offends(
    one_is_bad: Callable[..., Any], honest: Callable[..., Answer], run_dir: Path
) -> None:
    def bad(node: int, instruction: Any, weights: Weights) -> Any:
        changes = {1: {"round": "1"}, 2: {}, 3: {"site": "site-1"}}[instruction.round]
        return honest(**changes)(node, instruction, weights)

    one_is_bad(bad, rounds=1, names={})
    assert violations(run_dir) == {}
    one_is_bad(bad, rounds=3, names={})
    assert violations(run_dir) == {"site-2": 1}
    assert refused(run_dir)[0]["site"] == "node 2"


# --- replays ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorder(honest: Callable[..., Answer]) -> Callable[..., Answer]:
    """`recorder(of)`: sends the weights that node `of` sent in the round before, in its own name; honest at first."""
    past: dict[tuple[int, int], Weights] = {}

    def make(of: int) -> Answer:
        def answer(node: int, instruction: Any, weights: Weights) -> Any:
            sent = {name: w + (of + 4e-7 * of**2) for name, w in weights.items()}
            past[of, instruction.round] = sent
            old = past.get((of, instruction.round - 1))
            if old is None:
                return honest()(node, instruction, weights)
            return Reply(f"site-{node}", "training", instruction.round, "").to_record(old)

        return answer

    return make


@pytest.mark.parametrize("of", [1, 2, 3])
def test_weights_that_a_site_sent_before_are_a_replay(
    one_is_bad: Callable[..., Any], recorder: Callable[..., Answer], run_dir: Path, of: int
) -> None:
    one_is_bad(recorder(of), rounds=2)
    assert violations(run_dir) == {"site-2": 1}
    assert "repeats weights" in refused(run_dir)[0]["why"]


def test_a_replay_is_known_after_a_restart(
    one_is_bad: Callable[..., Any], recorder: Callable[..., Answer], run_dir: Path
) -> None:
    bad = recorder(3)
    one_is_bad(bad)
    assert violations(run_dir) == {}
    one_is_bad(bad, since=latest(run_dir))
    assert violations(run_dir) == {"site-2": 1}


def test_a_round_that_is_done_again_holds_no_reply_against_its_site(
    one_is_bad: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path
) -> None:
    """Killed after the replies and before the checkpoint, seeded sites send the same weights again."""
    one_is_bad(honest())
    one_is_bad(honest(), since=start)
    assert violations(run_dir) == {}


def test_the_weights_of_an_earlier_round_are_a_replay(
    one_is_bad: Callable[..., Any], start: Checkpoint, run_dir: Path, honest: Callable[..., Answer]
) -> None:
    def bad(node: int, instruction: Any, weights: Weights) -> Any:
        if instruction.round == 1:
            return honest()(node, instruction, weights)
        return Reply("site-2", "training", instruction.round, "").to_record(start.weights)

    one_is_bad(bad, rounds=2)
    assert violations(run_dir) == {"site-2": 1}


# --- direction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("least", "found"), [(0.0, {"site-2": 1}), (None, {})])
def test_an_update_against_the_others_is_an_violation_where_it_is_looked_for(
    one_is_bad: Callable[..., Any],
    honest: Callable[..., Answer],
    make_study: Callable[..., Study],
    start: Checkpoint,
    run_dir: Path,
    least: float | None,
    found: dict[str, int],
) -> None:
    one_is_bad(honest(shift=lambda _: -2.0), of=make_study(federation={"min_cosine": least}))
    assert violations(run_dir) == found
    assert moved(start, run_dir) == (2.0 if found else 0.667)
    whys = [entry["why"] for entry in refused(run_dir)]
    assert all("points away from the other sites' updates (cosine -1.00, at least 0 is asked)" in why for why in whys)
    assert len(whys) == len(found)


def test_two_updates_have_no_majority(
    one_is_bad: Callable[..., Any],
    honest: Callable[..., Answer],
    make_study: Callable[..., Study],
    start: Checkpoint,
    run_dir: Path,
) -> None:
    one_is_bad(honest(shift=lambda _: -2.0), of=make_study(federation={"min_cosine": 0.0}), nodes=[1, 2])
    assert violations(run_dir) == {}
    assert moved(start, run_dir) == -0.5


def test_without_it_no_reply_is_held_back(
    federate: Callable[..., Any], honest: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second message is fetched only when the first reply's weights are in the mean."""
    order: list[str] = []

    class Watched(WeightedMean):
        def add(self, weights: Weights, weight: float) -> None:
            order.append("added")
            super().add(weights, weight)

    def fetched(replies: list[Any]) -> Iterator[Any]:
        for reply in replies:
            order.append("fetched")
            yield reply

    monkeypatch.setitem(RULES, "mean", Watched)
    federate(honest(), order=fetched)
    assert order == ["fetched", "added"] * 3


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_after_the_last_violation_a_site_is_not_asked(
    one_is_bad: Callable[..., Any], honest: Callable[..., Answer], strict: Study, run_dir: Path, start: Checkpoint
) -> None:
    grid = one_is_bad(honest(shift=lambda _: math.nan), of=strict, rounds=3)
    assert asked(grid) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 3)]
    events = read_events(run_dir)
    assert [event["quarantined"] for event in events] == [[], ["site-2"], ["site-2"]]
    assert [len(event["sites_refused"]) for event in events] == [1, 1, 0]
    assert moved(start, run_dir) == 6.0


@pytest.mark.parametrize("names", [NAMES, {}], ids=["named", "unnamed"])
def test_quarantine_outlives_the_server_and_ends_by_readmission(
    one_is_bad: Callable[..., Any],
    honest: Callable[..., Answer],
    strict: Study,
    run_dir: Path,
    names: dict[int, str],
) -> None:
    one_is_bad(honest(shift=lambda _: math.nan), of=strict, rounds=2, names=names)
    mended = honest()
    grid = one_is_bad(mended, of=strict, since=latest(run_dir), names=names)
    assert [node for _, node in asked(grid)] == (
        [1, 3] if names else [1, 2, 3]
    )  # a bare node shows its name by replying
    assert read_events(run_dir)[-1]["sites_replied"] == 2
    if not names:
        assert "comes from a site in quarantine" in refused(run_dir)[0]["why"]
    assert violations(run_dir) == {"site-2": 2}

    Quarantine(run_dir / QUARANTINE_FILE, after=2).readmit("site-2")
    grid = one_is_bad(mended, of=strict, since=latest(run_dir), names=names)
    assert [node for _, node in asked(grid)] == [1, 2, 3]
    assert (read_events(run_dir)[-1]["sites_replied"], read_events(run_dir)[-1]["quarantined"]) == (3, [])


def test_a_quorum_that_quarantine_forbids_names_who_is_in_it(
    one_is_bad: Callable[..., Any], honest: Callable[..., Answer], make_study: Callable[..., Study], run_dir: Path
) -> None:
    all_three = make_study(federation={"quarantine_after": 1, "quorum": 3, "join_timeout": 600})
    with pytest.raises(
        FederationError, match=r"2 usable replies of 3 sites.*; in quarantine: site-2; repair the sites"
    ):
        one_is_bad(honest(shift=lambda _: math.nan), of=all_three)
    with pytest.raises(FederationError, match="2 of 3 sites are left, quorum is 3; in quarantine: site-2; readmit"):
        one_is_bad(honest(), of=all_three)


def test_a_damaged_quarantine_stops_the_server(
    one_is_bad: Callable[..., Any], honest: Callable[..., Answer], run_dir: Path
) -> None:
    (run_dir / QUARANTINE_FILE).write_text("{")
    with pytest.raises(VerificationError, match="is damaged"):
        one_is_bad(honest())
    assert Checkpoint.latest(run_dir) is None


# --- robust aggregation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "expected"), [("median", 2.0), ("trimmed_mean", 2.0)])
def test_the_configured_rule_combines(
    federate: Callable[..., Any],
    honest: Callable[..., Answer],
    make_study: Callable[..., Study],
    start: Checkpoint,
    run_dir: Path,
    rule: str,
    expected: float,
) -> None:
    study = make_study(federation={"aggregation": rule, "byzantine": 1})
    federate(honest(shift=lambda node: {1: 1.0, 2: 2.0, 3: 20.0}[node]), of=study)
    assert moved(start, run_dir) == expected


def test_fewer_replies_than_the_rule_needs_fail_the_round(
    one_is_bad: Callable[..., Any], make_study: Callable[..., Study], run_dir: Path
) -> None:
    study = make_study(federation={"aggregation": "median", "byzantine": 1})
    with pytest.raises(
        FederationError, match=r"aggregation=median with byzantine=1 needs 3 sites \(n > 2f\): 2 replied"
    ):
        one_is_bad(lambda *_: None, of=study)
    assert Checkpoint.latest(run_dir) is None


def test_the_run_remembers_a_bounded_number_of_digests(
    federate: Callable[..., Any],
    honest: Callable[..., Answer],
    start: Checkpoint,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("silogan.server.rounds.strategy._REMEMBERED", 5)
    federate(honest(), since=replace(start, digests=["0" * 64]), rounds=2)
    digests = latest(run_dir).digests
    assert len(digests) == len(set(digests)) == 5
    assert "0" * 64 not in digests
    assert all(torch.isfinite(tensor).all() for tensor in latest(run_dir).weights.values())
