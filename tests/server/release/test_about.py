"""What a data set says of itself is what the generator's file states, and no more."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from silogan import __version__
from silogan.common.errors import UsageError
from silogan.common.models.weights import generator_weights
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.release.about import DIGITAL_SOURCE_TYPE, Guarantee, parse_splits
from silogan.server.release.generator import load_generator, release, save_generator
from tests.server.release.outputs.pictures import about


def test_the_guarantee_is_that_of_the_plan(make_study: Callable[..., Study], tmp_path: Path) -> None:
    study = make_study(privacy={"epsilon": 30.0, "delta": 1e-6})
    weights = generator_weights(initial_weights(study))
    save_generator(study, weights, tmp_path / GENERATOR_FILE)
    for generator in (load_generator(tmp_path / GENERATOR_FILE), release(study, weights)):
        assert generator.guarantee == Guarantee(30.0, 1e-6, "record")
        facts = generator.about(1).facts()
        assert "for each record of each hospital: ε at most 30 at δ = 1e-06" in facts["privacy"]
        assert (facts["epsilon"], facts["delta"], facts["unit"]) == ("30.0", "1e-06", "record")


def test_without_privacy_no_guarantee_is_stated(make_study: Callable[..., Study]) -> None:
    study = make_study(privacy={"enabled": False})
    generator = release(study, generator_weights(initial_weights(study)))
    assert generator.guarantee is None
    facts = generator.about(1).facts()
    assert facts["privacy"] == "not stated"
    assert not {"epsilon", "delta", "unit"} & facts.keys()


def test_epsilon_is_rounded_up() -> None:
    assert "ε at most 1.231 at" in str(Guarantee(1.2301, 1e-5, "patient"))


def test_facts_are_single_lines() -> None:
    facts = about(3).facts()
    assert facts["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert facts["software"] == f"SiloGAN {__version__}"
    assert all(said and said.isprintable() for said in facts.values())


@given(some.integers(0, 10**6), some.integers(0, 100), some.integers(0, 100))
def test_splits_hold_every_record_once(count: int, first: int, second: int) -> None:
    val, test = min(first, second), abs(first - second)
    sizes = parse_splits(f"{100 - val - test},{val},{test}", count)
    assert sum(sizes) == count
    assert min(sizes) >= 0
    assert abs(sizes[1] - count * val / 100) < 1
    assert abs(sizes[2] - count * test / 100) < 1


def test_without_splits_all_are_for_training() -> None:
    assert parse_splits(None, 7) == (7, 0, 0)
    with pytest.raises(UsageError):
        parse_splits("100", 7)
