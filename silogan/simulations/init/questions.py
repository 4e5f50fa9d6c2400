"""What a scenario needs beside its data: given as an option, asked on a terminal, or taken as it is if told so."""

import sys
from dataclasses import dataclass
from typing import TypeVar

import typer

from silogan.common.errors import UsageError

Value = TypeVar("Value", str, int, float)

_MOST_CLASSES = 20
"""Class folders that are taken without a question: folders of that many patients would be no classes."""

_EXPLAINED = {
    "name": "The study's name: small letters, digits and . _ -",
    "classes": "The names of the classes in the order of their labels, with commas between. They become public.",
    "label": "The column to be predicted, of at most 30 values, which become the classes; nothing if none is.",
    "sites": "The number of hospitals that share the records in the simulation.",
    "fit": "What becomes of images that are not square: pad (black beside them), crop (the middle) or squash.",
    "window": "Centre and width of the public window of values, as in 40,400, in the units of the files. It follows\n"
    "from the clinical question, never from these images.",
    "slices": "Across which axis volumes are cut: axial, coronal, sagittal, or 0, 1 or 2 of the array as it is stored.",
    "image-size": "Height and width in pixels, 8 to 256, that images are resized to.",
    "epsilon": "ε, the privacy budget of each hospital: less is safer and noisier.",
    "delta": "δ, the probability that the bound on ε may fail: smaller than one over a hospital's number of patients.",
}


@dataclass(frozen=True)
class Questions:
    """How what was not given is found out.

    Attributes:
        take_defaults: do not ask.
    """

    take_defaults: bool

    def answer(self, name: str, given: Value | None, kind: type[Value], default: Value | None = None) -> Value:
        """The value of an option: as given, else the default or an answer on the terminal.

        Raises:
            UsageError: it was not given, and there is neither a terminal nor a default that may be taken.
        """
        if given is not None:
            return given
        if self.take_defaults and default is not None:
            return default
        if self.take_defaults or not _on_terminal():
            may_take = "" if default is None else f", or --yes to take {default or 'none'}"
            raise UsageError(f"--{name}", "is missing", f"give it{may_take}")
        typer.echo(_EXPLAINED[name], err=True)
        return typer.prompt(name, default=default, type=kind, err=True)

    def class_names(self, found: tuple[str, ...], given: str | None) -> tuple[str, ...]:
        """The names of class folders, once it is sure that they are public.

        Raises:
            UsageError: they are not, or nobody says so.
        """
        if given is not None:
            names = _split(given)
            if set(names) != set(found):
                hint = "give all of them, in any order, or rename folders"
                raise UsageError(f"--classes {given}", "does not name the class folders", hint)
            return names
        few = len(found) <= _MOST_CLASSES
        if self.take_defaults and few:
            return found
        if self.take_defaults or not _on_terminal():
            hint = "give the names of the class folders, which become public" + (", or --yes" if few else "")
            raise UsageError("--classes", "is missing", hint)
        typer.echo(f"Names of the class folders, which the scenario makes public: {', '.join(found)}", err=True)
        if not typer.confirm("is none of them a secret", default=True, err=True):
            raise UsageError("class folders", "have names that are secret", "rename them, and write the scenario again")
        return found

    def new_class_names(self, given: str | None) -> tuple[str, ...]:
        """The names of classes that the data does not name.

        Raises:
            UsageError: they were not given, and there is no terminal.
        """
        return _split(self.answer("classes", given, str))


def _split(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
