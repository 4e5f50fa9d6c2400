"""The end of a simulation: release the generator, evaluate its records, write the report."""

import json
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from silogan.client.data import read
from silogan.client.ledger.statement import decisions
from silogan.client.simulated import simulated_site
from silogan.common.device import available_cores, threads_for_training
from silogan.common.errors import DataError, VerificationError
from silogan.common.files import write_bytes_atomically
from silogan.common.models.networks import blueprint
from silogan.common.progress import begin_part
from silogan.common.wire.run_folder import REPORT_FILE, REPORT_PAGE
from silogan.common.wire.study import Study, versions
from silogan.server.evaluation.memorisation import unmeasured
from silogan.server.fitting.choices import judge
from silogan.server.fitting.public_images import read_public
from silogan.server.release.contact_sheet import class_grid, png_bytes
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.publish import publish
from silogan.server.report.refinement import compare
from silogan.server.report.report import write_html
from silogan.server.report.verdict import Verdict
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import read_events
from silogan.simulations.evaluate import measure_generator, with_hospitals

PUBLIC_ROWS = 4
"""Of public images beside the samples."""


def finished_report(run_dir: Path) -> dict[str, Any] | None:
    """The report of a run that is already finished, else None."""
    try:
        return json.loads((run_dir / REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def finish(
    study: Study,
    run_dir: Path,
    *,
    engine: str,
    stopped: str | None,
    started: float,
    control: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes generator, grid and report from the last checkpoint; returns the content of `report.json`.

    Args:
        study: what was trained.
        run_dir: its folder.
        engine: name of the engine, for the report.
        stopped: why training ended early, if it did.
        started: `time.monotonic()` at the beginning of the command.
        control: the report of the study's control, if one was run.
    """
    checkpoint = Checkpoint.latest(run_dir)
    if checkpoint is None:
        raise VerificationError(f"run folder '{run_dir}'", "has no checkpoint", "run it again with --overwrite")
    torch.set_num_threads(threads_for_training(study.schema.shape))
    generator, sheet = publish(study, checkpoint.ema, run_dir)
    measuring = time.monotonic()
    measured = measure(study, generator, run_dir)
    evaluation_seconds = time.monotonic() - measuring
    begin_part("report")
    report = {
        **_description(study, checkpoint, engine, stopped),
        "sites": _sites(study, checkpoint, run_dir),
        "approvals": list(_approvals(study, run_dir)),
        **measured,
        "refinement": None if study.scenario.training.refine is None else compare(measured, control),
        "seconds": {
            "total": time.monotonic() - started,
            "training": checkpoint.training_seconds,
            "evaluation": evaluation_seconds,
        },
        "peak_memory_bytes": _peak_memory(),
    }
    report["verdict"] = Verdict.of(report).to_json()
    write_html(run_dir / REPORT_PAGE, report, read_events(run_dir), sheet, _public_images(study))
    write_bytes_atomically(run_dir / REPORT_FILE, json.dumps(report, indent=2, allow_nan=False).encode())
    return report


def measure(study: Study, generator: ReleasedGenerator, run_dir: Path) -> dict[str, Any]:
    """Utility and fidelity of a generator's records against the real test split, or why there are none.

    Args:
        study: of the generator.
        generator: what is measured.
        run_dir: the run's folder, whose partition says which hospital holds which record.
    """
    scenario = study.scenario
    if scenario.evaluation.enabled:
        begin_part("reading the data")
        data = with_hospitals(read(scenario.data), study, run_dir)
        return measure_generator(generator, data, scenario.evaluation, scenario.training.device)
    reason = "evaluation.enabled is false"
    utility = {"accuracy_synthetic": None, "accuracy_real": None}
    found = {"utility": utility, "utility_reason": reason, "fidelity": None, "fidelity_reason": reason}
    return {**found, "memorisation": unmeasured(reason)}


def _description(study: Study, checkpoint: Checkpoint, engine: str, stopped: str | None) -> dict[str, Any]:
    scenario = study.scenario
    gan = blueprint(scenario.model, study.drawn)
    return {
        "name": scenario.name,
        "title": scenario.title,
        "private": study.plan.private,
        "seeded": study.plan.seeded,
        "unit": study.plan.unit,
        "phases": [asdict(phase) for phase in study.plan.phases],
        "engine": engine,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": checkpoint.round,
        "rounds_planned": scenario.training.rounds,
        "stopped": stopped,
        "expected": None if (judged := judge(study)) is None else judged.warning,
        "credit": scenario.model.credit(),
        "classes": list(study.schema.classes),
        "records": {"noun": study.schema.noun, "described": study.schema.describe()},
        "model": {
            "family": scenario.model.family,
            "parameters_generator": sum(p.numel() for p in gan.generator.parameters()),
            "parameters_discriminator": sum(p.numel() for p in gan.discriminator.parameters()),
        },
        "configuration": scenario.model_dump(mode="json"),
        "versions": versions(),
        "hardware": _hardware(),
    }


def _sites(study: Study, checkpoint: Checkpoint, run_dir: Path) -> list[dict[str, Any]]:
    """Each site's own account, from its ledger; simulation only: a hospital's ledger never leaves it."""
    plan = study.plan
    rows: list[dict[str, Any]] = []
    for index, site in enumerate(study.sites):
        steps, epsilon = checkpoint.round * plan.phases[-1].steps_per_round, None
        ledger = simulated_site(study, run_dir, index).open_ledger()
        if ledger is not None:
            steps, epsilon = sum(m.steps for m in ledger.mechanisms()), ledger.epsilon()
        budget = plan.epsilon if plan.private else None
        row = {"name": site.name, "epsilon": epsilon, "epsilon_budget": budget, "delta": plan.delta}
        rows.append({**row, "steps": steps, "unit": plan.unit, "declared_size": site.declared_size})
    return rows


def _approvals(study: Study, run_dir: Path) -> Iterator[dict[str, str]]:
    """What each hospital decided about the study, as its ledger has it."""
    for index, site in enumerate(study.sites):
        ledger = simulated_site(study, run_dir, index).open_ledger()
        for one in () if ledger is None else decisions(ledger.entries()):
            if one.study_id == study.study_id:
                yield {
                    "site": site.name,
                    "decision": one.decision,
                    "approver": one.approver,
                    "created": one.created,
                }


def _public_images(study: Study) -> bytes | None:
    """A few of the public images that the study names, as a picture; None if it names none, or they are gone."""
    public = getattr(study.scenario.model, "public", None)
    if public is None:
        return None
    try:
        images = read_public(public, study.schema.shape)
    except DataError:  # the fit had them; the report is complete without
        return None
    return png_bytes(class_grid(images, None, (), rows=PUBLIC_ROWS))


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {available_cores()} cores"


def _peak_memory() -> int:
    """Most memory that this process ever held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
