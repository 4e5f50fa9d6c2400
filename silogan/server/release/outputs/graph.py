"""`silogan graph`: the codes of a released mixture as GraphML (Brandes et al., 2002), or their pairs as CSV."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO
from xml.sax.saxutils import escape, quoteattr

from silogan.common.errors import UsageError
from silogan.common.files import write_atomically, writing
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import Study
from silogan.server.release.about import About
from silogan.server.release.code_graph import CodeGraph, code_graph
from silogan.server.release.generator import load_generator
from silogan.server.release.outputs.written import ABOUT, write_beside

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"

_KEYS = (
    *(("node", name, "string") for name in ("code", "column")),
    ("node", "frequency", "double"),
    *(("edge", name, "double") for name in ("together", "lift", "noise")),
    ("edge", "above_noise", "boolean"),
)
"""What is said of nodes and edges: of what, by which name, and its type."""

_HEADER = (
    *(f"{what}_{end}" for end in ("1", "2") for what in ("column", "code", "frequency")),
    *("together", "lift", "noise", "above_noise"),
)


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        out: the file.
        codes: number of nodes.
        pairs: number of edges.
        above_noise: those of which the noise does not explain how often they occur together.
        marks: what the generator carries, as that it is seeded.
    """

    out: Path
    codes: int
    pairs: int
    above_noise: int
    marks: tuple[str, ...]

    def __str__(self) -> str:
        edges = f"{self.above_noise:,} of {self.pairs:,} pairs are above the noise"
        return f"{self.codes} codes in {self.out}; {edges}" + (f" ({'; '.join(self.marks)})" if self.marks else "")

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "out": str(self.out), "marks": list(self.marks)}


def write_graph(run_dir: Path, out: Path) -> Written:
    """Writes the graph of a run's generator.

    Args:
        run_dir: folder of a finished run.
        out: a new file, `.graphml` or `.csv`.

    Returns:
        What was written.

    Raises:
        UsageError: the file exists already or has another suffix, or there are no code sets.
        DataError: the run has no generator.
        ConfigError: the run or the file is not to be read or written.
        PrivacyRefusal: the generator is NON-PRIVATE.
    """
    if out.suffix not in WRITERS:
        raise UsageError(f"--out {out}", "has not the suffix of a graph", f"use {' or '.join(WRITERS)}")
    if out.exists():
        raise UsageError(f"--out {out}", "exists already", "choose a new place")
    generator = load_generator(run_dir / GENERATOR_FILE)
    found = code_graph(generator, Study.load(run_dir))
    with writing(f"--out {out}", "choose another place"):
        out.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[out.suffix](out, found, generator.about(0))
    return Written(out, len(found.codes), len(found.above), int(found.above.sum()), generator.marks)


def write_graphml(out: Path, graph: CodeGraph, about: About) -> None:
    """A node for each code and an edge for each pair; the graph itself says what it is."""

    def write(file: BinaryIO) -> None:
        file.writelines(f"{line}\n".encode() for line in _graphml(graph, about.facts()))

    write_atomically(out, write)


def write_csv(out: Path, graph: CodeGraph, about: About) -> None:
    """A line for each pair of codes, and a note beside the file that says what it is."""

    def write(file: BinaryIO) -> None:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(_HEADER)
        for first, second, *edge in _edges(graph):
            ends = [(*graph.codes[node], _number(graph.frequencies[node])) for node in (first, second)]
            rows.writerow([*ends[0], *ends[1], *edge])
        text.detach()  # flushes, and leaves the file open

    write_beside(out, write, {ABOUT: lambda _: about.to_json()})


WRITERS: dict[str, Callable[[Path, CodeGraph, About], None]] = {
    ".graphml": write_graphml,
    ".csv": write_csv,
}
"""By the suffix of the file."""


def _graphml(graph: CodeGraph, facts: dict[str, str]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    schema = f"{_NAMESPACE} {_NAMESPACE}/1.0/graphml.xsd"
    instance = "http://www.w3.org/2001/XMLSchema-instance"
    yield f'<graphml xmlns="{_NAMESPACE}" xmlns:xsi="{instance}" xsi:schemaLocation="{schema}">'
    for of, name, kind in (*(("graph", name, "string") for name in facts), *_KEYS):
        yield f'<key id="{name}" for="{of}" attr.name="{name}" attr.type="{kind}"/>'
    yield '<graph id="codes" edgedefault="undirected">'
    yield _data(facts)
    for node, (column, code) in enumerate(graph.codes):
        said = {"code": code, "column": column, "frequency": _number(graph.frequencies[node])}
        yield f'<node id="n{node}">{_data(said)}</node>'
    for first, second, *edge in _edges(graph):
        said = dict(zip((name for of, name, _ in _KEYS if of == "edge"), edge, strict=True))
        yield f'<edge source="n{first}" target="n{second}">{_data(said)}</edge>'
    yield "</graph>"
    yield "</graphml>"


def _data(said: dict[str, str]) -> str:
    return "".join(f"<data key={quoteattr(name)}>{escape(value)}</data>" for name, value in said.items())


def _edges(graph: CodeGraph) -> Iterator[tuple[int, int, str, str, str, str]]:
    """Of each pair both nodes, and what is said of the edge."""
    figures = (graph.first, graph.second, graph.together, graph.lift, graph.noise, graph.above)
    for first, second, together, lift, noise, above in zip(*(part.tolist() for part in figures), strict=True):
        yield first, second, _number(together), _number(lift), _number(noise), "true" if above else "false"


def _number(value: float) -> str:
    return f"{value:.6g}"
