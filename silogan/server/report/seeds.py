"""Several seeds of one study: what differs by chance alone, as one page, one JSON file and lines for a terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, cast

from scipy.special import stdtrit

from silogan.common.files import write_bytes_atomically
from silogan.common.pages.page import environment, rendered
from silogan.common.pages.words import measured
from silogan.common.wire.run_folder import REPORT_PAGE, SUMMARY_FILE, SUMMARY_PAGE, sample_sheet
from silogan.server.report.report import sheet_of
from silogan.server.report.use import USES
from silogan.server.report.verdict import Verdict, Word

Report = Mapping[str, Any]

PAGE = """
{% extends "frame" %}
{% from "parts" import cautions, masthead, row, table, verdict_banner %}
{% from "parts" import sheet as picture %}
{% set title = summary.title or summary.name %}

{% block title %}{{ title }} · SiloGAN summary of seeds{% endblock %}

{% block header %}
{% set lede %}
The same study, repeated with {{ runs | length | counted("seed") }}. What differs between the runs is chance: the
noise, and what was drawn.
{% endset %}
{% call masthead("summary of seeds", title, "%s · study “%s”" | format(created | moment, summary.name), lede) %}
{{ verdict_banner(summary.verdict, plain) }}
{{ cautions(private, seeded, "fixed seeds make simulations repeatable, and their noise predictable.") }}
<p class="stamp">Not for diagnosis</p>
{% endcall %}
{% endblock %}

{% block main %}
<section>
<h2>Figures over all seeds</h2>
{% call table("Mean, and the 95 % interval of the mean (Student's t). Real: the same of real training records.",
              ("Figure", "Mean", "95 % interval", "Standard deviation", "Each seed", "Real, mean"), "figures") %}
{% for one in summary.figures %}
{{ row(one.name, [one["mean"] | measured,
                  "—" if one.low is none else "%s to %s" | format(one.low | measured, one.high | measured),
                  one.deviation | measured, one["values"] | map("measured") | join(", "), one.real | measured]) }}
{% endfor %}
{% endcall %}
<p class="soft">Accuracy, AUROC, recall and fidelity use real test data without noise. The guarantee does not cover
them. An interval needs two seeds or more; it covers chance between seeds, not the choice of the test records.</p>
</section>
<section>
<h2>Each run</h2>
{% call table("The runs, with their verdicts", ("Seed", "Verdict", "Report", "ε of the hospital that spent most"),
              "figures") %}
{% for run in runs %}
<tr><th scope="row">{{ run.seed }}</th><td>{{ run.verdict.word }}</td>
<td><a href="{{ run.folder | urlencode }}/{{ REPORT_PAGE }}">report of seed {{ run.seed }}</a></td>
<td>{{ run.epsilon | epsilon }}</td></tr>
{% endfor %}
{% endcall %}
<p>For a person who is in the data of several runs, the ε of the runs add up. Repeat a study on public data only.</p>
{% for run in runs %}
<h3>Seed {{ run.seed }}: {{ run.verdict.word }}</h3>
{% if run.sheet %}
<figure>
{{ picture(run.sheet, "Synthetic samples of seed %s, in columns for each class." | format(run.seed)) }}
<figcaption><strong>Synthetic, not patients.</strong>{{ " %s." | format(SEEDED | capitalize) if seeded }}</figcaption>
</figure>
{% else %}
<p>No samples were drawn in this run.</p>
{% endif %}
{% endfor %}
</section>
{% endblock %}

{% block footer %}
Written by SiloGAN {{ version }}, {{ created | moment }}. The same facts for machines: {{ SUMMARY_FILE }}.
{%- endblock %}
"""

PAGES = environment(page=PAGE)

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Figure:
    """One figure over all seeds.

    Attributes:
        key: of `FIGURES`.
        name: in words.
        values: one for each seed that has it.
        mean: of the values.
        deviation: their standard deviation; None of one value.
        low, high: 95 % interval of the mean, by Student's t with one degree of freedom less than values (Student, "The
            probable error of a mean", 1908); None of one value.
        real: mean of the same figure of real training records in the place of synthetic ones; None where there is none.
    """

    key: str
    name: str
    values: tuple[float, ...]
    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    real: float | None

    @classmethod
    def of(cls, key: str, name: str, values: Sequence[float], real: Sequence[float]) -> "Figure":
        """The figure of at least one value."""
        centre, reference = mean(values), mean(real) if real else None
        if len(values) < 2:
            return cls(key, name, tuple(values), centre, None, None, None, reference)
        deviation = stdev(values)
        reach = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * deviation / sqrt(len(values))
        return cls(key, name, tuple(values), centre, deviation, centre - reach, centre + reach, reference)

    def __str__(self) -> str:
        within = "" if self.low is None else f" (95 % interval {measured(self.low)} to {measured(self.high)})"
        real = "" if self.real is None else f", real {measured(self.real)}"
        return f"{self.name} {measured(self.mean)}{within}{real}"


FIGURES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...] | None]] = {
    "accuracy": ("Accuracy", ("utility", "accuracy_synthetic"), ("utility", "accuracy_real")),
    "balanced_accuracy": (
        "Balanced accuracy",
        ("utility", "balanced_accuracy_synthetic"),
        ("utility", "balanced_accuracy_real"),
    ),
    "auroc": ("AUROC", ("utility", "auroc_synthetic"), ("utility", "auroc_real")),
    "least_recall": ("Recall of the class found least", ("utility", "per_class_recall_synthetic"), None),
    **{
        key: (name, ("fidelity", key), ("fidelity", "reference", key))
        for key, name in (
            ("precision", "Precision"),
            ("recall", "Recall"),
            ("density", "Density"),
            ("coverage", "Coverage"),
            ("frechet_distance", "Fréchet distance"),
        )
    },
    "one_way": (
        "Distance of single columns",
        ("table", "distances", "one_way", "mean"),
        ("table", "distances", "one_way", "floor_mean"),
    ),
}
"""Name of each figure, where a report has it, and where it has that of real records; of a list the least."""


@dataclass(frozen=True)
class Summary:
    """Several seeds of one study.

    Attributes:
        name, title: of the study.
        seeds: in the order in which they ran.
        folders: of their runs, relative to that of the summary.
        verdicts: one of each run.
        figures: over all seeds.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    folders: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    figures: tuple[Figure, ...]

    @classmethod
    def of(cls, reports: Sequence[Report], seeds: Sequence[int], folders: Sequence[str]) -> "Summary":
        """The summary of at least one report."""
        verdicts = tuple(Verdict.of_json(report["verdict"]) for report in reports)
        figures = tuple(_figures(reports))
        return cls(reports[0]["name"], reports[0]["title"], tuple(seeds), tuple(folders), verdicts, figures)

    @property
    def verdict(self) -> Verdict:
        """The worst of the runs: whoever uses one of them gets that one, and not their mean."""
        words = [found.word for found in self.verdicts]
        worst = max(words, key=list(Word).index)
        counts = ", ".join(f"{words.count(word)} {word}" for word in Word if word in words)
        decisive = [str(one) for one in self.figures if one.key in ("accuracy", "auroc", "coverage")]
        return Verdict(worst, (f"the worst of {len(words)} seeds ({counts})", *decisive))

    def to_json(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        runs = [
            {"seed": seed, "folder": folder, "verdict": verdict.to_json()}
            for seed, folder, verdict in zip(self.seeds, self.folders, self.verdicts, strict=True)
        ]
        return {
            "name": self.name,
            "title": self.title,
            "verdict": self.verdict.to_json(),
            "confidence": CONFIDENCE,
            "figures": [asdict(one) for one in self.figures],
            "runs": runs,
        }

    def told(self) -> list[str]:
        """The same as lines for a terminal."""
        return [f"{len(self.seeds)} seeds: {self.verdict.word}", *self.verdict.reasons]


def write_summary(folder: Path, reports: Sequence[Report], run_dirs: Sequence[Path]) -> Summary:
    """Writes `summary.html` and `summary.json` beside the runs.

    Args:
        folder: holds the runs.
        reports: the content of each run's `report.json`; at least one.
        run_dirs: their folders, within `folder`.

    Raises:
        OSError: a file cannot be written.
    """
    seeds = [report["configuration"]["seed"] for report in reports]
    summary = Summary.of(reports, seeds, [run.relative_to(folder).as_posix() for run in run_dirs])
    sheets = [path.read_bytes() if (path := sample_sheet(run)).is_file() else None for run in run_dirs]
    write_bytes_atomically(folder / SUMMARY_PAGE, render_summary(summary, reports, sheets).encode())
    content = json.dumps(summary.to_json(), indent=2, allow_nan=False)
    write_bytes_atomically(folder / SUMMARY_FILE, content.encode())
    return summary


def render_summary(summary: Summary, reports: Sequence[Report], sheets: Sequence[bytes | None]) -> str:
    """The page: a self-contained HTML document with one contact sheet for each seed, and links to the runs' pages."""
    plain = summary.to_json()
    runs = [
        {**run, "epsilon": max(spent, default=None), "sheet": sheet_of(sheet)}
        for run, report, sheet in zip(plain["runs"], reports, sheets, strict=True)
        for spent in [[site["epsilon"] for site in report["sites"] if site["epsilon"] is not None]]
    ]
    return rendered(
        PAGES,
        summary=plain,
        runs=runs,
        plain=USES[summary.verdict.word].plain,
        private=all(report["private"] for report in reports),
        seeded=any(report["seeded"] for report in reports),
        created=reports[-1]["created"],
        version=reports[-1]["versions"].get("silogan", ""),
        REPORT_PAGE=REPORT_PAGE,
        SUMMARY_FILE=SUMMARY_FILE,
    )


def _figures(reports: Sequence[Report]) -> Iterator[Figure]:
    for key, (name, where, of_real) in FIGURES.items():
        values = _all(reports, where)
        if values:
            yield Figure.of(key, name, values, _all(reports, of_real) if of_real else ())


def _all(reports: Sequence[Report], where: Sequence[str]) -> list[float]:
    """What the reports have at a path, those that have it; of a list the least."""
    found: list[float] = []
    for report in reports:
        value: Any = report
        for key in where:
            value = (value or {}).get(key)
        if isinstance(value, list):
            value = min((one for one in cast(list[float | None], value) if one is not None), default=None)
        if value is not None:
            found.append(value)
    return found
