"""The scenarios that come with SiloGAN, by name: `silogan simulate digits` works in any folder."""

import re
from pathlib import Path
from typing import NamedTuple

from silogan.common.errors import ConfigError
from silogan.common.reading import read_keys
from silogan.common.registry import nearest

_FOLDER = Path(__file__).parent / "scenarios"
_TIME = re.compile(r"^# Time on 2 cores: (.+)\.$", re.MULTILINE)
_EMBEDDED = ("digits", "breast-cancer", "phantoms")
"""Sources that need no file."""


class Shipped(NamedTuple):
    """What is told of a scenario.

    Attributes:
        name: by which it is found.
        title: what it is, in a few words.
        time: of a run, as it was measured; empty where it was not.
        embedded: whether its data comes with the libraries.
    """

    name: str
    title: str
    time: str
    embedded: bool


def scenario_file(given: Path) -> Path:
    """A scenario's file, from its path or from the name of one of ours; a file of that name comes first.

    Raises:
        ConfigError: there is no such file, and no scenario of that name.
    """
    if given.is_file():
        return given
    if not given.suffix and given.parent == Path() and (path := _FOLDER / f"{given}.yaml").is_file():
        return path
    thing = f"scenario '{given}'"
    if given.is_dir():
        raise ConfigError(thing, "is a folder", f"write a scenario for the data in it: silogan init {given}")
    close = nearest(given.stem, names())
    hint = f"did you mean '{close}'?" if close else "silogan scenarios lists ours, silogan init writes one for you"
    raise ConfigError(thing, "is neither a file nor the name of a scenario", hint)


def shipped_file(name: str) -> Path | None:
    """The file of one of ours; None if there is none of that name."""
    return _FOLDER / f"{name}.yaml" if name in names() else None


def shipped() -> list[Shipped]:
    """All of them, by name."""
    return [_told(name) for name in names()]


def names() -> list[str]:
    """Of all of them, in order."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def _told(name: str) -> Shipped:
    path = _FOLDER / f"{name}.yaml"
    keys = read_keys(path, "scenario", "install it again")
    source = keys.get("data", {}).get("source", _EMBEDDED[0])
    time = _TIME.search(path.read_text(encoding="utf-8"))
    return Shipped(name, str(keys.get("title", "")), time.group(1) if time else "", source in _EMBEDDED)
