"""Hostile inputs on the command line: a place with all that is right, and the command in a process of its own."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from silogan.simulations.fuzz import places
from silogan.simulations.fuzz.commands import STDOUT, run_command
from silogan.simulations.fuzz.trial import MOST_BYTES, MOST_SECONDS
from silogan.simulations.fuzz.values import dumped, parent_of
from silogan.simulations.fuzz.workers import context

PLAN = ("node", "plan", "node", "run.yaml", "--server", places.SERVER)
APPROVE = ("node", "approve", "node", "run.yaml", "--server", places.SERVER)
SUBMIT = ("server", "submit", "scenario.yaml", "--propose", "--folder", "coordinator")
SIMULATE = ("simulate", "scenario.yaml", "--out", "out")


@dataclass(frozen=True)
class Said:
    """How a command ended: "accepted" or "refused N", the line that it said, and all that it printed."""

    how: str
    line: str
    printed: str


@dataclass(frozen=True)
class Desk:
    """A folder with a node, a coordinator and the files that they read."""

    folder: Path

    def run(self, *arguments: str) -> Said:
        """Runs `silogan ARGUMENTS` here; it must end within 2 s of processor time and 500 MB."""
        said = self.folder / "said"
        shutil.rmtree(said, ignore_errors=True)
        said.mkdir()
        how, line, seconds, megabytes = run_command(context(), arguments, self.folder, said)
        assert seconds < MOST_SECONDS, f"{seconds:.1f} s: {line}"
        assert megabytes * 2**20 < MOST_BYTES, f"{megabytes:.0f} MB: {line}"
        return Said(how, line, (said / STDOUT).read_text(encoding="utf-8"))

    def change(self, name: str, values: dict[str, Any]) -> None:
        """Sets keys of a YAML file, each given as its path with points."""
        content = yaml.safe_load((self.folder / name).read_text(encoding="utf-8"))
        for key, value in values.items():
            path = tuple(key.split("."))
            parent_of(content, path)[path[-1]] = value
        (self.folder / name).write_text(dumped(content), encoding="utf-8")

    def replace(self, name: str, key: str, text: str) -> None:
        """Puts raw YAML in place of a key of the top level, and all below it."""
        content = yaml.safe_load((self.folder / name).read_text(encoding="utf-8"))
        content.pop(key, None)
        (self.folder / name).write_text(dumped(content) + f"{key}: {text}\n", encoding="utf-8")


def copy_of(base: Path, folder: Path) -> Desk:
    """A desk that a test may spoil."""
    shutil.copytree(base, folder, symlinks=True)
    return Desk(folder)
