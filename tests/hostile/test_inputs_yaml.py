"""YAML that means harm, given to the real commands: one line within 2 s and 500 MB, and nothing changed.

On 97d0510 the aliases hung `node plan` for more than 100 s, a hundred million rounds took 14.6 GB, ε = 1e308 and
q = 1e-320 hung, and "no", fractions and negative numbers were accepted.
"""

from pathlib import Path
from typing import Any

import pytest

from silogan.simulations.fuzz.trial import listing
from tests.hostile.inputs import APPROVE, PLAN, SIMULATE, SUBMIT, Desk

ALIASES = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 15))
BOMB = f"l0: &l0 [x, x, x, x, x, x, x, x, x]\n{ALIASES}"
LOOP = "l0: &l0 {more: *l0}\n"


def assert_untouched(desk: Desk, base: Path) -> None:
    """No file was lost, and none is there that was not, but what the command printed and the log of actions."""
    found = {
        name
        for name in listing(desk.folder)
        if not name.startswith("said/") and not name.endswith((".lock", "-shm", "-wal", "actions.jsonl"))
    }
    assert found == {name for name in listing(base) if not name.endswith((".lock", "-shm", "-wal"))}


@pytest.mark.parametrize("command", [PLAN, APPROVE, SUBMIT], ids=lambda command: " ".join(command[:2]))
def test_what_is_right_is_accepted(desk: Desk, command: tuple[str, ...]) -> None:
    """Otherwise everything below could be refused for another reason."""
    assert desk.run(*command).how == "accepted"


@pytest.mark.parametrize("text", [BOMB, LOOP, "[" * 300_000, "{a: " * 30_000, "- " * 100_000], ids=range(5))
@pytest.mark.parametrize(("name", "command"), [("run.yaml", PLAN), ("scenario.yaml", SUBMIT)])
def test_aliases_and_depth_are_refused_before_anything_is_built(
    desk: Desk, base: Path, name: str, command: tuple[str, ...], text: str
) -> None:
    (desk.folder / name).write_text(text, encoding="utf-8")
    said = desk.run(*command)
    assert said.how == "refused 3", said
    assert len(said.line) < 300
    assert_untouched(desk, base)


@pytest.mark.parametrize(
    "values",
    [
        {"training.rounds": 10**8, "privacy.noise_multiplier": 1000.0},
        {"training.rounds": 10**8, "training.local_steps": 10**8},
        {"training.rounds": 10**400},
        {"privacy.epsilon": 1e308},
        {"privacy.epsilon": float("nan")},
        {"privacy.epsilon": float("inf")},
        {"privacy.epsilon": -1.0},
        {"privacy.epsilon": True},
        {"privacy.delta": 0.0},
        {"privacy.noise_multiplier": -1.0},
        {"training.sample_rate": 1e-320},
        {"training.sample_rate": 1.5},
        {"training.rounds": 2.5},
        {"training.rounds": -3},
        {"training.rounds": "4"},
        {"training.local_steps": True},
        {"sites.count": 10**9},
        {"model.width": 10**9},
        {"data.image_size": 10**6},
        {"data.classes": ["a"] * 60_000},
        {"name": "\x1b[2Jtiny"},
        {"title": "\x1b[2J" * 30},
        {"title": "x" * 5000},
    ],
    ids=",".join,
)
def test_a_number_or_text_out_of_range_is_refused_by_its_name(desk: Desk, base: Path, values: dict[str, Any]) -> None:
    for name, prefix, command in (("scenario.yaml", "", SUBMIT), ("run.yaml", "scenario.", PLAN)):
        desk.change(name, {f"{prefix}{key}": value for key, value in values.items()})
        said = desk.run(*command)
        assert said.how == "refused 3", said
        assert len(said.line) < 400
        named = [*values, "nested", "values", "longer", "not valid YAML"]
        assert any(key in said.line for key in named), said
    assert_untouched(desk, base)


@pytest.mark.parametrize("text", ['"no"', "no", "1", "[]", "{enabled: 'no'}", "{enabled: 0}", "~"])
@pytest.mark.parametrize("command", [SUBMIT, SIMULATE], ids=["submit", "simulate"])
def test_privacy_is_a_section_and_no_word(desk: Desk, command: tuple[str, ...], text: str) -> None:
    desk.replace("scenario.yaml", "privacy", text)
    said = desk.run(*command)
    assert said.how == "refused 3", said
    assert "privacy" in said.line


@pytest.mark.parametrize(
    "values",
    [
        {"training.rounds": 100_000, "training.local_steps": 100, "privacy.noise_multiplier": 1000.0},
        {"training.rounds": 200_000, "training.local_steps": 50, "privacy.noise_multiplier": None},
        {"privacy.noise_multiplier": 2.0**15, "training.rounds": 200_000},
        {"privacy.noise_multiplier": 1e-3},
        {"privacy.epsilon": 1e4, "privacy.noise_multiplier": None},
        {"privacy.epsilon": 1e-100, "privacy.noise_multiplier": None},
        {"privacy.delta": 1e-15, "privacy.noise_multiplier": None},
        {"training.sample_rate": 1e-6, "privacy.noise_multiplier": None},
        {"training.sample_rate": 1.0, "training.rounds": 10_000, "privacy.noise_multiplier": None},
        {"model.width": 1024, "model.latent_dim": 4096},
    ],
    ids=",".join,
)
def test_what_is_just_within_range_is_planned_or_refused_as_quickly(desk: Desk, values: dict[str, Any]) -> None:
    desk.change("scenario.yaml", values)
    said = desk.run(*SUBMIT)
    assert said.how in ("accepted", "refused 3", "refused 5"), said
