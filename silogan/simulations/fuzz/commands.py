"""Runs the real command on a mutated input, in its own process; checks exit code, output and files."""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from importlib.metadata import entry_points
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch

from silogan.simulations.fuzz import trial
from silogan.simulations.fuzz.kinds import KINDS
from silogan.simulations.fuzz.trial import Measured, Outcome

_WAIT_SECONDS = 20.0
STDOUT, _STDERR, _FACTS = "stdout.txt", "stderr.txt", "facts.txt"


def run(made: ForkServerContext, kind: str, index: int, *, base: Path, scratch: Path, seed: int) -> Outcome:
    """Runs the command that reads a kind of input, on one mutation of it.

    Args:
        made: starts processes that have all libraries imported.
        kind: which input.
        index: which mutation of it.
        seed: of all mutations.
        base: the intact place.
        scratch: a folder for a copy of it.
    """
    found = KINDS[kind]
    place, said = scratch / "place", scratch / "said"
    for folder in (place, said):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, place, symlinks=True)
    said.mkdir()
    (place / found.file).write_bytes(trial.mutation(kind, seed, index, (base / found.file).read_bytes()))
    return trial.judged(kind, index, place, lambda found: run_command(made, found.command.split(), place, said))


def run_command(made: ForkServerContext, arguments: Sequence[str], place: Path, said: Path) -> Measured:
    """Runs `silogan ARGUMENTS` in a process of its own.

    Args:
        made: starts processes that have all libraries imported.
        arguments: of the command.
        place: the folder that it runs in.
        said: a folder for what it prints.
    """
    process = made.Process(target=_command, args=(arguments, place, said), daemon=True)
    process.start()
    process.join(_WAIT_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return "too slow", f"waits for more than {_WAIT_SECONDS:g} s", _WAIT_SECONDS, 0.0
    return (*_how(process.exitcode, said), *_facts(said))


def _how(code: int | None, said: Path) -> tuple[str, str]:
    out, error = ((said / name).read_text(encoding="utf-8", errors="replace") for name in (STDOUT, _STDERR))
    odd = {character for character in out if not character.isprintable() and character != "\n"}
    if odd:
        return "prints control characters", ascii("".join(sorted(odd)))
    if code == 0:
        return "accepted", ""
    lines = error.splitlines()
    if code == 1 or len(lines) != 1 or not lines[0].startswith("silogan: "):
        return f"exit code {code} with {len(lines)} lines", ascii(error)[-600:]
    return trial.said(lines[0], code if code is not None else -1)


def _facts(said: Path) -> tuple[float, float]:
    if not (said / _FACTS).exists():
        return 0.0, 0.0
    seconds, megabytes = (said / _FACTS).read_text(encoding="ascii").split()
    return round(float(seconds), 3), round(float(megabytes), 1)


def _command(arguments: Sequence[str], place: Path, said: Path) -> None:
    """In a process of its own: `silogan ARGUMENTS`, what it prints in files."""
    [command] = entry_points(group="console_scripts", name="silogan")
    main = command.load()

    os.chdir(place)
    for name, number in ((STDOUT, 1), (_STDERR, 2)):
        os.dup2(os.open(said / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.argv = ["silogan", *arguments]
    torch.set_num_threads(1)
    resident, began = trial.reset_peak(), time.process_time()
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        grown = max(0.0, (trial.peak() - resident) / 2**20)
        (said / _FACTS).write_text(f"{time.process_time() - began} {grown}", encoding="ascii")
