"""Mutations of plain values, as YAML and JSON hold them, and of the text itself."""

import copy
import datetime
import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any, cast

import yaml

Mutator = Callable[[Random, bytes], bytes]
Path = tuple[Any, ...]


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


NONSENSE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 10**6, 10**8, 10**9, 2**31, 2**53 + 1, 2**63, -(2**70), 10**40, 10**400),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -1.0, 5e-324, 1e-320, 1e-300, 1e-12, 1e-6, 1000.0, 1e6, 1e300, 1e308),
    *(math.nan, math.inf, -math.inf),
    *("", " ", "1", "1.0", "1e3", "no", "yes", "null", "record", "patient", "x" * 300, "x" * 5000, "é" * 150),
    *("\x1b[2J", "\u202e", "a\nb", "a\rb", "\x00", "../../etc/passwd", "/dev/zero", "[red]", "%s", "{0}"),
    "a" * 63 + "/",
    *([], {}, [1], [[1]], {"a": 1}, {1: 2}, {"": ""}, [None] * 50, ["a"] * 2000, nested(15), nested(30)),
    *(datetime.date(2020, 1, 1), b"bytes", {"more": {"more": 1}}),
)
"""What may stand in place of any value."""

SNIPPETS: tuple[str, ...] = (
    *("", "&a [1]", "*a", "- ", "[" * 40, "{", "}", "]", '"', "'", "!!python/object:os.system {}", "!!binary x"),
    *("\x00", "\t", "\x1b[31m", "\ufeff", "\u2028", "x" * 5000, "1" * 5000, "? ", "<<: ", "---\n", "...\n"),
    "%YAML 9\n",
    *("1e999", "-", ".nan", ".inf", "0x" + "f" * 300, "2020-99-99", "1:1:1", "\\ud800", "NaN", ","),
)
"""What may stand anywhere in a text."""

BOMBS: tuple[str, ...] = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)),
    "a: &a {b: *a}\n",
    "[" * 100_000,
    "{a: " * 20_000,
    "- " * 20_000,
    "a: " + "[" + "1," * 200_000 + "1]\n",
    "".join(f"k{n}: {n}\n" for n in range(60_000)),
    "a: " + "9" * 200_000 + "\n",
    "x" * 1_100_000,
    "\n" * 900_000,
    "? a\n" * 20_000,
)
"""Whole texts that are small, and large once they are read."""


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of each part of a plain value."""
    for key, part in _parts(value):
        yield (*path, key)
        yield from places(part, (*path, key))


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from cast(dict[Any, Any], value).items()
    elif isinstance(value, list):
        yield from enumerate(cast(list[Any], value))


def parent_of(value: Any, path: Path) -> Any:
    """What holds the part at a path."""
    for key in path[:-1]:
        value = value[key]
    return value


def mutated(rng: Random, original: Any, within: Path = ()) -> Any:
    """One to three parts below `within` replaced, dropped, added to, or exchanged with another."""
    changed = copy.deepcopy(original)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        found = [path for path in places(changed) if path[: len(within)] == within and len(path) > len(within)]
        if not found:
            return nonsense(rng)
        _change(rng, changed, rng.choice(found), found)
    return changed


def _change(rng: Random, changed: Any, path: Path, others: list[Path]) -> None:
    parent, how = parent_of(changed, path), rng.randrange(10)
    if how <= 2:
        parent[path[-1]] = _alike(rng, parent[path[-1]])
    elif how <= 5:
        parent[path[-1]] = nonsense(rng)
    elif how == 6:
        del parent[path[-1]]
    elif how == 7:
        other = rng.choice(others)
        with suppress(LookupError, TypeError):
            parent[path[-1]] = copy.deepcopy(parent_of(changed, other)[other[-1]])
    elif isinstance(parent, dict):
        parent[rng.choice(["more", "seeded", "round", "name", 1, "\x1b", "x" * 300])] = nonsense(rng)
    else:
        parent.extend([nonsense(rng)] * rng.choice([1, 1, 2, 100]))


def _alike(rng: Random, value: Any) -> Any:
    """Another value of the same type: what may well be right."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, value * 10, value * 1000, 1, 2 ** rng.randrange(24)])
    if isinstance(value, float):
        return value * 10.0 ** rng.uniform(-4, 4) if rng.randrange(2) else float(f"{value * rng.uniform(0.5, 2):.3g}")
    if isinstance(value, list):
        items = cast(list[Any], value)
        return rng.choice([items * 2, items[:-1], items[::-1], items * 200])
    if isinstance(value, str):
        return rng.choice([value + "x", value[:-1], value.upper(), value[::-1], value * 30])
    return nonsense(rng)


def nonsense(rng: Random) -> Any:
    """Any value at all."""
    match rng.randrange(8):
        case 0:
            return rng.randint(-(2**40), 2**40)
        case 1:
            return rng.uniform(-2, 2) * 10.0 ** rng.randint(-20, 20)
        case 2:
            letters = ([rng.randrange(32, 127), rng.randrange(0x3000)] for _ in range(rng.randrange(6)))
            return "".join(chr(rng.choice(letter)) for letter in letters)
        case _:
            return copy.deepcopy(rng.choice(NONSENSE))


def mutated_text(rng: Random, text: str) -> str:
    """A text with a piece cut out of it, put into it, or given twice; now and then another text."""
    if rng.randrange(12) == 0:
        bomb = rng.choice(BOMBS)
        return bomb if rng.randrange(2) else text + bomb
    for _ in range(rng.randint(1, 3)):
        start = rng.randint(0, len(text))
        cut = rng.choice([0, 0, 1, 10, 1000])
        lines = text.splitlines(keepends=True)
        piece = rng.choice(lines) if lines and rng.randrange(4) == 0 else rng.choice(SNIPPETS)
        text = text[:start] + piece + text[start + cut :]
    return text


def yaml_file(rng: Random, original: bytes) -> bytes:
    """A YAML file, mutated in its values or its text."""
    if rng.randrange(4) == 0:
        return encoded(mutated_text(rng, original.decode()))
    return encoded(dumped(mutated(rng, yaml.load(original, yaml.CSafeLoader))))


def json_file(rng: Random, original: bytes) -> bytes:
    """A JSON file, mutated in its values or its text."""
    if rng.randrange(4) == 0:
        return encoded(mutated_text(rng, original.decode()))
    return as_json(mutated(rng, json.loads(original))).encode()


def dumped(value: Any) -> str:
    """A plain value as YAML."""
    return yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def as_json(value: Any) -> str:
    """A plain value as JSON; what JSON has no type for as a text."""
    return json.dumps(_with_text_keys(value), default=str)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(part) for key, part in cast(dict[Any, Any], value).items()}
    return [_with_text_keys(part) for part in cast(list[Any], value)] if isinstance(value, list) else value


def encoded(text: str) -> bytes:
    """A text as bytes, whatever is in it."""
    return text.encode("utf-8", "surrogatepass")
