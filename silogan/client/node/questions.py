"""Questions of `silogan node init` for missing options, with explanations; asked on a terminal only."""

import sys
from typing import TypeVar

import typer

from silogan.common.errors import UsageError

Value = TypeVar("Value", str, int, float)

DELTA = 1e-5
"""The default."""

_EXPLAINED = {
    "cohort": "A name for the data set at this hospital, for example xrays.",
    "site": "The hospital's name, as other hospitals and the coordinator will read it.",
    "data": "The file that says how the data is read: the keys of a scenario's data section (YAML).",
    "size": "The number of patients (of records with --record-level) that you make public. Round it: it need not be\n"
    "exact. It is sent to the coordinator as this hospital's weight. It cannot be changed later.",
    "delta": "δ, the probability that the bound on ε may fail: smaller than one over the number of patients. The\n"
    "ledger keeps it permanently. A study with a larger δ can never be approved: ask the coordinator.",
}


def answered(name: str, given: Value | None, kind: type[Value], default: Value | None = None) -> Value:
    """The value of an option: as given, else as answered on the terminal, else the default.

    Raises:
        UsageError: it was not given, there is no terminal to ask on, and there is no default.
    """
    if given is not None:
        return given
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        if default is None:
            raise UsageError(f"--{name}", "is missing", "give it, or answer on a terminal")
        return default
    typer.echo(_EXPLAINED[name])
    return typer.prompt(name, default=default, type=kind)


def record_level(given: bool | None) -> bool:
    """Whether the unit is the record instead of the patient; asked on a terminal."""
    if given is not None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return bool(given)
    typer.echo(
        "The unit of privacy: a patient with all records, which needs the patient of each (data.patients for images,"
    )
    typer.echo("patient in the description of a table); or a single record, where nobody knows the patient.")
    return not typer.confirm("protect patients", default=True)
