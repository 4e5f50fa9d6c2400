"""Common base of a scenario's sections, and sections chosen by a tag."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from silogan.common.bounds import STRICT
from silogan.common.errors import ConfigError
from silogan.common.registry import lookup, nearest

_SHOWN = 60  # characters of a wrong value


class Section(BaseModel):
    """A part of a scenario: frozen, strict about types, and without unknown keys."""

    model_config = STRICT | ConfigDict(
        frozen=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False, use_attribute_docstrings=True
    )


AnySection = TypeVar("AnySection", bound=Section)


def variant(
    known: Mapping[str, type[AnySection]], values: object, *, section: str, tag: str, default: str
) -> AnySection:
    """The section that `values` describe, of the type that their tag names; a section stays as it is.

    A key that only other types have may be left at its default there, as older files leave it.

    Args:
        known: the types by their tags.
        values: as read from YAML.
        section: key of the section, for errors.
        tag: key that holds the tag.
        default: the tag where none is given.

    Raises:
        ConfigError: the tag or a key is unknown, or a key does not fit the tag.
        ValidationError: a value is wrong.
    """
    if isinstance(values, Section):
        return cast(AnySection, values)
    given = dict(cast(dict[object, object], values)) if isinstance(values, dict) else {}
    name = given.get(tag, default)
    chosen = lookup(known, name, f"{section}.{tag}") if isinstance(name, str) else known[default]
    for key in [str(key) for key in given if key not in chosen.model_fields]:
        fields = [one.model_fields[key] for one in known.values() if key in one.model_fields]
        if not fields:
            raise unknown_key([section, key], chosen.model_fields)
        if given.pop(key) not in (None, *(field.default for field in fields)):
            raise ConfigError(f"{section}.{key}", f"does not fit {tag} '{name}'", "remove it")
    return chosen.model_validate(given if isinstance(values, dict) else values)


def unknown_key(path: list[str], known: Iterable[str]) -> ConfigError:
    """The error of a key that no section has; it names the nearest one of `known`, its neighbours."""
    close = nearest(path[-1], known)
    hint = f"did you mean '{'.'.join([*path[:-1], close])}'?" if close else "remove it"
    return ConfigError(shown_key(path), "unknown key", hint)


def shown_key(path: list[str]) -> str:
    """A dotted key, as shown in errors."""
    key = ".".join(path)
    return key if key.isprintable() and len(key) <= _SHOWN else shown(key)


def shown(value: Any) -> str:
    """A value as shown in errors: on one line, and shortened if it is long."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
