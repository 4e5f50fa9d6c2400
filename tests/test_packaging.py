"""Units, images and the command lines of units and guides: each must be one that the command line takes."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml

import silogan
from silogan import cli
from silogan.server.operations.settings import Settings

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
    command: click.Command = typer.main.get_command(cli.app)
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


DOCKER = ROOT / "packaging" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))


def stages() -> dict[str, list[str]]:
    """The instructions of each stage of the Dockerfile, one a line."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    found: dict[str, list[str]] = {}
    for instruction in "\n".join(lines).replace("\\\n", " ").splitlines():
        if instruction.startswith("FROM"):
            found[instruction.split()[-1]] = []
        if instruction and found:
            found[list(found)[-1]].append(" ".join(instruction.split()))
    return found


def test_images_are_pinned() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+$", DOCKERFILE, flags=re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE
    assert not re.search(r"^ADD |curl|wget|:latest|sudo", DOCKERFILE, flags=re.MULTILINE)


def test_images_take_no_library_that_the_tests_did_not_see() -> None:
    def pinned(path: Path) -> set[str]:
        return set(re.findall(r"^([a-z0-9._-]+==\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))

    libraries = pinned(ROOT / "packaging" / "requirements.lock")
    assert libraries <= pinned(ROOT / "requirements.lock")
    assert not any(library.startswith(("ruff==", "pytest==", "ray==")) for library in libraries)
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {re.split(r"[<>=\[]", one)[0] for one in metadata["dependencies"]}
    assert direct <= {library.partition("==")[0] for library in libraries}


@pytest.mark.parametrize("stage", ["node", "server"])
def test_images_run_as_nobody_special_and_say_how_they_are(stage: str) -> None:
    instructions = stages()[stage]
    assert "USER 10001:10001" in instructions
    assert not any(line.startswith(("RUN", "COPY")) for line in instructions[instructions.index("USER 10001:10001") :])
    health = next(line for line in instructions if line.startswith("HEALTHCHECK"))
    assert f'["python", "-m", "silogan.common.operations.health", "/var/lib/silogan/{stage}"]' in health
    command = json.loads(instructions[-1].removeprefix("CMD "))
    found, used = options(shlex.join(["silogan", *command]))
    assert found.name == "start"
    assert used <= {name for parameter in found.params for name in parameter.opts}
    assert command[-1] == f"/var/lib/silogan/{stage}"


def test_images_hold_the_software_and_nothing_else() -> None:
    copied = [line.split()[1:] for line in stages()["base"] if line.startswith("COPY")]
    sources = {source for *sources, _ in copied for source in sources}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in sources:
        assert (ROOT / source).exists()
        assert source in allowed or str(Path(source).parent) in allowed
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert set(packages["targets"]["wheel"]["only-include"]) <= sources


def test_the_software_runs_from_the_images_layout(tmp_path: Path) -> None:
    """Copied as the image has it, read-only, with the launcher that is copied too."""
    shutil.copytree(ROOT / "silogan", tmp_path / "silogan", ignore=shutil.ignore_patterns("__pycache__"))
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path)}
    work = tmp_path / "work"
    work.mkdir()
    run = partial(subprocess.run, capture_output=True, text=True, check=False, env=env, cwd=work)
    where = run([sys.executable, "-c", "import silogan; print(silogan.__file__)"])
    assert where.stdout.strip() == str(tmp_path / "silogan" / "__init__.py")
    done = run(["/bin/sh", str(DOCKER / "silogan"), "server", "init", "--name", "localhost"])
    assert done.returncode == 0, done.stderr
    assert (work / "server" / "ca.pem").exists()


@pytest.mark.parametrize("name", ["node", "server"])
def test_services_are_confined(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["profiles"] == [name]
    assert service["build"]["target"] == name
    assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert service["image"].endswith(f":{silogan.__version__}")
    assert f"{name}:/var/lib/silogan" in service["volumes"]
    assert not service.get("privileged")
    assert all(volume.startswith(f"{name}:") or volume.endswith(":ro") for volume in service["volumes"])


def test_only_the_coordinator_opens_a_port() -> None:
    assert "ports" not in COMPOSE["services"]["node"]
    assert COMPOSE["services"]["server"]["ports"] == [f"{Settings(names=('x',)).port}:9443"]
