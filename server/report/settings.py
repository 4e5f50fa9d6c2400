"""What the run was made of, and how to repeat it."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from common.pages.markup import Html, details, join, table, tag
from common.pages.words import moment, number

Report = Mapping[str, Any]


def settings_section(report: Report) -> Html:
    """Commands to repeat the run, then every setting and version."""
    model = report["model"]
    made_of = [
        ("Family", model["family"]),
        ("Parameters of the generator", f"{model['parameters_generator']:,}"),
        ("Parameters of the discriminator", f"{model['parameters_discriminator']:,}"),
        ("Engine", report["engine"]),
        ("Hardware", report["hardware"]),
    ]
    versions = [*report["versions"].items()]
    return tag(
        "section",
        tag("h2", "How to repeat it"),
        _commands(report),
        details("Model and machine", table("What was trained, and on what", ("What", "Value"), made_of)),
        details(
            "Settings", table("Every setting of the scenario", ("Setting", "Value"), flatten(report["configuration"]))
        ),
        details("Versions", table("Software that was used", ("Package", "Version"), versions)),
    )


def _commands(report: Report) -> Html:
    again = tag(
        "p", "The run's folder holds ", tag("code", "run.yaml"), ", the scenario as it was resolved. Repeat the run:"
    )
    parts = [again, tag("pre", tag("code", "silogan simulate run.yaml --out AGAIN"))]
    if report["seeded"]:
        parts.append(
            tag("p", "The seed is fixed: the same versions on the same hardware give the same numbers.", class_="soft")
        )
    else:
        parts.append(
            tag("p", "A repetition draws new randomness: expect close numbers, not equal ones.", class_="soft")
        )
    if report["private"]:
        parts.append(tag("p", "Draw more pictures (RUN is the run's folder); they cost no further privacy:"))
        parts.append(tag("pre", tag("code", "silogan generate RUN --count 1000 --out DIR")))
    return join(parts)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as (dotted key, value in words), in their order."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 6)
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in cast(list[object], value)) or "none"
    return str(value)


def origin(report: Report) -> Html:
    """The line at the foot of the page."""
    version = report["versions"].get("silogan", "")
    return tag(
        "p", f"Written by SiloGAN {version}, {moment(report['created'])}. The same facts for machines: report.json."
    )
