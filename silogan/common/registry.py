"""Looking up a name in a registry, with a helpful error if it is missing.

A registry is a plain dictionary from the name used in a scenario to the thing it stands for; a new variant is one file
and one line in it.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from silogan.common.errors import ConfigError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelt most like `name`, or None when none is close."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def lookup(registry: Mapping[str, T], name: str, key: str) -> T:
    """The entry called `name`; `key` is the scenario key it was given under.

    Raises:
        ConfigError: `name` is not registered; the message suggests the nearest.
    """
    try:
        return registry[name]
    except KeyError:
        close = nearest(name, registry)
        hint = f"did you mean '{close}'?" if close else f"use one of {', '.join(sorted(registry))}"
        raise ConfigError(key, f"unknown value '{name}'", hint) from None
