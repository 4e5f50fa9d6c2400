"""Descriptions and tables that mean harm, given to the real command: one line within 2 s and 500 MB."""

from typing import Any

import pytest
import yaml

from silogan.simulations.fuzz.trial import listing
from tests.hostile.inputs import Desk
from tests.hostile.test_inputs_yaml import BOMB, LOOP

DESCRIBE = ("data", "describe", "columns.yaml")
DRAFT = ("data", "describe", "ward.csv", "--draft")
AGE = {"type": "integer", "min": 0, "max": 120}


def described(**keys: Any) -> str:
    return yaml.safe_dump({"columns": {"age": AGE}, **keys}, sort_keys=False)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        LOOP,
        "columns: " + "{a: " * 30_000,
        described(columns={f"c{n}": AGE for n in range(4000)}),
        described(columns={"x": {"type": "categorical", "values": list(range(20_000))}}),
        described(columns={f"c{n}": {"type": "categorical", "values": list(range(500))} for n in range(9)}),
        described(columns={"x": {"type": "numeric", "min": 0, "max": 1, "edges": [n / 9999 for n in range(1, 9000)]}}),
        described(columns={"age": AGE, "x": {"type": "codes", "values": [str(n) for n in range(20_000)], "most": 9}}),
        described(columns={"x": {"type": "numeric", "min": 0, "max": 1e308}}),
        described(columns={"x": {"type": "numeric", "min": 0, "max": 1, "resolution": 5e-324}}),
        described(columns={"x": {"type": "integer", "min": 0, "max": 10**400}}),
        described(columns={"x": {"type": "date", "min": "0001-01-01", "max": "9999-12-31"}}),
        described(columns={"\x1b[2J": AGE}),
        described(columns={"x": {**AGE, "unit": "\u202e"}}),
        described(label={"column": "y", "classes": list(range(5000))}),
        described(missing=["x" * 5000]),
        described(impossible=[{"age": 1}] * 5000),
        "columns: {age: {type: integer, min: 0, max: 9}, age: {type: integer, min: 0, max: 9}}",
    ],
    ids=range(18),
)
def test_a_hostile_description_is_refused(desk: Desk, text: str) -> None:
    (desk.folder / "columns.yaml").write_text(text, encoding="utf-8")
    before = listing(desk.folder)
    said = desk.run(*DESCRIBE)
    assert said.how == "refused 3", said
    assert len(said.line) < 400
    assert said.line.isprintable()
    assert {name for name in listing(desk.folder) if not name.startswith("said/")} == {*before}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n\n",
        bytes(20_000_000),
        b"a" * 20_000_000,
        b"a\n" + b'"' + b"x\n" * 5_000_000,
        b"age\n\xff\xfe",
        b"PK\x03\x04" + bytes(range(256)) * 100,
        b"a,b\n1\n",
        b"a," * 400_000 + b"a\n",
    ],
    ids=range(9),
)
def test_a_hostile_table_is_refused(desk: Desk, content: bytes) -> None:
    (desk.folder / "ward.csv").write_bytes(content)
    said = desk.run(*DRAFT)
    assert said.how == "refused 4", said
    assert len(said.line) < 400
    assert said.line.isprintable()


def test_nothing_in_a_table_moves_the_terminal(desk: Desk) -> None:
    (desk.folder / "ward.csv").write_bytes("age,\x1b[2J\u202e\n\x1b[2J,\x1b]0;x\x07\n".encode())
    said = desk.run(*DRAFT)
    assert said.how == "accepted", said
    assert all(line.isprintable() for line in said.printed.splitlines())
