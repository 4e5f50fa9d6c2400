"""Documents say what is: every test that they name exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def defined_in(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_check_names_tests_that_exist_or_says_not_yet() -> None:
    text = (ROOT / "docs" / "nist-sp-800-226.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == 22
    for row in rows:
        named = NAMED.findall(row)
        assert named or "not yet" in row, row
        for path, name in named:
            assert name in defined_in(ROOT / path), f"{path}::{name}"
