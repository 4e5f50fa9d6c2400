"""Documents say what is: every test that they name exists."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FILES = re.compile(r"`((?:client|common|tests)/[\w/.]+)`")
PAPERS = ("SECURITY.md", "docs/guarantee.md", "docs/nist-sp-800-226.md")


def defined_in(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


def rows_of(paper: str, numbered: str) -> list[str]:
    return [line for line in (ROOT / paper).read_text("utf-8").splitlines() if re.match(numbered, line)]


@pytest.mark.parametrize("paper", PAPERS)
def test_what_a_paper_names_exists(paper: str) -> None:
    text = (ROOT / paper).read_text("utf-8")
    tests, files = NAMED.findall(text), FILES.findall(text)
    assert tests
    for path, name in tests:
        assert name in defined_in(ROOT / path), f"{path}::{name}"
    for path in files:
        assert (ROOT / path).exists(), path


def test_every_check_has_a_test_or_says_not_yet() -> None:
    rows = rows_of("docs/nist-sp-800-226.md", r"\| \d+ \|")
    assert len(rows) == 30
    assert all(NAMED.search(row) or "not yet" in row for row in rows)


def test_every_assumption_has_a_test_or_says_why_there_is_none() -> None:
    rows = rows_of("docs/guarantee.md", r"\| \d+ \|")
    assert len(rows) == 26
    assert all(NAMED.search(row) or "not tested, because" in row for row in rows)


def test_every_attack_has_its_test() -> None:
    rows = rows_of("SECURITY.md", r"\| .* \| `tests/")
    assert len(rows) == 11 + 5


def test_every_key_of_a_scenario_is_on_its_page() -> None:
    found = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "reference.py"), "--print"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert found.stdout == (ROOT / "docs" / "scenarios.md").read_text("utf-8"), "write it anew: make docs"
