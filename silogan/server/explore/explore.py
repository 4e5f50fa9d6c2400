"""`silogan explore`: sheets that show what a finished run's generator has learnt."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from silogan.common.files import folder_atomically, write_bytes_atomically, writing
from silogan.common.printable import printable
from silogan.common.seeding import random_generator
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.server.explore.attention import attention
from silogan.server.explore.sheet import drawn
from silogan.server.explore.subject import MOST_CLASSES, Subject
from silogan.server.explore.walks import WALKS
from silogan.server.release.contact_sheet import saved
from silogan.server.release.generate import require_free, unless_failed
from silogan.server.release.generator import load_generator
from silogan.server.release.outputs.image_png import marked

ATTENTION = "attention"


@dataclass(frozen=True)
class Explored:
    """What was written.

    Attributes:
        out: the folder.
        sheets: names of the files in it.
        notes: what is missing from them, and why.
        marks: what they carry, as that they are seeded.
    """

    out: Path
    sheets: tuple[str, ...]
    notes: tuple[str, ...]
    marks: tuple[str, ...]

    def __str__(self) -> str:
        marks = f" ({'; '.join(self.marks)})" if self.marks else ""
        lines = f"{', '.join(self.sheets)} in {self.out}{marks}", *self.notes, "no privacy was spent"
        return "\n".join(map(printable, lines))

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "out": str(self.out)}


def explore(run_dir: Path, out: Path, *, seed: int | None = None, anyway: bool = False) -> Explored:
    """Writes the sheets of a run's generator, each a PNG with the marks of synthetic images.

    Args:
        run_dir: folder of a finished run.
        out: a new or empty folder.
        seed: of latent vectors and noise; fresh if None.
        anyway: show a run that has failed too; every sheet then says so.

    Raises:
        UsageError: the place is taken, or the run draws no images.
        DataError: the run has no generator, or one that draws no finite numbers.
        PrivacyRefusal: the generator is NON-PRIVATE.
        VerificationError: the run has failed, and not `anyway`; or its checkpoint is damaged or of another study.
        ConfigError: the folder cannot be written.

    Privacy:
        Post-processing of the released generator, and of the critic that private steps trained: it costs nothing more.
    """
    require_free(out)
    generator = load_generator(run_dir / GENERATOR_FILE)
    subject = Subject.of(generator)
    generator = unless_failed(generator, run_dir, anyway=anyway)
    notes: list[str] = []
    if generator.network.conditional and generator.schema.num_classes > MOST_CLASSES:
        notes.append(f"the first {MOST_CLASSES} of {generator.schema.num_classes} classes are shown")
    sheets = {name: walk(subject, random_generator(seed, "explore", name)) for name, walk in WALKS.items()}
    looks = attention(subject, random_generator(seed, "explore", ATTENTION), run_dir, generator.study_id)
    if looks is None:
        notes.append(f"no {ATTENTION}.png: the release has no classifier, and the run folder no critic")
    else:
        sheets[ATTENTION] = looks
    info = marked(generator.about(0))
    said = "; ".join(("Synthetic, not patients", *generator.marks))
    with writing(f"--out {out}", "choose another place"):
        out.parent.mkdir(parents=True, exist_ok=True)
        with folder_atomically(out) as folder:
            for name, sheet in sheets.items():
                write_bytes_atomically(folder / f"{name}.png", saved(drawn(sheet, said), info))
    return Explored(out, tuple(f"{name}.png" for name in sheets), tuple(notes), generator.marks)
