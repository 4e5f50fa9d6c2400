"""Reading and writing YAML from untrusted sources: plain values, within limits."""

import re
from pathlib import Path
from typing import Any

import yaml

SafeLoader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

_MOST_BYTES = 1_000_000
_MOST_VALUES = 50_000
_DEEPEST = 20
_LONGEST = 4096

_FLOAT = ("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))
"""1e-5, which YAML 1.1 takes for a text and everybody else for a number."""


class _Loader(SafeLoader):  # pyright: ignore[reportUntypedBaseClass, reportGeneralTypeIssues]
    """Plain values alone, and no key twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise Repeated(problem=f"has key '{key.value}' twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would take for a number."""


_Loader.add_implicit_resolver(*_FLOAT)
_Dumper.add_implicit_resolver(*_FLOAT)


class Excess(yaml.MarkedYAMLError):
    """YAML that is more than anybody needs; `problem` says in what."""


class Repeated(Excess):
    """A key that is there twice."""


def read_file(path: Path) -> str:
    """The text of a YAML file.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
        Excess: it is longer than a megabyte.
    """
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    return _short_enough(content).decode("utf-8")


def read_yaml(text: str) -> object:
    """The plain value of a YAML text.

    Raises:
        yaml.YAMLError: the text has none. PyYAML itself lets other errors through for a date or number that cannot be.
        Excess: it is too long, too deep, has a key twice, or an anchor or alias: a few of those make gigabytes.
    """
    _short_enough(text.encode("utf-8", "surrogatepass"))
    try:
        _check(text)
        return yaml.load(text, _Loader)  # noqa: S506  (a safe loader)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from None


def write_yaml(value: object, *, compact: bool = False) -> str:
    """A plain value as YAML, keys in their order; if compact, with lists of single values on one line."""
    flow, width = (None, 120) if compact else (False, 80)
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width)


def _short_enough(content: bytes) -> bytes:
    if len(content) > _MOST_BYTES:
        raise Excess(problem=f"is longer than {_MOST_BYTES} bytes")
    return content


def _check(text: str) -> None:
    """Looks at the text's parts one by one, before any of them is built."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, _Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        long = isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST
        problems = (
            (getattr(event, "anchor", None) is not None, "has an anchor or alias: write the value in full"),
            (depth > _DEEPEST, f"is nested deeper than {_DEEPEST}"),
            (number > _MOST_VALUES, f"has more than {_MOST_VALUES} values"),
            (long, f"has a value longer than {_LONGEST}"),
        )
        for applies, problem in problems:
            if applies:
                raise Excess(problem=problem, problem_mark=event.start_mark)
