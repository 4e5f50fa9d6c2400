"""The Python interface: a study as a function call, and its run as an object; `import silogan` offers both."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from silogan.common.config.scenario import Scenario, parse_scenario, scenario_values, with_changes
from silogan.common.errors import DataError, UsageError
from silogan.common.wire.run_folder import GENERATOR_FILE, holds_run, sample_sheet
from silogan.server.release.arrays import Samples, picture_html, samples_of
from silogan.server.release.generate import draw, generate
from silogan.server.release.generator import ReleasedGenerator, load_generator, together
from silogan.server.release.outputs import OUTPUTS
from silogan.server.report.verdict import Verdict
from silogan.simulations.audit import as_plain, audit_all
from silogan.simulations.evaluate import evaluate
from silogan.simulations.finish import finished_report
from silogan.simulations.planner import Outlook, outlook
from silogan.simulations.shipped import Shipped, scenario_file, shipped
from silogan.simulations.simulate import simulate as run_study

AnyPath = str | os.PathLike[str]
Study = Scenario | Mapping[str, Any] | AnyPath
"""A scenario: as such, as plain values, as a file, or as the name of one that comes with SiloGAN."""


class _Asked(NamedTuple):
    """A condition as `draw` takes it."""

    labels: tuple[str, ...] | None = None
    where: str | None = None


@dataclass(frozen=True)
class Run:
    """A run that has finished, or stopped early for privacy.

    Args:
        folder: where its files are (see docs/run-folder.md).
    """

    folder: Path

    def __repr__(self) -> str:
        return f"<Run '{self.folder.name}'>"

    @classmethod
    def open(cls, folder: AnyPath) -> "Run":
        """The run in a folder.

        Raises:
            UsageError: there is none.
            DataError: it has not finished.
        """
        run = cls(Path(folder))
        if not holds_run(run.folder):
            inside = sorted(child.name for child in run.folder.glob("*") if holds_run(child))
            hint = f"open one of the runs in it: {', '.join(inside)}" if inside else "give the folder of a run"
            raise UsageError(f"'{run.folder}'", "holds no run", hint)
        _ = run.report
        return run

    @cached_property
    def report(self) -> dict[str, Any]:
        """The content of `report.json`: privacy spent, utility, fidelity, settings, versions.

        Raises:
            DataError: the run has not finished.
        """
        found = finished_report(self.folder)
        if found is None:
            raise DataError(f"run '{self.folder}'", "has no report", "finish it: silogan.simulate(..., resume=True)")
        return found

    @property
    def verdict(self) -> Verdict:
        """What the synthetic records are good for, with reasons."""
        return Verdict.of(self.report)

    @cached_property
    def generator(self) -> ReleasedGenerator:
        """The generator that was released.

        Raises:
            DataError: there is none.
            PrivacyRefusal: it is NON-PRIVATE.
        """
        return load_generator(self.folder / GENERATOR_FILE)

    def samples(
        self, count: int = 100, condition: str | Sequence[str] | None = None, *, seed: int | None = None
    ) -> Samples:
        """Draws records as arrays, which costs no more privacy.

        Args:
            count: how many.
            condition: of images a class, or several; of rows a condition, as `"sex = F and age > 60"`; all if None.
            seed: the same records at every call; fresh ones if None.

        Raises:
            UsageError: the generator knows no such class or condition, or draws nothing.
        """
        if count < 1:
            raise UsageError("samples", f"cannot draw {count} records", "ask for at least 1")
        asked = self._asked(condition)
        parts = draw(self.generator, count, labels=asked.labels, where=asked.where, seed=seed)
        return samples_of(together(parts), self.generator)

    def generate(  # noqa: PLR0913  (each argument is an option)
        self,
        out: AnyPath,
        count: int,
        condition: str | Sequence[str] | None = None,
        *,
        file_format: str | None = None,
        by_classifier: bool = False,
        seed: int | None = None,
        licence: str | None = None,
        splits: str | None = None,
        anyway: bool = False,
    ) -> Path:
        """Writes records to a new folder (PNG, DICOM, NIfTI) or file (NPZ, CSV, Parquet); see `silogan generate`.

        Returns:
            Where they are.
        """
        place, asked = Path(out), self._asked(condition)
        generate(
            self.folder,
            count=count,
            out=place,
            file_format=file_format,
            labels=asked.labels,
            where=asked.where,
            by_classifier=by_classifier,
            seed=seed,
            licence=licence,
            splits=splits,
            anyway=anyway,
            console=Console(stderr=True),
        )
        return place

    def evaluate(self, real: AnyPath | None = None) -> dict[str, Any]:
        """Measures fresh records against real ones, outside of the guarantee; see `silogan evaluate`."""
        return evaluate(self.folder, None if real is None else Path(real))

    def audit(self) -> dict[str, Any]:
        """Verifies the hospitals' ledgers, as `silogan audit --json` prints it; `ok` is whether all checks passed."""
        return as_plain(audit_all([self.folder]))

    def _asked(self, condition: str | Sequence[str] | None) -> _Asked:
        if isinstance(condition, str) and OUTPUTS[self.generator.schema.kind].condition is not None:
            return _Asked(where=condition)
        if isinstance(condition, str):
            return _Asked((condition,))
        return _Asked(None if condition is None else tuple(condition))

    def _repr_html_(self) -> str:
        """Verdict, privacy spent and samples, for notebooks."""
        report, spent = self.report, [site["epsilon"] for site in self.report["sites"]]
        told = "NON-PRIVATE" if None in spent else f"ε at most {max(spent):.2f} for each {report['unit']}"
        lines = [f"<b>{escape(report['title'] or report['name'])}</b>", escape(told), escape(str(self.verdict))]
        sheet = sample_sheet(self.folder)
        picture = picture_html(sheet.read_bytes(), "synthetic records") if sheet.is_file() else ""
        return "<br>".join(lines) + f"<br>{picture}"


def simulate(
    scenario: Study,
    out: AnyPath | None = None,
    *,
    engine: str = "inprocess",
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **changes: Any,
) -> Run:
    """Simulates a federation of hospitals on this machine; an interrupt leaves a run that `resume` continues.

    Args:
        scenario: a file, the name of a scenario that comes with SiloGAN (`silogan.scenarios()`), or its values.
        out: the run folder; `runs/NAME` if None.
        engine: `inprocess` (threads) or `ray`.
        workers: sites that train at the same time; as many as there are processors if None.
        resume: continue from the last checkpoint; a run that is finished is returned as it is.
        overwrite: delete the run in the folder first.
        progress: show bars, on a terminal or in a notebook.
        **changes: of the scenario, section by section: `privacy={"epsilon": 3}, seed=0`.

    Raises:
        SiloganError: why it could not be done, in one line; see `silogan.errors`.

    Examples:
        >>> run = silogan.simulate("digits", privacy={"epsilon": 3})
        >>> run.samples(10, "7").images.shape
        (10, 8, 8)
    """
    study = scenario_of(scenario, changes)
    folder = Path("runs") / study.name if out is None else Path(out)
    run_study(
        study,
        folder,
        engine=engine,
        workers=workers,
        resume=resume,
        overwrite=overwrite,
        console=Console(stderr=True, quiet=not progress),
    )
    return Run(folder.absolute())


def plan(scenario: Study, *, records: int | None = None, **changes: Any) -> Outlook:
    """What a scenario would release, at what cost, and what to expect; nothing is trained. See `silogan plan`.

    Args:
        scenario: as of `simulate`.
        records: of each hospital; those of the scenario's data if None.
        **changes: as of `simulate`.
    """
    return outlook(scenario_of(scenario, changes), records)


def scenarios() -> list[Shipped]:
    """The scenarios that come with SiloGAN."""
    return shipped()


def scenario_of(given: Study, changes: Mapping[str, Any]) -> Scenario:
    """A scenario with changes.

    Raises:
        ConfigError: there is none, or a key or value is wrong.
    """
    if isinstance(given, Scenario):
        values = given.model_dump(mode="json")
    else:
        values = dict(given) if isinstance(given, Mapping) else scenario_values(scenario_file(Path(given)))
    return parse_scenario(with_changes(values, changes))
