"""Calls are compared with the shapes that docstrings state, in the whole suite."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from silogan.client.mechanism.noisy_sum import release
from tests import shapes
from tests.shapes import check_class, checked, claims


def join(a: Tensor, b: Tensor, size: int) -> Tensor:
    """Two of them beside each other.

    Args:
        a: float32[N, d], the first.
        b: float[N, ...]; any.
        size: a number.

    Returns:
        float32[size, 2], made anew.
    """
    del a, b
    return torch.zeros(size, 2)


def line(values: Tensor) -> Tensor:
    """What is said in a line: int64[n]."""
    return values


def test_claims_are_read_from_args_returns_and_a_line() -> None:
    found = claims(join.__doc__ or "", "Args", "Returns")
    assert found == {"a": ("float32", ("N", "d")), "b": ("float", ("N", "...")), "": ("float32", ("size", "2"))}
    assert claims(line.__doc__ or "", "Returns") == {"": ("int64", ("n",))}
    assert claims("Nothing of the kind, but float32[n] in the middle of it.", "Args", "Returns") == {}


@pytest.mark.parametrize(
    ("a", "b", "problem"),
    [
        (torch.zeros(3), torch.zeros(3), "a of join has the shape"),
        (torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3), "a of join is float64, not float32"),
        (torch.zeros(3, 2), torch.zeros(4), "b of join has the shape .* where N is 3"),
        (torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), "b of join is int64"),
    ],
)
def test_an_argument_that_is_not_as_claimed_fails(a: Tensor, b: Tensor, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        checked(join)(a, b, 5)


def test_what_is_as_claimed_passes() -> None:
    assert checked(join)(torch.zeros(3, 2), torch.zeros(3, 1, 1, dtype=torch.float64), size=5).shape == (5, 2)
    assert checked(line)(torch.arange(3)).shape == (3,)


def test_a_result_that_is_not_as_claimed_fails() -> None:
    with pytest.raises(AssertionError, match="the result of line is float32"):
        checked(line)(torch.zeros(3))


def test_attributes_of_a_class_are_compared() -> None:
    @dataclass
    class Pair:
        """Two that belong together.

        Attributes:
            first: float64[N].
            second: bool[N].
        """

        first: np.ndarray
        second: np.ndarray

    check_class(Pair)
    Pair(np.zeros(2), np.zeros(2, dtype=bool))
    with pytest.raises(AssertionError, match=r"second of .*Pair has the shape"):
        Pair(np.zeros(2), np.zeros(3, dtype=bool))


def test_the_product_is_compared() -> None:
    """Without this the suite might check nothing and nobody would know."""
    assert hasattr(release, "__wrapped__")
    assert len(shapes.CLAIMS) > 20
