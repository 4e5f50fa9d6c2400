"""From data and answers to a scenario's file, and the description of a table's columns beside it."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Any

from silogan.common.config.scenario import Privacy, Sites, parse_scenario
from silogan.common.errors import DataError, SiloganError, UsageError
from silogan.common.files import create_secret, writing
from silogan.common.modality.table_file import read_description
from silogan.common.pages.words import counted
from silogan.simulations.init.found import Found
from silogan.simulations.init.look import look
from silogan.simulations.init.questions import Questions
from silogan.simulations.init.scenario_text import scenario_text

_SIZE = 64
_DESCRIBE = "describe its columns yourself (docs/tables.md)"
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Given:
    """What the user has said; None where nothing.

    Attributes:
        name: of the study.
        out: the new file.
        classes: names with commas between.
        label: column to be predicted; "" if none is.
        sites: number of hospitals, among which the records are shared at random.
        image_size: pixels in height and width.
        fit: what becomes of images that are not square.
        window: centre and width with a comma between.
        slices: the axis across which volumes are cut.
        epsilon, delta: the budget of each hospital.
    """

    name: str | None = None
    out: Path | None = None
    classes: str | None = None
    label: str | None = None
    sites: int | None = None
    image_size: int | None = None
    fit: str | None = None
    window: str | None = None
    slices: str | None = None
    epsilon: float | None = None
    delta: float | None = None


@dataclass(frozen=True)
class Begun:
    """What was written.

    Attributes:
        scenario: the file.
        columns: the draft of a table's description; None for images.
        described: the data in a few words.
        hospitals: their number.
        natural: whether the data names them.
    """

    scenario: Path
    columns: Path | None
    described: str
    hospitals: int
    natural: bool

    @property
    def next_commands(self) -> tuple[str, str]:
        """What to run with the scenario."""
        file = quote(str(self.scenario))
        return f"silogan plan {file}", f"silogan simulate {file}"

    def told(self) -> Iterator[str]:
        """In words."""
        hospitals = counted(self.hospitals, "hospital") + ("" if self.natural else " at random")
        yield f"{self.scenario}: {self.described}, shared by {hospitals}"
        if self.columns is not None:
            yield f"{self.columns}: NOT PRIVATE, its bounds and values were read from the data: replace them before it"
            yield "  leaves this machine, and before a hospital uses it"
        yield "next:"
        yield from (f"  {command}" for command in self.next_commands)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        columns = None if self.columns is None else str(self.columns)
        plain = {**asdict(self), "scenario": str(self.scenario), "columns": columns}
        return {**plain, "columns_are_private": columns is None, "next": list(self.next_commands)}


def begin(path: Path, given: Given, questions: Questions) -> Begun:
    """Looks at data, asks for the rest, and writes a scenario; no file is overwritten.

    Privacy:
        The scenario holds the structure of the data alone (`silogan.simulations.init.found.Found`). The description of
        a table is a draft from its values, which its first line says, and both files are their owner's alone.

    Args:
        path: folder of images by class, table, folder of tables, or .npz file.
        given: what need not be asked.
        questions: how the rest is found out.

    Raises:
        UsageError: an answer is missing, does not fit the data, or there is such a file already.
        ConfigError: an answer is out of range.
        DataError: the data cannot be read.
    """
    if given.out is not None:
        _check_new(given.out)
    found = look(path.expanduser())
    _check_fits(found, given)
    name = questions.answer("name", given.name, str, _name_of(path))
    out = given.out or Path(f"{name}.yaml")
    columns = None if found.draft is None else out.with_name(f"{out.stem}-columns.yaml")
    for file in (out, columns):
        if file is not None:
            _check_new(file)
    data = {"source": found.source, "root": str(path.expanduser().absolute())}
    data |= found.keys | _asked_of_images(found, given, questions)
    described = None
    natural = found.sites is not None and given.sites is None
    if found.draft is not None and columns is not None:
        label = questions.answer("label", given.label, str, found.draft.label or "")
        described = found.draft.written(label or None, found.draft.site if natural else None)
        _check_description(described)
        data["columns"] = columns.name
    hospitals = found.sites if natural else questions.answer("sites", given.sites, int, Sites().count)
    values: dict[str, Any] = {
        "name": name,
        "data": data,
        "sites": {"count": hospitals, "partition": "natural" if natural else "iid"},
        "model": {"family": "gaussians" if found.draft is None else "mixture"},
        "training": {"rounds": 0},
        "privacy": {
            "epsilon": questions.answer("epsilon", given.epsilon, float, Privacy().epsilon),
            "delta": questions.answer("delta", given.delta, float, Privacy().delta),
        },
    }
    scenario = parse_scenario(values)
    text = scenario_text(values, str(out), found.remarks)
    with writing(f"scenario '{out}'", "name another place with --out", UsageError):
        if columns is not None and described is not None:
            create_secret(columns, described.encode())
        create_secret(out, text.encode())
    return Begun(out, columns, found.described, scenario.sites.count, natural)


def _asked_of_images(found: Found, given: Given, questions: Questions) -> dict[str, Any]:
    """The keys of images that their files leave open."""
    keys: dict[str, Any] = {}
    if found.classes:
        keys["classes"] = list(questions.class_names(found.classes, given.classes))
    elif found.asks_classes:
        keys["classes"] = list(questions.new_class_names(given.classes))
    if found.asks_size or given.image_size is not None:
        keys["image_size"] = questions.answer("image-size", given.image_size, int, _SIZE)
    if found.asks_fit or given.fit is not None:
        keys["fit"] = questions.answer("fit", given.fit, str, "pad")
    if found.asks_window:
        keys["window"] = _window(questions.answer("window", given.window, str))
    if found.asks_slices:
        axis = questions.answer("slices", given.slices, str, "axial")
        keys["slices"] = {"axis": int(axis) if axis.isdecimal() else axis}
    return keys


def _window(text: str) -> dict[str, float]:
    try:
        centre, width = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--window {text}", "is not two numbers", "give CENTRE,WIDTH, as in 40,400") from None
    return {"centre": centre, "width": width}


def _check_fits(found: Found, given: Given) -> None:
    """Refuses options that the data has no use for."""
    is_table = found.draft is not None
    named = bool(found.classes) or found.asks_classes
    for option, value, fits, hint in (
        ("--label", given.label, is_table, "the class of an image is that of its folder or file"),
        ("--image-size", given.image_size, not is_table, "a table has no images"),
        ("--fit", given.fit, not is_table, "a table has no images"),
        ("--window", given.window, found.asks_window, "a window is for values of more than 8 bits"),
        ("--slices", given.slices, found.asks_slices, "slices are of volumes (.nii)"),
        ("--classes", given.classes, named, "name the column with --label" if is_table else "these images have names"),
    ):
        if value is not None and not fits:
            raise UsageError(option, f"does not fit {found.described}", f"leave it out: {hint}")


def _check_new(out: Path) -> None:
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--out {out}", "is not the name of a YAML file", "let it end in .yaml")
    if out.exists():
        raise UsageError(f"'{out}'", "is there already, and is not overwritten", "name another file with --out")


def _check_description(text: str) -> None:
    """Refuses a draft that describes nothing.

    Raises:
        DataError: no column could be described.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "columns.yaml"
        file.write_text(text, encoding="utf-8")
        try:
            read_description(file)
        except SiloganError:  # its text may quote a value
            raise DataError("table", "has no columns of which a description can be drafted", _DESCRIBE) from None


def _name_of(path: Path) -> str:
    """A study's name from that of the data."""
    words = re.sub(r"[^a-z0-9._-]+", "-", path.expanduser().absolute().stem.lower())
    return words.strip("._-")[:64] or "mine"
