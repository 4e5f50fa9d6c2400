"""What only a person knows of a release: purpose, approvals, licence and contact, in a small YAML file."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from silogan.common.errors import ConfigError
from silogan.common.printable import printable
from silogan.common.reading import parse, read_keys
from silogan.common.section import Section

_WHOLE = "data sheet"
_HINT = "fill it in; `silogan release init` writes an empty one"


def _lines(text: str) -> str:
    """The text with its lines, and nothing else that cannot be printed."""
    return "\n".join(printable(line) for line in text.splitlines())


_Prose = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000), AfterValidator(_lines)]


class Datasheet(Section):
    """The part of a data sheet that a person writes (Gebru et al., 2021)."""

    purpose: _Prose
    """why the data was made, and who paid for it"""

    collection: _Prose
    """whose records the hospitals used, from when, and how they were collected"""

    approvals: _Prose
    """ethics boards and data protection officers who approved it, with their references; or why none was needed"""

    intended_use: _Prose
    """what the synthetic records may be used for"""

    licence: _Prose
    """under which they may be used, and the generator too"""

    contact: _Prose
    """who answers questions, and whom to tell of a problem"""

    limitations: _Prose = ""
    """what is known to be wrong with them, and whom they do not represent; may stay empty"""

    citation: _Prose = ""
    """how to cite them; may stay empty"""


NEEDED = tuple(name for name, field in Datasheet.model_fields.items() if field.is_required())
"""What may not stay empty."""


def read_datasheet(path: Path) -> Datasheet:
    """Reads the file.

    Raises:
        ConfigError: it is missing, not of this form, or something of `NEEDED` is empty: all of that is named.
    """
    values = read_keys(path, _WHOLE, _HINT)
    empty = [name for name in NEEDED if not str(values.get(name) or "").strip()]
    if empty:
        raise ConfigError(f"{_WHOLE} '{path.name}'", f"says nothing of {', '.join(empty)}", _HINT)
    return parse(Datasheet, {name: value for name, value in values.items() if value is not None}, _WHOLE)


def datasheet_template() -> str:
    """The file with every key empty, and above each what belongs there."""
    head = "# What only a person knows of this release. It is printed in datasheet.md and model_card.md.\n"
    fields = Datasheet.model_fields.items()
    return head + "".join(f"\n# {field.description}\n{name}:\n" for name, field in fields)
