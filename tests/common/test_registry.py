"""A wrong name is answered with the nearest right one."""

import pytest

from silogan.common.errors import ConfigError
from silogan.common.registry import lookup, nearest

LOSSES = {"hinge": 1, "wasserstein": 2}


def test_a_registered_name_gives_its_entry() -> None:
    assert lookup(LOSSES, "hinge", "training.loss") == 1


def test_a_misspelt_name_gets_the_nearest_and_the_key() -> None:
    with pytest.raises(ConfigError) as caught:
        lookup(LOSSES, "wassersteen", "training.loss")
    assert str(caught.value) == "training.loss: unknown value 'wassersteen'; did you mean 'wasserstein'?"


def test_a_name_like_no_other_gets_them_all() -> None:
    with pytest.raises(ConfigError, match=r"unknown value 'zzz'; use one of hinge, wasserstein$"):
        lookup(LOSSES, "zzz", "training.loss")


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [("epsilom", ["epsilon", "delta"], "epsilon"), ("zzz", ["epsilon"], None), ("epsilon", [], None)],
)
def test_nearest_is_the_most_alike_or_none(name: str, known: list[str], expected: str | None) -> None:
    assert nearest(name, known) == expected
