"""Mutates every input of the product and reports the outcomes.

    python -m silogan.simulations.fuzz [--mutations N] [--seed S] [--only KIND] [--json FILE]

Each mutation is given to the function that the command calls, in a process that is used for many, and some of them to
the command itself. It must be accepted as it is, or refused with one `SiloganError`, within 2 s of processor time and
500 MB, and without any other file lost or changed. Whatever else happens is a finding; `--only KIND --index N` repeats
it. Exit code 1 if there is one. Needs Linux.
"""

import json
import math
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from silogan.common.registry import lookup
from silogan.simulations.fuzz import commands, places
from silogan.simulations.fuzz.kinds import KINDS, Kind
from silogan.simulations.fuzz.trial import Outcome
from silogan.simulations.fuzz.workers import context, try_all

_SHOWN = 5  # findings of a sort
_RARELY = 5


def main(
    mutations: Annotated[int, typer.Option(min=1, help="Number of mutations, over all kinds.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of all mutations.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="A kind of input; repeatable; all if not given.")] = None,
    index: Annotated[int | None, typer.Option(help="Repeat only this mutation of each kind.")] = None,
    command: Annotated[int, typer.Option(min=0, help="Number of mutations that are also given to the command.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    as_json: Annotated[Path | None, typer.Option("--json", help="File for all findings.")] = None,
) -> None:
    """Runs a campaign and prints a table of outcomes, and the findings."""
    outcomes: list[Outcome] = []
    console = Console(stderr=True, markup=False, highlight=False)
    for outcome in campaign(mutations, seed=seed, only=only, index=index, command=command, workers=workers):
        outcomes.append(outcome)
        if outcome.is_finding:
            console.print(f"{outcome.kind} {outcome.index}: {outcome.how}: {outcome.detail}", soft_wrap=True)
        if len(outcomes) % 1000 == 0:
            console.print(f"{len(outcomes)} tried")
    findings = [outcome for outcome in outcomes if outcome.is_finding]
    _print(outcomes, findings)
    if as_json is not None:
        content = {"seed": seed, "counts": _counts(outcomes), "findings": [finding.to_json() for finding in findings]}
        as_json.write_text(json.dumps(content, indent=2), encoding="utf-8")
    raise typer.Exit(1 if findings else 0)


def campaign(
    mutations: int,
    *,
    seed: int = 0,
    only: list[str] | None = None,
    index: int | None = None,
    command: int = 0,
    workers: int = 2,
) -> Iterator[Outcome]:
    """Tries each kind's input as it is (number -1), and then its mutations, the kinds in turn."""
    chosen = {name: lookup(KINDS, name, "--only") for name in only or KINDS}
    shares = sum(1 / _RARELY if kind.rare else 1 for kind in chosen.values())
    numbers = range(math.ceil(mutations / shares)) if index is None else [index]
    readers = [name for name, kind in chosen.items() if kind.command]
    with tempfile.TemporaryDirectory(prefix="silogan-fuzz-") as folder:
        scratch = Path(folder).resolve()
        base = scratch / "base"
        places.make(base)
        todo = ((name, number) for number in (-1, *numbers) for name, kind in chosen.items() if _is_tried(kind, number))
        yield from try_all(todo, base=base, scratch=scratch, seed=seed, count=workers)
        made = context()
        for number in range(-(-command // len(readers)) if readers else 0):
            for name in readers:
                yield commands.run(made, name, number, base=base, scratch=scratch / "command", seed=seed)
        shutil.rmtree(scratch / "command", ignore_errors=True)


def _is_tried(kind: Kind, number: int) -> bool:
    return not kind.rare or number < 0 or number % _RARELY == 0


def _counts(outcomes: list[Outcome]) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        counts[outcome.kind][outcome.how] += 1
    return {kind: dict(counter) for kind, counter in counts.items()}


def _print(outcomes: list[Outcome], findings: list[Outcome]) -> None:
    console = Console(markup=False, highlight=False, width=200)
    head = ("kind", "tried", "accepted", "refused", "not delivered", "findings", "slowest s", "largest MB")
    table = Table(*head, box=None)
    for kind, counts in _counts(outcomes).items():
        own = [outcome for outcome in outcomes if outcome.kind == kind]
        refused = [f"{how[8:]}: {number}" for how, number in sorted(counts.items()) if how.startswith("refused")]
        accepted, lost = counts.get("accepted", 0), counts.get("not delivered", 0)
        figures = (f"{max(o.seconds for o in own):.2f}", f"{max(o.megabytes for o in own):.0f}")
        bad = sum(outcome.is_finding for outcome in own)
        table.add_row(kind, f"{len(own)}", f"{accepted}", ", ".join(refused), f"{lost}", f"{bad}", *figures)
    console.print(table)
    console.print(f"{len(outcomes)} tried, {len(findings)} findings")
    sorts: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for finding in findings:
        sorts[finding.kind, finding.how].append(finding)
    for (kind, how), alike in sorts.items():
        console.print(f"{kind}: {how}: {len(alike)} times")
        for finding in alike[:_SHOWN]:
            console.print(f"    --only {kind} --index {finding.index}: {finding.detail[:400]}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
