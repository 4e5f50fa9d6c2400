"""`silogan generate`: synthetic records from a finished run, in a format of their kind."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from silogan.common.errors import UsageError, VerificationError, one_line
from silogan.common.files import writing
from silogan.common.modality.table_where import Where
from silogan.common.models.networks import Drawn
from silogan.common.registry import nearest
from silogan.common.seeding import random_generator
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.server.release.about import parse_licence, parse_splits
from silogan.server.release.generator import ReleasedGenerator, load_generator
from silogan.server.release.outputs import OUTPUTS
from silogan.server.release.progress import with_progress
from silogan.server.report.verdict import Verdict, Word


def generate(  # noqa: PLR0913  (each argument is an option)
    run_dir: Path,
    *,
    count: int,
    out: Path,
    file_format: str | None,
    labels: tuple[str, ...] | None,
    where: str | None = None,
    by_classifier: bool = False,
    seed: int | None,
    licence: str | None = None,
    splits: str | None = None,
    anyway: bool = False,
    console: Console | None = None,
) -> "Generated":
    """Draws records and writes them.

    Args:
        run_dir: folder of a finished run.
        count: how many.
        out: a new or empty folder, or a file that does not exist.
        file_format: one that the kind of record has; its first if None.
        labels: class names to draw; all if None. Classes are as frequent as among real records if the generator knows,
            else evenly spread.
        where: a condition that all records meet, for kinds that have them (`server/release/where.py`).
        by_classifier: name the class of each record by the classifier of the release, and not by what was asked for.
        seed: of the latent vectors; fresh if None.
        licence: under which the records may be used: an SPDX identifier or an address; not stated if None.
        splits: percent of the images in train, val and test of an NPZ file, as "80,10,10"; all in train if None.
        anyway: draw from a run that has failed too; every record then says so.
        console: shows a progress bar, if it is a terminal.

    Returns:
        What was drawn, with the marks that it carries (seeded).

    Raises:
        UsageError: the labels, the condition or the output cannot be used, or the release has no classifier or draws
            nothing.
        DataError: the run has no generator.
        PrivacyRefusal: the generator is NON-PRIVATE.
        VerificationError: the run has failed (`server/report/verdict.py`), and not `anyway`.

    Privacy:
        Post-processing of the released generator: drawing any number of records costs nothing more.
    """
    require_free(out)
    generator = load_generator(run_dir / GENERATOR_FILE)
    noun = generator.schema.noun
    formats = OUTPUTS[generator.schema.kind].formats
    chosen = _format_of(out, file_format, tuple(formats), noun)
    if splits is not None and chosen != "npz":
        raise UsageError("--splits", f"is not available for {chosen}", "leave it out, or use --format npz")
    stated, sizes = parse_licence(licence), parse_splits(splits, count)
    if where is not None:  # such rows are not what a whole population looks like
        generator = replace(generator, marks=(*generator.marks, f"drawn where {one_line(where)}"))
    parts = draw(generator, count, labels=labels, where=where, by_classifier=by_classifier, seed=seed)
    first = next(parts)  # what cannot be drawn is said before anything is written
    generator = unless_failed(generator, run_dir, anyway=anyway)
    parts = with_progress(chain([first], parts), count, noun, console or Console(quiet=True))
    with writing(f"--out {out}", "choose another place"):
        out.parent.mkdir(parents=True, exist_ok=True)
        formats[chosen](out, parts, generator.about(count, licence=stated, splits=sizes))
    return Generated(out, chosen, count, noun, generator.marks)


def unless_failed(generator: ReleasedGenerator, run_dir: Path, *, anyway: bool) -> ReleasedGenerator:
    """The generator of a run that has not failed; with a mark of one that has, if it is wanted anyway.

    Raises:
        VerificationError: it has failed, and is not wanted anyway.
    """
    verdict = Verdict.in_folder(run_dir)
    if verdict is None or verdict.word is not Word.failed:
        return generator
    if not anyway:
        hint = "read its report; --anyway draws all the same, and marks what is drawn"
        raise VerificationError(f"run '{run_dir}'", str(verdict), hint)
    return replace(generator, marks=(*generator.marks, "its run has failed"))


@dataclass(frozen=True)
class Generated:
    """What was drawn.

    Attributes:
        out: the folder or file.
        file_format: its format.
        count: how many records.
        noun: the word for them, in the plural.
        marks: what they carry, as that they are seeded.
    """

    out: Path
    file_format: str
    count: int
    noun: str
    marks: tuple[str, ...]

    def __str__(self) -> str:
        noun = self.noun.removesuffix("s") if self.count == 1 else self.noun
        return f"{self.count} synthetic {noun} in {self.out}" + (f" ({'; '.join(self.marks)})" if self.marks else "")

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "out": str(self.out), "marks": list(self.marks)}


def draw(
    generator: ReleasedGenerator,
    count: int,
    *,
    labels: tuple[str, ...] | None = None,
    where: str | None = None,
    by_classifier: bool = False,
    seed: int | None = None,
) -> Iterator[Drawn]:
    """Draws records in parts; the arguments and errors are those of `generate`."""
    asked, condition = _asked_for(generator, count, labels, where)
    parts = generator.draw(count, random_generator(seed, "generate"), labels=asked, where=condition)
    return _classified(parts, generator) if by_classifier else parts


_OTHERS = {
    *("jpg", "jpeg", "tif", "tiff", "gif", "dcm", "nii", "gz", "xls"),
    *("xlsx", "tsv", "txt", "json", "zip", "html", "pdf"),
}
"""How names of files end that nobody gives to a folder of images."""


def _format_of(out: Path, wanted: str | None, available: tuple[str, ...], noun: str) -> str:
    """The format that is asked for, or the one that the output's name ends with, or the first."""
    if wanted not in (None, *available):
        raise UsageError(f"--format {wanted}", f"is not available for {noun}", f"use {', '.join(available)}")
    ending = out.suffix.removeprefix(".").lower()
    if ending == "png":
        raise UsageError(
            f"--out {out}",
            "is the name of one image",
            "name a folder for png, or a file that ends with .npz or .parquet",
        )
    formats = {name for output in OUTPUTS.values() for name in output.formats}
    if ending in _OTHERS:
        problem = f"ends with .{ending}, but {noun} are not written so"
        raise UsageError(f"--out {out}", problem, f"use {', '.join(available)}")
    if ending not in formats or ending == wanted:
        return wanted or available[0]
    if wanted is not None or ending not in available:
        problem = f"ends with .{ending}, but " + (f"--format is {wanted}" if wanted else f"{noun} are not written so")
        raise UsageError(f"--out {out}", problem, f"use {', '.join(available)}")
    return ending


def _asked_for(
    generator: ReleasedGenerator, count: int, labels: tuple[str, ...] | None, where: str | None
) -> tuple[Tensor | None, Where | None]:
    """The labels int64[count] that are asked for, and the condition on all records; None if there are none."""
    condition = None if where is None else _condition(generator, where)
    codes = None if labels is None else _label_codes(generator, labels)
    if codes is None:
        return None, condition
    if generator.network.knows_frequencies:
        return None, (condition or Where()).of_classes(codes)
    return torch.tensor(codes)[torch.arange(count) % len(codes)], condition


def _condition(generator: ReleasedGenerator, text: str) -> Where:
    parse = OUTPUTS[generator.schema.kind].condition
    if parse is None:
        raise UsageError("--where", f"is not available for {generator.schema.noun}", "leave it out, or use --labels")
    return parse(text, generator.schema)


def _label_codes(generator: ReleasedGenerator, labels: tuple[str, ...]) -> tuple[int, ...]:
    classes = generator.schema.classes
    if not generator.network.conditional:
        raise UsageError("--labels", "this generator has no classes to choose from", "leave it out")
    for label in labels:
        if label not in classes:
            close = nearest(label, classes)
            hint = f"did you mean '{close}'?" if close else f"use one of {', '.join(classes)}"
            raise UsageError("--labels", f"unknown class '{label}'", hint)
    return tuple(classes.index(label) for label in labels)


def _classified(parts: Iterable[Drawn], generator: ReleasedGenerator) -> Iterator[Drawn]:
    """The same records, their labels by the classifier of the release."""
    for part in parts:
        yield Drawn(part.records, generator.labels_of(part.records))


def require_free(out: Path) -> None:
    """Nothing is written over.

    Raises:
        UsageError: there is a file, or a folder that is not empty.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"--out {out}", "exists already", "choose a new place")
