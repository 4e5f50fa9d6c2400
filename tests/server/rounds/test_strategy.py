"""Rounds with sites that answer rightly, wrongly, twice, late or not at all."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict

from silogan.common.errors import Code, FederationError, PrivacyRefusal
from silogan.common.wire.messages import Reply, Weights, pack
from silogan.common.wire.refusals import public_error, refusal_record
from silogan.common.wire.study import Study
from silogan.server.rounds.after.guard import vitals
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import read_events
from silogan.server.rounds.strategy import FederatedGAN

Answer = Callable[..., RecordDict | Error | None]
ALL = [1, 2, 3]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silogan.server.rounds.strategy._POLL_SECONDS", 0.001)


def latest(run_dir: Path) -> Checkpoint:
    checkpoint = Checkpoint.latest(run_dir)
    assert checkpoint is not None
    return checkpoint


def refused(run_dir: Path) -> list[dict[str, str]]:
    """Who was refused in the last round, and why."""
    return read_events(run_dir)[-1]["sites_refused"]


def shifted(start: Checkpoint, by: float) -> Weights:
    return {name: tensor + by for name, tensor in start.weights.items()}


def assert_close(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)


def only(node: int, bad: Answer, others: Answer) -> Answer:
    """One node answers badly, the others as they do."""
    return lambda asked, *rest: (bad if asked == node else others)(asked, *rest)


# --- a round ---------------------------------------------------------------------------------------------------------


def test_every_site_is_asked_for_the_same_round_of_the_same_plan(
    federate: Callable[..., Any], honest: Callable[..., Answer], study: Study
) -> None:
    grid = federate(honest(), rounds=3)
    assert [(node, instruction.round) for node, instruction in grid.asked] == list(
        itertools.chain.from_iterable(((node, number) for node in ALL) for number in (1, 2, 3))
    )
    assert {(instruction.study_id, instruction.plan_id) for _, instruction in grid.asked} == {
        (study.study_id, study.plan.plan_id)
    }


def test_each_site_is_told_the_last_head_of_its_own_ledger_that_was_seen(
    federate: Callable[..., Any], honest: Callable[..., Answer]
) -> None:
    """The nodes' replies carry their round and node as heads."""
    grid = federate(honest(), rounds=3)
    seen = [(instruction.round, instruction.known_head[:2]) for _, instruction in grid.asked]
    assert seen == [(1, "")] * 3 + [(2, f"1{node}") for node in ALL] + [(3, f"2{node}") for node in ALL]


def test_what_was_averaged_is_sent_out_again(
    federate: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path
) -> None:
    """Nodes add 1, 2 and 3: two rounds move every weight by 2 + 2."""
    federate(honest(), rounds=2)
    assert_close(latest(run_dir).weights, shifted(start, 4.0))


def test_uniform_weights_count_every_site_alike(
    federate: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path
) -> None:
    federate(honest())
    assert_close(latest(run_dir).weights, shifted(start, 2.0))


def test_declared_sizes_weigh_the_sites(
    federate: Callable[..., Any],
    honest: Callable[..., Answer],
    make_study: Callable[..., Study],
    start: Checkpoint,
    run_dir: Path,
) -> None:
    """(100 · 1 + 200 · 2 + 300 · 3) / 600 = 7/3."""
    federate(honest(), of=make_study(federation={"weights": "declared_size"}))
    assert_close(latest(run_dir).weights, shifted(start, 7 / 3))


def test_the_average_does_not_depend_on_who_answers_first(
    federate: Callable[..., Any],
    honest: Callable[..., Answer],
    make_study: Callable[..., Study],
    start: Checkpoint,
    tmp_path: Path,
) -> None:
    """The sum of 1e20, 1 and -1e20 in double precision is 0 or 1 by its order."""
    study = make_study(federation={"max_update_norm": 1e30})
    found: list[dict[str, bytes]] = []
    for number, order in enumerate(itertools.permutations(range(3))):
        run_dir = tmp_path / str(number)
        (run_dir / "checkpoints").mkdir(parents=True)
        (run_dir / "samples").mkdir()
        federate(
            honest(shift=lambda node: {1: 1e20, 2: 1.0, 3: -1e20}[node]),
            of=study,
            into=run_dir,
            order=lambda replies, order=order: [replies[index] for index in order],
        )
        found.append({name: tensor.numpy().tobytes() for name, tensor in latest(run_dir).weights.items()})
    assert all(weights == found[0] for weights in found)


def test_the_generator_is_averaged_over_rounds(
    federate: Callable[..., Any],
    honest: Callable[..., Answer],
    make_study: Callable[..., Study],
    start: Checkpoint,
    run_dir: Path,
) -> None:
    """Decay 0.75 from the first round's weights, not from the random ones before it: 2, then 0.75·2 + 0.25·4, ..."""
    federate(honest(), rounds=3, of=make_study(federation={"ema_decay": 0.75}))
    expected = 0.75 * (0.75 * 2 + 0.25 * 4) + 0.25 * 6
    assert_close(latest(run_dir).ema, {name: tensor + expected for name, tensor in start.ema.items()})


def test_the_event_says_what_happened_and_nothing_else(
    federate: Callable[..., Any], honest: Callable[..., Answer], study: Study, start: Checkpoint, run_dir: Path
) -> None:
    federate(only(3, lambda *_: None, honest()), rounds=2)
    event = read_events(run_dir)[-1]
    spent = study.plan.epsilon_after("training", 2)
    moved = 1.5 * math.sqrt(sum(tensor.numel() for tensor in start.weights.values()))
    assert event == {
        "event": "round",
        "round": 2,
        "rounds": 4,
        "seconds": event["seconds"],
        "sites_replied": 2,
        "sites_refused": [],
        "quarantined": [],
        "epsilon": {"min": spent, "max": spent},
        "fake_accuracy": vitals(study, latest(run_dir).weights).fake_accuracy,
        "update_norm": pytest.approx(moved, rel=1e-5),
        "variety": event["variety"],
    }
    assert 0 <= event["variety"] <= 1
    assert 0 <= event["seconds"] < 60


def test_without_privacy_no_cost_is_told(
    federate: Callable[..., Any], honest: Callable[..., Answer], make_study: Callable[..., Study], run_dir: Path
) -> None:
    federate(honest(), of=make_study(privacy={"enabled": False}))
    assert read_events(run_dir)[-1]["epsilon"] is None


def test_every_round_leaves_a_checkpoint_with_its_event_and_the_ledger_heads(
    federate: Callable[..., Any], honest: Callable[..., Answer], study: Study, run_dir: Path
) -> None:
    def site_3_stays_away_in_round_2(node: int, instruction: Any, weights: Weights) -> Any:
        return None if (node, instruction.round) == (3, 2) else honest()(node, instruction, weights)

    federate(site_3_stays_away_in_round_2, rounds=2)
    checkpoint = latest(run_dir)
    assert (checkpoint.study_id, checkpoint.round) == (study.study_id, 2)
    assert checkpoint.event == read_events(run_dir)[-1]
    assert checkpoint.ledger_heads == {"site-1": "21" * 32, "site-2": "22" * 32, "site-3": "13" * 32}
    assert checkpoint.training_seconds >= sum(event["seconds"] for event in read_events(run_dir)) - 0.01


def test_a_resumed_run_goes_on_with_the_next_round(
    federate: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path, tmp_path: Path
) -> None:
    straight = tmp_path / "straight"
    (straight / "checkpoints").mkdir(parents=True)
    (straight / "samples").mkdir()
    federate(honest(), rounds=3, into=straight)

    federate(honest(), rounds=2)
    grid = federate(honest(), rounds=1, since=latest(run_dir))
    assert [instruction.round for _, instruction in grid.asked] == [3, 3, 3]
    assert [event["round"] for event in read_events(run_dir)] == [1, 2, 3]
    resumed, expected = latest(run_dir), latest(straight)
    assert resumed.round == 3
    for found, wanted in ((resumed.weights, expected.weights), (resumed.ema, expected.ema)):
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert resumed.event["epsilon"] == expected.event["epsilon"]


def test_sites_are_never_asked_to_evaluate(study: Study, start: Checkpoint, run_dir: Path) -> None:
    strategy = FederatedGAN(study, start, run_dir)
    assert list(strategy.configure_evaluate(1, ArrayRecord(), ConfigRecord(), None)) == []  # pyright: ignore[reportArgumentType]
    assert strategy.aggregate_evaluate(1, []) is None


# --- replies that are left out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"round": 2}, "answers another round"),
        ({"round": 0}, "has no valid round"),
        ({"phase": "statistics"}, "answers another round"),
        ({"round": 10**7}, "has no valid round"),
        ({"round": True}, "malformed header"),
        ({"site": "site-9"}, "comes from a node that is not this site's"),
        ({"site": ""}, "has no valid site name"),
        ({"site": "site-1"}, "comes from a node that is not this site's"),
        ({"steps": 3}, "malformed header"),
        ({"fake_accuracy": 0.5}, "malformed header"),
        ({"d_steps_per_g_step": 1}, "malformed header"),
        ({"ledger_head": "00"}, "has no valid ledger head"),
        ({"ledger_head": b"\x00"}, "malformed header"),
        ({"site": b"site-2"}, "malformed header"),
    ],
)
def test_a_wrong_header_is_left_out_and_told(
    federate: Callable[..., Any],
    honest: Callable[..., Answer],
    start: Checkpoint,
    run_dir: Path,
    changes: dict[str, Any],
    why: str,
) -> None:
    federate(only(2, honest(**changes), honest()))
    assert_close(latest(run_dir).weights, shifted(start, 2.0))  # of 1 and 3
    [entry] = refused(run_dir)
    assert entry["site"] == "node 2"
    assert why in entry["why"]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_weights_that_cannot_be_averaged_are_left_out_and_their_site_is_named(
    federate: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path, value: float
) -> None:
    federate(only(2, honest(shift=lambda _: value), honest()))
    assert_close(latest(run_dir).weights, shifted(start, 2.0))
    [entry] = refused(run_dir)
    assert entry["site"] == "site-2"
    assert ("not finite" if value != 1e30 else "by more than 1000") in entry["why"]
    assert latest(run_dir).ledger_heads.keys() == {"site-1", "site-3"}


HEADER = Reply("site-2", "training", 1, "").to_record({})["header"]
MALFORMED: dict[str, RecordDict] = {
    "nothing": RecordDict(),
    "no weights": RecordDict({"header": HEADER}),
    "no header": RecordDict({"weights": ArrayRecord()}),
    "other weights": RecordDict({"header": HEADER, "weights": ArrayRecord()}),
    "another header": RecordDict({"header": ArrayRecord(), "weights": ArrayRecord()}),
    "an empty refusal": RecordDict({"refusal": ConfigRecord()}),
    "a refusal of numbers": RecordDict({"refusal": ConfigRecord({"site": 1, "code": 5.5})}),
    "half a refusal": RecordDict({"refusal": ConfigRecord({"site": "site-2"})}),
    "a refusal that is arrays": RecordDict({"refusal": ArrayRecord()}),
    "a list for a code": RecordDict({"refusal": ConfigRecord({"site": "site-2", "code": ["budget"]})}),
    "an old refusal": RecordDict({"refusal": ConfigRecord({"site": "site-2", "exit_code": 5, "error": ["a", "b"]})}),
}


@pytest.mark.parametrize("record", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_reply_costs_the_others_nothing(
    federate: Callable[..., Any],
    honest: Callable[..., Answer],
    start: Checkpoint,
    run_dir: Path,
    record: RecordDict,
) -> None:
    federate(only(2, lambda *_: record, honest()))
    assert_close(latest(run_dir).weights, shifted(start, 2.0))
    assert len(refused(run_dir)) == 1


def test_a_second_reply_of_a_site_is_left_out(
    federate: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path
) -> None:
    federate(honest(), order=lambda replies: [replies[0], *replies])
    assert_close(latest(run_dir).weights, shifted(start, 2.0))
    assert "second reply in one round" in refused(run_dir)[0]["why"]


def test_one_site_alone_is_no_quorum_however_often_it_answers(
    federate: Callable[..., Any], honest: Callable[..., Answer]
) -> None:
    with pytest.raises(FederationError, match="1 usable replies of 3 sites, quorum is 2"):
        federate(honest(), order=lambda replies: [replies[0]] * 5)


def test_a_name_stays_with_its_node(
    federate: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path
) -> None:
    """In the second round nodes 1 and 2 come under each other's name."""

    def swap(node: int, instruction: Any, weights: Weights) -> RecordDict:
        name = {1: "site-2", 2: "site-1"}.get(node, "site-3") if instruction.round == 2 else f"site-{node}"
        return honest(site=name)(node, instruction, weights)

    with pytest.raises(FederationError, match="1 usable replies") as caught:
        federate(swap, rounds=2)
    assert "node 1: reply: comes from a node that is not this site's" in str(caught.value)
    assert latest(run_dir).round == 1


def test_a_site_that_went_away_is_told_by_its_node(
    federate: Callable[..., Any], honest: Callable[..., Answer], run_dir: Path
) -> None:
    federate(only(2, lambda *_: Error(3, "secret words of the site"), honest()))
    assert refused(run_dir) == [{"site": "node 2", "why": "site: sent no reply (code 3); see the site's log"}]


# --- quorum ----------------------------------------------------------------------------------------------------------


def refusing(code: Code) -> Answer:
    return lambda node, *_: refusal_record(f"site-{node}", code)


BUDGET, UNAVAILABLE = Code.BUDGET, Code.UNAVAILABLE


def test_a_refusing_site_costs_the_others_nothing(
    federate: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path
) -> None:
    federate(only(3, refusing(BUDGET), honest()))
    assert_close(latest(run_dir).weights, shifted(start, 1.5))
    assert refused(run_dir) == [{"site": "site-3", "why": str(public_error(BUDGET))}]


def test_without_a_quorum_the_round_fails_and_the_rounds_before_it_stand(
    federate: Callable[..., Any], honest: Callable[..., Answer], run_dir: Path
) -> None:
    def two_fail_in_round_2(node: int, instruction: Any, weights: Weights) -> Any:
        failing = instruction.round == 2 and node != 1
        return refusing(UNAVAILABLE)(node) if failing else honest()(node, instruction, weights)

    with pytest.raises(FederationError) as caught:
        federate(two_fail_in_round_2, rounds=3)
    assert caught.value.exit_code == 7
    assert "round 2: 1 usable replies of 3 sites, quorum is 2; site-2: site: cannot answer" in str(caught.value)
    assert latest(run_dir).round == 1
    assert [event["round"] for event in read_events(run_dir)] == [1]


def test_silence_of_all_fails(federate: Callable[..., Any], run_dir: Path) -> None:
    with pytest.raises(FederationError, match="0 usable replies of 3 sites"):
        federate(lambda *_: None)
    assert Checkpoint.latest(run_dir) is None


def test_a_quorum_that_privacy_forbids_is_a_refusal(
    federate: Callable[..., Any], honest: Callable[..., Answer], run_dir: Path
) -> None:
    with pytest.raises(PrivacyRefusal) as caught:
        federate(only(1, honest(), refusing(BUDGET)))
    assert caught.value.exit_code == 5
    assert "round 1: 2 sites refused: privacy budget: does not pay for the round" in str(caught.value)
    assert Checkpoint.latest(run_dir) is None


def test_a_quorum_that_other_faults_forbid_is_a_failure_though_a_site_refused(
    federate: Callable[..., Any], make_study: Callable[..., Study], honest: Callable[..., Answer]
) -> None:
    """Of three needed one refused for privacy and one has no data: without the refusal there would be no quorum."""
    answer = only(1, honest(), only(2, refusing(BUDGET), refusing(UNAVAILABLE)))
    with pytest.raises(FederationError):
        federate(answer, of=make_study(federation={"quorum": 3}))


@pytest.mark.parametrize(("quorum", "passes"), [(2, True), (3, False)])
def test_the_configured_quorum_counts(
    federate: Callable[..., Any],
    make_study: Callable[..., Study],
    honest: Callable[..., Answer],
    run_dir: Path,
    quorum: int,
    passes: bool,
) -> None:
    answer = only(3, lambda *_: None, honest())
    study = make_study(federation={"quorum": quorum})
    if passes:
        federate(answer, of=study)
        assert latest(run_dir).round == 1
    else:
        with pytest.raises(FederationError, match="2 usable replies of 3 sites, quorum is 3"):
            federate(answer, of=study)


# --- waiting for sites -----------------------------------------------------------------------------------------------


def test_too_few_nodes_fail_after_the_timeout_and_nobody_is_asked(
    make_grid: Callable[..., Any], honest: Callable[..., Answer], study: Study, start: Checkpoint, run_dir: Path
) -> None:
    grid = make_grid(honest(), nodes=[1])
    with pytest.raises(FederationError) as caught:
        FederatedGAN(study, start, run_dir).start(grid, pack(start.weights), num_rounds=1)
    assert caught.value.exit_code == 7
    assert "1 of 3 sites connected, quorum is 2" in str(caught.value)
    assert grid.asked == []


def test_after_the_timeout_a_quorum_of_nodes_is_enough(
    federate: Callable[..., Any], honest: Callable[..., Answer], start: Checkpoint, run_dir: Path
) -> None:
    federate(honest(), nodes=[1, 3])
    assert_close(latest(run_dir).weights, shifted(start, 2.0))


def test_the_first_round_waits_for_all_and_later_rounds_for_a_quorum(
    make_grid: Callable[..., Any],
    make_study: Callable[..., Study],
    honest: Callable[..., Answer],
    start: Checkpoint,
    run_dir: Path,
) -> None:
    grid = make_grid(honest(), nodes=[])
    seen = iter([[], [1], [2, 1], [3, 1, 2], [3, 1]])  # the last is what the second round finds
    grid.get_node_ids = lambda: next(seen)
    study = make_study(federation={"join_timeout": 60})
    FederatedGAN(study, start, run_dir).start(grid, pack(start.weights), num_rounds=2)
    assert [(instruction.round, node) for node, instruction in grid.asked] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 3)]


def test_messages_carry_one_copy_of_the_weights(
    make_grid: Callable[..., Any], honest: Callable[..., Answer], study: Study, start: Checkpoint, run_dir: Path
) -> None:
    packed = pack(start.weights)
    grid = make_grid(honest(), nodes=ALL)
    messages: list[Message] = list(
        FederatedGAN(study, replace(start, round=6), run_dir).configure_train(1, packed, ConfigRecord(), grid)
    )
    assert [message.metadata.dst_node_id for message in messages] == ALL
    assert {message.metadata.group_id for message in messages} == {"7"}
    assert all(message.content["weights"] is packed for message in messages)
