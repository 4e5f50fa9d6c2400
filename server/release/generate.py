"""`silogan generate`: synthetic records from a finished run, in a format of their kind."""

from pathlib import Path

import torch

from common.errors import UsageError
from common.files import writing
from common.registry import nearest
from common.seeding import random_generator
from common.wire.run_folder import GENERATOR_FILE
from server.release.generator import ReleasedGenerator, load_generator
from server.release.outputs import OUTPUTS


def generate(
    run_dir: Path,
    *,
    count: int,
    out: Path,
    file_format: str | None,
    labels: tuple[str, ...] | None,
    by_classifier: bool = False,
    seed: int | None,
) -> str:
    """Draws records and writes them.

    Args:
        run_dir: folder of a finished run.
        count: how many, spread evenly over the classes.
        out: a new or empty folder, or a file that does not exist.
        file_format: one that the kind of record has; its first if None.
        labels: class names to draw; all if None.
        by_classifier: name the class of each record by the classifier of the release, and not by what was asked for.
        seed: of the latent vectors; fresh if None.

    Returns:
        What was drawn, in one line, with the marks that it carries (seeded).

    Raises:
        UsageError: the labels or the output cannot be used, or the release has no classifier or draws nothing.
        DataError: the run has no generator.
        PrivacyRefusal: the generator is NON-PRIVATE.

    Privacy:
        Post-processing of the released generator: drawing any number of records costs nothing more.
    """
    _require_free(out)
    generator = load_generator(run_dir / GENERATOR_FILE)
    formats = OUTPUTS[generator.schema.kind].formats
    if file_format not in (None, *formats):
        raise UsageError(
            f"--format {file_format}", f"is not available for {generator.schema.noun}", f"use {', '.join(formats)}"
        )
    write = formats[file_format or next(iter(formats))]
    chosen = _label_codes(generator, labels)
    codes = None if chosen is None else torch.tensor(chosen)[torch.arange(count) % len(chosen)]
    rng = random_generator(seed, "generate")
    records = generator.sample(codes, count, rng)
    if by_classifier:
        codes = generator.labels_of(records)
    with writing(f"--out {out}", "choose another place"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write(out, records, codes, generator)
    note = f" ({'; '.join(generator.marks)})" if generator.marks else ""
    noun = generator.schema.noun.removesuffix("s") if count == 1 else generator.schema.noun
    return f"{count} synthetic {noun} in {out}{note}"


def _label_codes(generator: ReleasedGenerator, labels: tuple[str, ...] | None) -> list[int] | None:
    classes = generator.schema.classes
    if not generator.network.conditional:
        if labels is not None:
            raise UsageError("--labels", "this generator has no classes to choose from", "leave it out")
        return None
    if labels is None:
        return list(range(len(classes)))
    for label in labels:
        if label not in classes:
            close = nearest(label, classes)
            hint = f"did you mean '{close}'?" if close else f"use one of {', '.join(classes)}"
            raise UsageError("--labels", f"unknown class '{label}'", hint)
    return [classes.index(label) for label in labels]


def _require_free(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"--out {out}", "exists already", "choose a new place")
