"""`silogan simulate`: prepare or resume a run folder, train, release, evaluate, report."""

import shutil
import time
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from filelock import AcquireReturnProxy, FileLock, Timeout
from rich.console import Console

from silogan.common.allocator import keep_freed_memory
from silogan.common.config.scenario import Scenario
from silogan.common.device import available_cores, choose_device
from silogan.common.errors import ConfigError, PrivacyRefusal, SiloganError, UsageError
from silogan.common.files import writing
from silogan.common.progress import begin, begin_part
from silogan.common.registry import lookup
from silogan.common.wire.run_folder import CONTROL_FOLDER, LOCK_FILE, delete_run, holds_others, holds_run
from silogan.common.wire.study import Study
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.control import control_of, has_control
from silogan.simulations.engines import ENGINES, Engine
from silogan.simulations.finish import finish, finished_report
from silogan.simulations.live import CONTROL, MEASURING, PREPARING, View, following, live_view, phases_of
from silogan.simulations.prepare import prepare, reopen
from silogan.simulations.times import Clock, in_words, known, record, trial
from silogan.simulations.web_view import WebView


def simulate(  # noqa: PLR0913  (each of them changes how it runs, none what it finds)
    scenario: Scenario,
    run_dir: Path,
    *,
    engine: str = "inprocess",
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    run: Engine | None = None,
    web: WebView | None = None,
) -> dict[str, Any]:
    """Runs a scenario to its report, and with `training.refine` its control too, in a folder of its own.

    Args:
        scenario: the study.
        run_dir: the run folder; must not hold a run unless `resume` or `overwrite`.
        engine: a name in `ENGINES`.
        workers: sites at work at the same time; as many as there are processors if None.
        resume: continue from the last checkpoint; a run that is finished is reported as it is.
        overwrite: delete the run that the folder holds.
        console: where to show progress.
        run: what runs the rounds in place of the engine of that name.
        web: a page in a browser that follows it.

    Returns:
        The content of `report.json`.

    Raises:
        SiloganError: why it could not be done. A refusal for privacy after the first round still leaves a generator and
            a report of the rounds before it.
    """
    how = _How(engine, run or lookup(ENGINES, engine, "--engine"), workers, resume, overwrite)
    with live_view(console or Console(stderr=True, quiet=True), elsewhere=web is not None) as view:
        if web is not None:
            web.follow(run_dir, view)
        return _simulate(scenario, run_dir, how, view)


class _How(NamedTuple):
    engine: str
    run: Engine
    workers: int | None
    resume: bool
    overwrite: bool


def _simulate(scenario: Scenario, run_dir: Path, how: _How, view: View, prefix: str = "") -> dict[str, Any]:
    """See `simulate`; `prefix` stands before the names of phases."""
    start = time.monotonic()
    run_dir, scenario = run_dir.absolute(), _with_absolute_paths(scenario)
    is_new = not run_dir.exists()
    with writing(f"run folder '{run_dir}'", "choose another --out"):
        if run_dir.is_dir() and not holds_run(run_dir) and holds_others(run_dir):
            hint = "choose a new or an empty folder as --out"
            raise ConfigError(f"run folder '{run_dir}'", "holds other files, and no run", hint)
    with _locked(run_dir):
        if holds_run(run_dir) and how.overwrite:
            delete_run(run_dir)
        resumed = holds_run(run_dir)
        if resumed and not how.resume:
            hint = "add --resume to continue, --overwrite to start again, or choose another --out"
            raise ConfigError(f"run folder '{run_dir}'", "already holds a run", hint)
        begin(prefix + PREPARING, "reading the data")
        study = reopen(scenario, run_dir) if resumed else _prepared(scenario, run_dir, is_new=is_new)
        report = finished_report(run_dir)
        if report is not None:
            return _unless_stopped(report, run_dir)
        _prepare_memory(scenario, view.console)
        took = _expect(view, study, scenario, run_dir, announced=not resumed) if not prefix else 0.0
        refusal: PrivacyRefusal | None = None
        try:
            with following(view, study, run_dir, prefix):
                workers = how.workers or _default_workers(len(study.sites))
                how.run(run_dir, num_sites=len(study.sites), workers=workers)
        except PrivacyRefusal as error:
            refusal = error
        checkpoint = Checkpoint.latest(run_dir)
        if refusal is not None and (checkpoint is None or checkpoint.round == 0):
            raise refusal
        stopped, control = str(refusal) if refusal else None, None
        if has_control(scenario) and stopped is None:
            again = how._replace(resume=True, overwrite=False)
            control = _simulate(control_of(scenario), run_dir / CONTROL_FOLDER, again, view, f"{CONTROL} ")
        begin(prefix + MEASURING)
        report = finish(study, run_dir, engine=how.engine, stopped=stopped, started=start, control=control)
        if took and not resumed and stopped is None:
            record(scenario, run_dir, mean((took, trial())), view.spent())
    if refusal is not None:
        raise refusal
    return report


def _expect(view: View, study: Study, scenario: Scenario, run_dir: Path, *, announced: bool) -> float:
    """Tells the view what will come and how long it should take.

    Returns:
        Seconds of the trial of this machine; 0 if nobody watches, and none was made.
    """
    if not view.watched:
        return 0.0
    begin_part("measuring this machine")
    took = trial()
    times = Clock(known(scenario, run_dir), took)
    view.expect(phases_of(study), times, len(study.sites))
    if announced and times.total:
        view.console.print(f"{in_words(times.total)} on this machine", highlight=False)
    return took


def _prepared(scenario: Scenario, run_dir: Path, *, is_new: bool) -> Study:
    """The study of a new run; if there can be none, a folder that was made for it is gone again."""
    try:
        return prepare(scenario, run_dir)
    except SiloganError:
        if is_new and not holds_run(run_dir):
            shutil.rmtree(run_dir)
        raise


def _with_absolute_paths(scenario: Scenario) -> Scenario:
    """The same scenario for a process in another working directory, as Ray's are and a later `evaluate` may be."""
    absolute = {key: path.expanduser().absolute() for key, path in scenario.data.places().items()}
    return scenario.model_copy(update={"data": scenario.data.model_copy(update=absolute)})


def _prepare_memory(scenario: Scenario, console: Console) -> None:
    on_cpu = choose_device(scenario.training.device).type == "cpu"
    if on_cpu and keep_freed_memory() and console.is_terminal:
        console.print(
            "glibc keeps the memory that a step frees for the next (MALLOC_* variables override this)", style="dim"
        )


def _default_workers(sites: int) -> int:
    return min(sites, available_cores())


def _unless_stopped(report: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """The report of a finished run; the same exit code again if it had stopped early."""
    if report["stopped"]:
        problem = f"stopped after {report['rounds']} of {report['rounds_planned']} rounds: {report['stopped']}"
        raise PrivacyRefusal(f"run folder '{run_dir}'", problem, "read its report.html")
    return report


def _locked(run_dir: Path) -> "AcquireReturnProxy[FileLock]":
    """Locks the run folder against a second process."""
    with writing(f"run folder '{run_dir}'", "choose another --out"):
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            return FileLock(run_dir / LOCK_FILE).acquire(timeout=0)
        except Timeout:
            raise UsageError(f"run folder '{run_dir}'", "is in use by another process", "wait until it ends") from None
