"""Libraries that only an extra installs, imported where they are used."""

from importlib import import_module
from typing import Any

from silogan.common.errors import UsageError


def library(name: str, extra: str, thing: str, *, needs: str = "needs", hint: str = "") -> Any:
    """A module of an optional library.

    Args:
        name: of the module.
        extra: that installs it.
        thing: what wants it, for an error.
        needs: "need" of a thing in the plural.
        hint: what to do without it, if there is something.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        problem = f"{needs} {name.partition('.')[0]}, which is not installed"
        other = f", or {hint}" if hint else ""
        raise UsageError(thing, problem, f"pip install 'silogan[{extra}]'{other}") from None
