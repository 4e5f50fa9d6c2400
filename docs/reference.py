"""Writes `docs/scenarios.md`, the reference of all scenario keys, from the models that read a scenario.

make docs
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from silogan.client.data import READERS
from silogan.common.config.scenario import Scenario
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import FAMILIES
from silogan.server.rounds.aggregation import RULES
from silogan.simulations.partition import PARTITIONS

Schema = dict[str, Any]

PAGE = Path(__file__).parent / "scenarios.md"
SCENARIOS = Path(__file__).parent.parent / "simulations" / "scenarios"
CHOICES = {
    "data.source": READERS,
    "sites.partition": PARTITIONS,
    "model.family": FAMILIES,
    "training.loss": LOSSES,
    "federation.aggregation": RULES,
}
OPENING = """# Scenarios

A study is one YAML file. Every key has a default unless it says *required*; an unknown key is an error that suggests
the nearest known one. `--set KEY=VALUE` changes a key from the command line, for example `--set training.rounds=5`.
`docs/reference.py` generates this page.

## Included scenarios

"""


def page() -> str:
    """The whole page."""
    whole = Scenario.model_json_schema()
    return OPENING + "".join(_shipped()) + "\n" + "\n".join((*_sections(whole, whole, ""), *_rules(), ""))


def _shipped() -> Iterator[str]:
    for path in sorted(SCENARIOS.glob("*.yaml")):
        title = next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("title:"))
        yield f"- `simulations/scenarios/{path.name}`: {title.removeprefix('title:').strip()}\n"


def _rules() -> Iterator[str]:
    """The table of aggregation rules."""
    yield "\n## Rules of `federation.aggregation`, for n replies of which f = `byzantine` are hostile\n"
    yield "| rule | result | needs | uses | replies in memory |\n|---|---|---|---|---|"
    for name, rule in RULES.items():
        held, uses = "all" if rule.holds_replies else "one", ", ".join(f"`{key}`" for key in sorted(rule.uses))
        yield f"| `{name}` | {rule.description} | {rule.condition} | {uses} | {held} |"


def _sections(whole: Schema, section: Schema, prefix: str) -> Iterator[str]:
    """A table of the keys of a section, then the sections in it."""
    inner: list[tuple[str, Schema]] = []
    rows: list[str] = []
    for key, value in section["properties"].items():
        name = f"{prefix}{key}"
        nested = list(_nested(whole, value))
        inner += [(name, one) for one in nested]
        if not nested or any("$ref" not in one for one in value.get("anyOf", [])):
            shown = (f"`{name}`", _kind(whole, value), _default(key, value, section), _meaning(name, value))
            rows.append(f"| {' | '.join(shown)} |")
    if rows:
        yield f"\n## {_heading(section, prefix)}\n"
        yield "| key | value | default | meaning |\n|---|---|---|---|"
        yield from rows
    for name, one in inner:
        yield from _sections(whole, one, f"{name}.")


def _heading(section: Schema, prefix: str) -> str:
    if not prefix:
        return "The study"
    tag = [f"{key}: {value['const']}" for key, value in section["properties"].items() if "const" in value]
    described = section.get("description", "").split("\n")[0].split(" (`")[0].rstrip(".")
    return f"`{prefix.rstrip('.')}`" + (f" with `{tag[0]}`" if tag else "") + (f": {described}" if described else "")


def _nested(whole: Schema, value: Schema) -> Iterator[Schema]:
    """The sections that a key may hold."""
    for one in [value, *value.get("anyOf", []), *value.get("oneOf", [])]:
        if "$ref" in one:
            found = whole["$defs"][one["$ref"].rpartition("/")[2]]
            yield from [found] if "properties" in found else _nested(whole, found)


def _kind(whole: Schema, value: Schema) -> str:
    """The values of a key, in words."""
    if "$ref" in value:
        found = whole["$defs"][value["$ref"].rpartition("/")[2]]
        return "`{}` or its keys below" if "properties" in found else _kind(whole, found)
    alternatives = value.get("anyOf") or value.get("oneOf")
    if alternatives:
        return " or ".join(dict.fromkeys(_kind(whole, one) for one in alternatives))
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if value.get("type") == "array":
        parts = value.get("prefixItems", [value.get("items", {})])
        return "list: " + ", ".join(dict.fromkeys(_kind(whole, one) for one in parts))
    names = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
    return names.get(value.get("type", ""), "anything") + _range(value)


def _range(value: Schema) -> str:
    low = value.get("minimum", value.get("exclusiveMinimum"))
    high = value.get("maximum", value.get("exclusiveMaximum"))
    parts = [f"from {low:g}" if "minimum" in value else f"above {low:g}"] if low is not None else []
    if high is not None and high < 2**53:
        parts.append(f"to {high:g}" if "maximum" in value else f"below {high:g}")
    return f" {' '.join(parts)}" if parts else ""


def _default(key: str, value: Schema, section: Schema) -> str:
    if key in section.get("required", []):
        return "*required*"
    default = value.get("default")
    return "" if default in (None, "") else f"`{json.dumps(default)}`"


def _meaning(name: str, value: Schema) -> str:
    choices = f"one of {', '.join(f'`{one}`' for one in CHOICES[name])}" if name in CHOICES else ""
    described = " ".join(value.get("description", "").split()).replace("|", "\\|")
    return "; ".join(part for part in (described, choices) if part)


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page(), encoding="utf-8")
