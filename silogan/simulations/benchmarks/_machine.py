"""Shared parts of the benchmarks: the machine's description, and the printing of results."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from silogan.common.device import available_cores


def parser(doc: str | None, short: str) -> argparse.ArgumentParser:
    """The options that every benchmark has; `short` is what its shortest form does."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument("--short", action="store_true", help=f"{short}: to see that it runs")
    return made


def hardware() -> str:
    """The name of the processor in use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    name = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    return f"{name}, {available_cores()} cores"


def versions() -> dict[str, str]:
    """Versions of the libraries that take the time."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("torch", "opacus", "flwr")}


def measured(cases: Iterable[tuple[Any, ...]], measure: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    """The row of each case (its name, then `measure`'s arguments), said on stderr as it comes: some take long."""
    rows: list[dict[str, Any]] = []
    for name, *arguments in cases:
        begin = time.perf_counter()
        rows.append(measure(*arguments))
        print(f"{name}, {time.perf_counter() - begin:.0f} s: {json.dumps(rows[-1])}", file=sys.stderr, flush=True)
    return rows


def show(results: list[dict[str, Any]], *, as_json: bool) -> None:
    """Prints the rows, as JSON or for people."""
    if as_json:
        print(json.dumps({"hardware": hardware(), "versions": versions(), "results": results}, indent=2))
        return
    print(hardware(), "·", ", ".join(f"{name} {number}" for name, number in versions().items()))
    for row in results:
        print()
        for key, value in row.items():
            print(f"  {key:28} {f'{value:.3f}' if isinstance(value, float) else value}")
