"""The rules of aggregation bear what they promise to, and are what the literature says they are."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.serverapp.strategy.multikrum import select_multikrum
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.config.scenario import Federation, parse_scenario
from silogan.common.errors import ConfigError, FederationError
from silogan.common.models.weights import Weights
from silogan.server.rounds.aggregation import RULES, check_aggregation
from silogan.server.rounds.aggregation.trimmed_mean import trimmed_mean

FLOATS = st.floats(-1e6, 1e6, width=32)
VECTORS = st.lists(FLOATS, min_size=3, max_size=3)
REFERENCE: Weights = {"generator.w": torch.zeros(2), "discriminator.b": torch.ones(1)}
ROBUST = [("median", 0), ("trimmed_mean", 1), ("krum", 1)]


def weights(vector: list[float]) -> Weights:
    return {"generator.w": torch.tensor(vector[:2]).float(), "discriminator.b": torch.tensor(vector[2:]).float()}


def vector(found: Weights) -> np.ndarray:
    assert found.keys() == REFERENCE.keys()
    assert all(found[name].dtype == sent.dtype and found[name].shape == sent.shape for name, sent in REFERENCE.items())
    return torch.cat([found[name] for name in REFERENCE]).numpy()


def combine(rule: str, byzantine: int, replies: list[list[float]], public: float = 1.0) -> np.ndarray:
    settings = Federation.model_validate({"aggregation": rule, "byzantine": byzantine})
    aggregation = RULES[rule](REFERENCE, settings)
    for reply in replies:
        aggregation.add(weights(reply), public)
    return vector(aggregation.value())


@pytest.mark.parametrize(("rule", "byzantine"), ROBUST[:2])
@given(data=st.data())
def test_the_order_of_the_replies_does_not_matter(rule: str, byzantine: int, data: st.DataObject) -> None:
    replies = data.draw(st.lists(VECTORS, min_size=3, max_size=7))
    shuffled = data.draw(st.permutations(replies))
    assert combine(rule, byzantine, replies).tobytes() == combine(rule, byzantine, shuffled).tobytes()


@given(data=st.data())
def test_krum_does_not_depend_on_the_order_where_one_reply_is_best(data: st.DataObject) -> None:
    best = [0.0, 0.0, 0.0]
    others = [[1.0, 0, 0], [-1.1, 0, 0], [0, 1.2, 0], [0, -9.0, 30.0]]
    assert combine("krum", 1, data.draw(st.permutations([best, *others]))).tolist() == best


@pytest.mark.parametrize(("rule", "byzantine"), ROBUST)
@given(
    honest=st.lists(VECTORS, min_size=4, max_size=6),
    hostile=st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=3, max_size=3),
    place=st.integers(0, 4),
)
def test_one_hostile_reply_leaves_every_coordinate_between_honest_values(
    rule: str, byzantine: int, honest: list[list[float]], hostile: list[float], place: int
) -> None:
    if rule == "krum":  # it promises to pick a close reply only where the hostile one is not among the honest
        hostile = [2.0**127, *hostile[1:]]
    found = combine(rule, byzantine, [*honest[:place], hostile, *honest[place:]])
    values = np.array(honest, np.float32)
    assert (found >= values.min(axis=0)).all()
    assert (found <= values.max(axis=0)).all()


@given(st.lists(VECTORS, min_size=1, max_size=8))
def test_the_median_is_numpys(replies: list[list[float]]) -> None:
    expected = np.median(np.array(replies, np.float64), axis=0).astype(np.float32)
    np.testing.assert_array_equal(combine("median", 0, replies), expected)


@given(st.integers(0, 3), st.data())
def test_the_trimmed_mean_is_numpys(byzantine: int, data: st.DataObject) -> None:
    replies = data.draw(st.lists(VECTORS, min_size=2 * byzantine + 1, max_size=9))
    kept = np.sort(np.array(replies, np.float64), axis=0)[byzantine : len(replies) - byzantine]
    np.testing.assert_allclose(combine("trimmed_mean", byzantine, replies), kept.mean(axis=0), rtol=1e-6, atol=1e-9)


@given(st.integers(0, 2), st.data())
def test_krum_returns_the_reply_with_the_lowest_score(byzantine: int, data: st.DataObject) -> None:
    replies = data.draw(st.lists(VECTORS, min_size=2 * byzantine + 3, max_size=9))
    found = combine("krum", byzantine, replies)
    values = np.array(replies, np.float64)
    distances = np.square(values[:, None] - values[None]).sum(axis=2)
    nearest = len(replies) - byzantine - 2
    scores = [np.sort(np.delete(row, index))[:nearest].sum() for index, row in enumerate(distances)]
    chosen = [index for index, reply in enumerate(values) if np.array_equal(found, reply.astype(np.float32))]
    assert chosen, "not one of the replies"
    assert min(scores[index] for index in chosen) <= min(scores) * (1 + 1e-9) + 1e-9


def test_krum_chooses_as_flowers_does_where_that_is_exact() -> None:
    drawn = np.random.default_rng(7).normal(size=(50, 7, 3)).astype(np.float32)
    for replies in drawn:
        records = [RecordDict({"arrays": ArrayRecord({"w": Array(reply.astype(np.float64))})}) for reply in replies]
        chosen: Any = select_multikrum(records, num_malicious_nodes=2, num_nodes_to_select=1)[0]["arrays"]
        np.testing.assert_array_equal(combine("krum", 2, replies.tolist()), chosen["w"].numpy().astype(np.float32))


def test_krum_sees_updates_that_are_small_beside_the_weights() -> None:
    """In float32, ‖x‖² + ‖y‖² - 2x·y of these is rounding error alone."""
    sent: Weights = {"generator.w": torch.full((4,), 1000.0)}
    krum = RULES["krum"](sent, Federation(aggregation="krum", byzantine=1))
    for step in (-2, -1, 0, 1, 200):
        krum.add({"generator.w": sent["generator.w"] + step * 2.0**-13}, 1.0)
    moved = (krum.value()["generator.w"] - 1000) * 2**13
    assert moved.tolist() == [-1.0] * 4


@pytest.mark.parametrize(("rule", "byzantine"), ROBUST)
def test_public_weights_do_not_enter(rule: str, byzantine: int) -> None:
    settings = Federation.model_validate({"aggregation": rule, "byzantine": byzantine})
    aggregation = RULES[rule](REFERENCE, settings)
    replies = [[0.0, 1, 2], [1, 2, 4], [2, 4, 5], [3, 3, 3], [9, 9, 9]]
    for number, reply in enumerate(replies):
        aggregation.add(weights(reply), 10.0**number)
    np.testing.assert_array_equal(vector(aggregation.value()), combine(rule, byzantine, replies))


@pytest.mark.parametrize(
    ("rule", "byzantine", "needed"),
    [
        ("median", 0, 1),
        ("median", 1, 3),
        ("trimmed_mean", 0, 1),
        ("trimmed_mean", 2, 5),
        ("krum", 0, 3),
        ("krum", 1, 5),
    ],
)
def test_too_few_replies_are_an_error_and_enough_are_not(rule: str, byzantine: int, needed: int) -> None:
    replies = [[float(number), 0, 0] for number in range(needed)]
    combine(rule, byzantine, replies)
    with pytest.raises(FederationError, match=f"aggregation={rule} with byzantine={byzantine} needs {needed} sites"):
        combine(rule, byzantine, replies[1:])


def test_the_trimmed_mean_of_a_tensor() -> None:
    values = torch.tensor([[5.0, 1], [1, 2], [3, 30], [-100, 4]], dtype=torch.float64)
    assert trimmed_mean(values, 1).tolist() == [2.0, 3.0]
    assert trimmed_mean(values, 0).tolist() == [-22.75, 9.25]


def check(federation: dict[str, Any], count: int) -> None:
    check_aggregation(parse_scenario({"name": "x", "sites": {"count": count}, "federation": federation}))


@pytest.mark.parametrize(
    ("federation", "count", "words"),
    [
        ({"aggregation": "krum", "byzantine": 1}, 4, "aggregation=krum with byzantine=1 needs 5 sites (n >= 2f + 3)"),
        ({"aggregation": "krum"}, 2, "needs 3 sites"),
        ({"aggregation": "trimmed_mean", "byzantine": 2}, 4, "needs 5 sites (n > 2f), and sites.count=4"),
        ({"aggregation": "median", "byzantine": 2}, 4, "needs 5 sites (n > 2f)"),
        ({"byzantine": 1}, 4, "byzantine=1 needs aggregation=median, trimmed_mean or krum, not mean"),
        ({"aggregation": "median", "weights": "declared_size"}, 4, "weights=declared_size needs aggregation=mean"),
        ({"aggregation": "medium"}, 4, "federation.aggregation: unknown value 'medium'; did you mean 'median'?"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(federation: dict[str, Any], count: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(federation, count)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("federation", "count"),
    [
        ({"aggregation": "krum", "byzantine": 1}, 5),
        ({"aggregation": "krum"}, 3),
        ({"aggregation": "trimmed_mean", "byzantine": 2}, 5),
        ({"aggregation": "median", "byzantine": 2}, 5),
        ({"aggregation": "median"}, 1),
        ({"weights": "declared_size", "min_cosine": -1}, 1),
    ],
)
def test_a_rule_with_just_enough_sites_is_accepted(federation: dict[str, Any], count: int) -> None:
    check(federation, count)


def test_a_rule_holds_its_replies_if_it_says_so_and_only_then() -> None:
    for name, rule in RULES.items():
        replies = [weights([float(number), 0, 0]) for number in range(5)]
        held = [weakref.ref(reply["generator.w"]) for reply in replies]
        one = rule(REFERENCE, Federation(aggregation=name))
        while replies:
            one.add(replies.pop(), 1.0)
        assert any(reference() is not None for reference in held) == rule.holds_replies, name
