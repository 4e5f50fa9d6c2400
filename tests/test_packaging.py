"""The units, and the command lines of units and guides: each must be one that the command line takes."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import typer.main

import silogan

ROOT = Path(__file__).parent.parent
UNITS = sorted((ROOT / "packaging" / "systemd").glob("*.service"))
GUIDES = [ROOT / "docs" / "hospital.md", ROOT / "docs" / "coordinator.md", ROOT / "README.md"]


def command_lines(text: str) -> list[str]:
    """What looks like a call of silogan with a subcommand, in a guide's `...` or in a unit."""
    found = re.findall(r"`(silogan (?:node|server|audit|generate) [^`]*)`", text)
    found += re.findall(r"^Exec\w+=/opt/silogan/bin/(silogan .*)$", text, flags=re.MULTILINE)
    return [" ".join(line.split()) for line in found if "..." not in line.replace('"..."', "")]


def options(line: str) -> tuple[click.Command, set[str]]:
    """The command that a line calls, and the options that it uses."""
    command: click.Command = typer.main.get_command(silogan.app)
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        name = words.pop(0)
        assert name in command.commands, line
        command = command.commands[name]
    return command, {word.partition("=")[0] for word in words if word.startswith("--")}


@pytest.mark.parametrize("path", [*UNITS, *GUIDES], ids=lambda path: path.name)
def test_commands_exist_with_these_options(path: Path) -> None:
    lines = command_lines(path.read_text(encoding="utf-8"))
    assert lines
    for line in lines:
        command, used = options(line)
        known = {name for parameter in command.params for name in parameter.opts}
        assert used <= known, line


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_hardened(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for wanted in (
        "User=silogan",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "UMask=0077",
    ):
        assert wanted in lines


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_understood(path: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if path.name in line and "is not executable" not in line]
    assert not complaints
