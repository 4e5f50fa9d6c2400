"""YAML that somebody else wrote: plain values, within limits, and nothing that takes long to refuse."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.yaml_text import Excess, read_file, read_yaml, write_yaml

texts = st.text(max_size=20).filter(str.isprintable)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(plain)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert read_yaml(write_yaml(value)) == value


@pytest.mark.parametrize("text", ["1e5", "1E-5", "+2e3", "12", "1.5e3", "yes", "0x10", "1:30", "2024-01-01", "~"])
def test_a_text_that_looks_like_something_else_stays_a_text(text: str) -> None:
    assert read_yaml(write_yaml({"name": text})) == {"name": text}


def test_a_number_with_an_exponent_alone_is_a_number() -> None:
    assert read_yaml("[1e-5, 5E3, -1e0]") == [1e-5, 5000.0, -1.0]


TOO_MUCH: dict[str, tuple[str, str]] = {
    "anchor": ("a: &a [1]", "has an anchor or alias"),
    "a billion laughs": ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "has an anchor or alias"),
    "merge": ("a: {<<: *a}", "has an anchor or alias"),
    "nesting": ("[" * 21 + "]" * 21, "nested deeper than 20"),
    "nesting without an end": ("[" * 100_000, "nested deeper than 20"),
    "dashes": ("- " * 1000 + "x", "nested deeper than 20"),
    "length": ("#" * 1_000_001, "longer than 1000000 bytes"),
    "wide characters": ("ä" * 600_000, "longer than 1000000 bytes"),
    "number": ("9" * 5000, "has a value longer than 4096"),
    "text": (f"a: {'x' * 5000}", "has a value longer than 4096"),
    "keys": ("a: 1\nb: {c: 1, d: 2, c: 3}", "has key 'c' twice"),
    "values": ("[" + "1," * 100_000 + "1]", "has more than 50000 values"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_more_than_anybody_needs_is_refused(name: str, tmp_path: Path) -> None:
    text, problem = TOO_MUCH[name]
    with pytest.raises(Excess) as caught:
        read_yaml(text)
    assert problem in str(caught.value.problem)
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(Excess):
        read_yaml(read_file(tmp_path / "file.yaml"))


@pytest.mark.parametrize(
    "text",
    ["a: [", "\x00", "!!python/object:os.system {}", "2024-13-45", "!!int x", "{[1]: 2}", "--- 1\n--- 2", "\ud800"],
)
def test_what_is_no_plain_value_is_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)


def test_a_file_without_an_end_is_read_no_further_than_the_limit() -> None:
    with pytest.raises(Excess, match="longer than"):
        read_file(Path("/dev/zero"))


def test_a_hash_that_begins_like_a_number_is_a_text() -> None:
    """As any tool writes it: without quotes."""
    assert read_yaml("40e4dc69dd2774ad") == "40e4dc69dd2774ad"
    assert read_yaml("1e-5") == 1e-5
