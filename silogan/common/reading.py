"""Reading settings: a YAML file as keys, and keys as a section; every fault is one line that names its key."""

from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from silogan.common.errors import ConfigError
from silogan.common.section import AnySection, shown, shown_key, unknown_key
from silogan.common.yaml_text import Excess, Repeated, read_file, read_yaml

_YAML_HINTS = {
    "found character that cannot start any token": "indent with spaces, not tabs",
    "mapping values are not allowed": "quote a text that has a colon, and indent all keys of a section alike",
}
"""By what PyYAML says of a fault."""


def read_keys(path: Path, whole: str, example: str) -> dict[str, Any]:
    """The keys of a YAML file; `whole` is what an error calls it, `example` how to come by a good one.

    Raises:
        ConfigError: the file is missing, or not YAML, or not a set of keys.
    """
    thing = f"{whole} '{path}'"
    try:
        raw = read_yaml(read_file(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(thing, f"cannot be read ({reason})", f"give a {whole} file") from None
    except Excess as error:
        hint = "keep one of them" if isinstance(error, Repeated) else "make it simpler"
        raise ConfigError(thing, str(error.problem), hint) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        hint = next((hint for said, hint in _YAML_HINTS.items() if said in str(error)), "correct the file")
        raise ConfigError(thing, f"is not valid YAML{where}", hint) from None
    if not isinstance(raw, dict):
        raise ConfigError(thing, "is not a set of keys", example)
    return cast(dict[str, Any], raw)


def parse(section: type[AnySection], values: object, whole: str, at: Sequence[str] = ()) -> AnySection:
    """Validates plain values into a section.

    Args:
        section: the section.
        values: as read from YAML.
        whole: what an error calls all of it, as "scenario".
        at: the keys under which the values stand in it.

    Raises:
        ConfigError: the first fault: an unknown key, a missing one, or a value that is wrong.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise one_line(error, whole, at, section) from None


def one_line(
    error: ValidationError, whole: str, at: Sequence[str] = (), section: type[BaseModel] | None = None
) -> ConfigError:
    """The first fault of a validation; see `parse`. Without the section, no key near an unknown one is suggested."""
    # Where a value may be a number or a section there is a fault for either: the one inside the section says more.
    fault = max(error.errors(), key=lambda fault: len(fault["loc"]))
    inner, known = _place(fault["loc"], section)
    path = [*at, *inner]
    key = shown_key(path or [whole])
    if fault["type"] == "extra_forbidden":
        return unknown_key(path, known if at or len(path) > 1 else [*known, *in_sections(path[0], section)])
    if fault["type"] == "missing":
        return ConfigError(key, "is missing", f"add it to the {whole}")
    if fault["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return ConfigError(key, f"is a section of keys, not {shown(fault['input'])}", f"set one of them, as {key}.KEY")
    if fault["type"] == "value_error":
        return ConfigError(key, str(fault["ctx"]["error"]) if "ctx" in fault else fault["msg"], "correct one of them")
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return ConfigError(key, f"{message}, not {shown(fault['input'])}", "correct the value")


def _place(location: tuple[int | str, ...], section: type[BaseModel] | None) -> tuple[list[str], list[str]]:
    """The keys that lead to a fault, and the names of all keys beside the last of them.

    Where a value may be of several types, pydantic puts among the keys which of them it was read as.
    """
    path: list[str] = []
    beside: list[str] = []
    types: list[Any] = [section]
    for part in location:
        if len(types) > 1:
            types = [one for one in types if getattr(one, "__name__", "") == part]
            continue
        here = types[0] if types else None
        fields = here.model_fields if isinstance(here, type) and issubclass(here, BaseModel) else {}
        path.append(str(part))
        beside = list(fields)
        types = _alternatives(fields[part].annotation) if isinstance(part, str) and part in fields else []
    return path, beside


def in_sections(key: str, section: type[BaseModel] | None) -> list[str]:
    """The dotted keys of a section's own sections that end with a key: where one was left out."""
    fields = section.model_fields if section else {}
    inner = {name: one for name, field in fields.items() for one in _alternatives(field.annotation)}
    return [
        f"{name}.{key}"
        for name, one in inner.items()
        if isinstance(one, type) and issubclass(one, BaseModel) and key in one.model_fields
    ]


def _alternatives(annotation: Any) -> list[Any]:
    """The types that a field may have, without None."""
    several = get_origin(annotation) in (Union, UnionType)
    return [one for one in get_args(annotation) if one is not NoneType] if several else [annotation]
