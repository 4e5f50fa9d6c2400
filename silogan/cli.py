"""The command line: parses arguments and calls the four packages."""

import json
import os
import re
import shlex
import sys
import traceback
from contextlib import nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from click import MissingParameter, NoSuchOption
from click import UsageError as UsageFault
from rich.console import Console
from rich.table import Table

from silogan import __version__
from silogan.client.commands import node
from silogan.client.describe.commands import data
from silogan.common.errors import DataError, Interrupted, SiloganError, UsageError, VerificationError
from silogan.common.operations.command_line import EXIT_CODES, epilog
from silogan.common.pages.words import budget, epsilon, left
from silogan.common.printable import printable
from silogan.common.wire.run_folder import GENERATOR_FILE, SUMMARY_PAGE, holds_run
from silogan.server.commands import server
from silogan.simulations.release.commands import release
from silogan.simulations.screen import waiting

if TYPE_CHECKING:
    from silogan.client.ledger.audit import Audit
    from silogan.common.config.scenario import Scenario
    from silogan.simulations.attacks.attacks import Attacks
    from silogan.simulations.planner import Outlook

_TAKE_NAMES = ("silogan simulate", "silogan plan")
"""Commands that need a scenario, and take the name of one."""

_TAKE_KEYS = (*_TAKE_NAMES, "silogan audit", "silogan evaluate", "silogan server submit")
"""Commands with --set."""

app = typer.Typer(
    name="silogan",
    help="Train one generative model across hospitals under differential privacy, and show what it cost.\n\n"
    + EXIT_CODES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


app.add_typer(node)
app.add_typer(server)
app.add_typer(data)
app.add_typer(release)


class LabelsBy(StrEnum):
    """What names the class of a record that `silogan generate` draws."""

    condition = "condition"
    classifier = "classifier"


class FormName(StrEnum):
    """Experiment trackers of `silogan track`."""

    mlflow = "mlflow"
    tensorboard = "tensorboard"


class Required(StrEnum):
    """The least verdict that `silogan evaluate` is to reach."""

    usable = "usable"
    weak = "weak"


class EngineName(StrEnum):
    """Engines of `silogan simulate`."""

    inprocess = "inprocess"
    ray = "ray"


ScenarioFile = Annotated[Path, typer.Argument(help="Scenario file (YAML), or the name of one of ours, such as digits.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; repeatable.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"silogan {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    version: Annotated[  # noqa: ARG001  (its callback answers)
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    os.environ["SILOGAN_DEBUG"] = "1" if debug else ""


@app.command(epilog=epilog("silogan simulate simulations/scenarios/digits.yaml --set privacy.epsilon=3 --out runs/try"))
def simulate(  # noqa: PLR0913, PLR0917  (each argument is an option)
    scenario: ScenarioFile,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME if not given.")] = None,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run in the folder first.")] = False,
    engine: Annotated[
        EngineName, typer.Option(help="Threads in this process, or Flower on Ray.")
    ] = EngineName.inprocess,
    workers: Annotated[int | None, typer.Option(min=1, help="Sites that train at the same time.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Run once for each seed, as in 0,1,2, and write summary.html over all of them.")
    ] = None,
    view: Annotated[bool, typer.Option("--view", help="Show the run in a browser on this machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Simulate a federation of hospitals on this machine."""
    study = _scenario(scenario, overrides)
    folder = out or Path("runs") / study.name
    runs = _runs(study, folder, seeds)
    if resume and not any(holds_run(run_dir) for _, run_dir in runs):
        raise UsageError("--resume", f"finds no run in '{folder}'", "leave it out, or name the run's folder with --out")

    console = Console(stderr=True)
    with waiting(console, "starting"):
        from silogan.simulations.simulate import simulate as run  # takes seconds: after all that can be refused at once
        from silogan.simulations.web_view import in_browser

    reports: list[dict[str, Any]] = []
    how: dict[str, Any] = {"engine": engine.value, "workers": workers, "resume": resume, "overwrite": overwrite}
    with in_browser(console) if view else nullcontext() as web:
        for one, run_dir in runs:
            try:
                reports.append(run(one, run_dir, **how, console=console, web=web))
            except KeyboardInterrupt:
                # one that was not begun has nothing to go on with
                if any(holds_run(begun) for _, begun in runs):
                    raise _interrupted() from None
                raise
            if not as_json:
                _print_report(reports[-1], run_dir)
    if as_json:
        print(json.dumps(reports[0] if seeds is None else reports, indent=2))
    if seeds is not None:
        _summarize(folder, reports, [run_dir for _, run_dir in runs], quiet=as_json)


@app.command(epilog=epilog("silogan init images --sites 3 --epsilon 10 --out mine.yaml"))
def init(  # noqa: PLR0913, PLR0917  (each argument is an option)
    data: Annotated[
        Path,
        typer.Argument(
            help="Images (FOLDER/CLASS/*.png, FOLDER/HOSPITAL/CLASS/*.png or .npz), or a table (.csv, .parquet, or a "
            "folder with one for each hospital)."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="New scenario file; NAME.yaml if not given.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; that of the data if not given.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes, as in benign,malignant. They become public.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of a table that is to be predicted.")] = None,
    sites: Annotated[
        int | None, typer.Option(min=1, help="Hospitals that share the records at random, even if the data names some.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels to resize images to, in height and width.")] = None,
    fit: Annotated[str | None, typer.Option(help="For images that are not square: pad, crop or squash.")] = None,
    window: Annotated[str | None, typer.Option(help="Public window of DICOM, NIfTI or 16-bit images: 40,400.")] = None,
    slices: Annotated[str | None, typer.Option(help="How volumes are cut: axial, coronal, sagittal, 0, 1, 2.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Privacy budget ε of each hospital.")] = None,
    delta: Annotated[float | None, typer.Option(help="δ: smaller than one over a hospital's patients.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: take the defaults.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a scenario for your own data: looks at its structure, and asks for the rest on a terminal."""
    from silogan.simulations.init.begin import Given, begin
    from silogan.simulations.init.questions import Questions

    given = Given(name, out, classes, label, sites, image_size, fit, window, slices, epsilon, delta)
    begun = begin(data, given, Questions(take_defaults=yes))
    if as_json:
        print(json.dumps(begun.to_json(), indent=2))
    else:
        print("\n".join(begun.told()))


@app.command(epilog=epilog("silogan scenarios"))
def scenarios(as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False) -> None:
    """List the scenarios that come with SiloGAN, by the names that `silogan simulate` knows."""
    from silogan.simulations.shipped import shipped

    found = shipped()
    if as_json:
        print(json.dumps([one._asdict() for one in found], indent=2))
        return
    table = Table("name", "what it is", "time on 2 cores", box=None)
    for one in found:
        table.add_row(one.name, one.title + ("" if one.embedded else " *"), one.time)
    Console(markup=False).print(table)
    print("* needs its data: --set data.root=FOLDER")


@app.command(epilog=epilog("silogan plan simulations/scenarios/mnist.yaml --records 600 --set data.image_size=28"))
def plan(
    scenario: ScenarioFile,
    overrides: Overrides = None,
    records: Annotated[
        int | None, typer.Option(min=1, help="Records of each hospital; those of the scenario's data if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show what a scenario would release, at what cost, and what to expect of it. Nothing is trained or written."""
    study = _scenario(scenario, overrides)

    from silogan.simulations.planner import outlook  # takes seconds

    found = outlook(study, records)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        _print_outlook(found)


@app.command(epilog=epilog("silogan generate runs/digits --count 1000 --out synthetic --labels 3,7"))
def generate(  # noqa: PLR0913, PLR0917  (each argument is an option)
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    count: Annotated[int, typer.Option(min=1, help="Number of images or rows.")],
    out: Annotated[Path, typer.Option(help="New folder (png, dicom, nifti) or new file (all others).")],
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="For images: png (default), npz (as MedMNIST), parquet (as Hugging Face), dicom or nifti. For images "
            "with rows: png or npz. For rows: csv (default) or parquet. A file's name says it too, as x.npz.",
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Names of the classes to draw, as in 3,7; all if not given.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="What all rows meet, as in 'age > 60 and sex = female and chol is not missing'.")
    ] = None,
    labels_by: Annotated[
        LabelsBy, typer.Option(help="Label records as they were asked for, or by the release's own classifier.")
    ] = LabelsBy.condition,
    seed: Annotated[int | None, typer.Option(min=0, help="Draw the same records each time.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence to state, as CC-BY-4.0 or an address; 'not stated' without it.")
    ] = None,
    splits: Annotated[
        str | None, typer.Option(help="npz: percent in train, val and test, as 80,10,10; all in train without it.")
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Draw from a run that has failed too; all that is drawn says so.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was drawn as JSON.")] = False,
) -> None:
    """Draw synthetic images or rows from a finished run's generator.

    All of them say that they are synthetic, with study, privacy, date and licence. Croissant and hashes come along.
    """
    _require_generator(run_dir)
    from silogan.server.release.generate import generate as draw

    wanted = None if labels is None else tuple(label.strip() for label in labels.split(","))
    drawn = draw(
        run_dir,
        count=count,
        out=out,
        file_format=file_format,
        labels=wanted,
        where=where,
        by_classifier=labels_by is LabelsBy.classifier,
        seed=seed,
        licence=licence,
        splits=splits,
        anyway=anyway,
        console=Console(stderr=True),
    )
    print(json.dumps(drawn.to_json(), indent=2) if as_json else drawn)


@app.command(epilog=epilog("silogan explore runs/digits --out explored --seed 1"))
def explore(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run of images.")],
    out: Annotated[Path, typer.Option(help="New folder for the sheets (PNG).")],
    seed: Annotated[int | None, typer.Option(min=0, help="Draw the same sheets each time.")] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Show a run that has failed too; every sheet says so.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Show what a run's generator has learnt: images between images, at other lengths, along its main directions.

    And where the released classifier, or else the critic, looks. It costs no privacy: no record is read.
    """
    _require_generator(run_dir)
    from silogan.server.explore.explore import explore as show

    shown = show(run_dir, out, seed=seed, anyway=anyway)
    print(json.dumps(shown.to_json(), indent=2) if as_json else shown)


@app.command(epilog=epilog("silogan graph runs/codes --out codes.graphml"))
def graph(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run of a table with code sets.")],
    out: Annotated[Path, typer.Option(help="New file, .graphml or .csv.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write which codes occur together in synthetic rows: frequencies, lift, and what is above the privacy noise."""
    _require_generator(run_dir)
    from silogan.server.release.outputs.graph import write_graph

    written = write_graph(run_dir, out)
    print(json.dumps(written.to_json(), indent=2) if as_json else written)


@app.command(epilog=epilog("silogan track runs/digits-basic --to tensorboard --out tracked"))
def track(
    run_dir: Annotated[Path, typer.Argument(help="Run folder; the run may still go on.")],
    to: Annotated[FormName, typer.Option(help="The experiment tracker.")],
    out: Annotated[Path, typer.Option(help="Its folder (mlflow ui --backend-store-uri, tensorboard --logdir).")],
) -> None:
    """Write the events of a run as files of MLflow or TensorBoard, neither of which is needed for it."""
    from silogan.server.tracking import track as write

    print(write(run_dir, to.value, out))


@app.command(epilog=epilog("silogan evaluate runs/mnist --real shared/data --json"))
def evaluate(
    synthetic: Annotated[
        Path,
        typer.Argument(help="Run folder, images written by silogan generate, or rows (CSV, Parquet)."),
    ],
    real: Annotated[
        Path | None,
        typer.Option(
            help="Real data: data.root of the run's source, or an image folder or .npz. For rows, or images with "
            "rows: the scenario that reads the real ones (YAML, or the name of one of ours), or a run folder."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value of that scenario; repeatable.")
    ] = None,
    require: Annotated[
        Required | None, typer.Option(help="Exit with code 6 if the verdict is worse, or nothing could be measured.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure synthetic records against real ones: the figures use real data, outside of the privacy guarantee."""
    if not synthetic.exists():
        raise UsageError(f"'{synthetic}'", "does not exist", "give a run folder, generated images, or rows")
    console = Console(stderr=True)
    with waiting(console, "starting"):
        from silogan.server.report.verdict import Verdict, Word
        from silogan.simulations.evaluate import evaluate as measure
        from silogan.simulations.live import live_view

    with live_view(console):
        figures = measure(synthetic, real, overrides)
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        _print_verdict(figures["verdict"])
        _print_figures(figures)
    if require is not None and not Verdict.of_json(figures["verdict"]).reaches(Word(require)):
        problem = f"the verdict is {figures['verdict']['word']}, where {require} is required"
        raise VerificationError(f"'{synthetic}'", problem, "read the reasons above, and do not hand the records on")


@app.command(epilog=epilog("silogan audit runs/demo/seed-0"))
def audit(
    ledgers: Annotated[
        list[Path] | None, typer.Argument(help="Ledgers, copies of them, nodes, or run folders.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write an HTML page to read, print and file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    empirical: Annotated[
        Path | None,
        typer.Option(metavar="SCENARIO", help="Train this scenario with canaries and measure a lower bound on ε."),
    ] = None,
    power: Annotated[
        bool, typer.Option("--power/--no-power", help="With --empirical: two more audits, with less noise.")
    ] = True,
    adversary: Annotated[
        float, typer.Option(min=0, help="With --empirical: seconds to search for weights that defeat clipping.")
    ] = 20.0,
    records_per_canary: Annotated[
        int | None,
        typer.Option(min=1, max=128, help="With --empirical: records of a canary; if not given, k of the plan."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="With --empirical: section.key=value; repeatable.")
    ] = None,
) -> None:
    """Verify ledgers: hashes, signatures, heads that the server saw, arithmetic; and ε by three accountants."""
    if not ledgers and empirical is None:
        raise UsageError("audit", "needs something to audit", "name ledgers or run folders, or --empirical SCENARIO")
    if empirical is None and (overrides or records_per_canary):
        option = "--set" if overrides else "--records-per-canary"
        raise UsageError(option, "needs a scenario to audit", "name one with --empirical SCENARIO")
    if not ledgers and html is not None:
        raise UsageError("--html", "needs a ledger or run folder to show", "name ledgers or run folders")
    from silogan.simulations.audit import as_plain, audit_all

    audits = audit_all(ledgers or [])
    found = as_plain(audits)
    _write_audit(audits, html)  # before attacks, which take long and may fail
    attacks = None if empirical is None else _attack(empirical, overrides, power, adversary, records_per_canary)
    if attacks is not None:
        found |= {"ok": found["ok"] and attacks.holds, **attacks.to_json()}
        _write_audit(audits, html, attacks.to_json())
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        if ledgers:
            _print_audit(found)
        if attacks is not None:
            _print_attacks(found)
    if attacks is not None:
        attacks.check()
    if found["findings"]:
        count = len(found["findings"])
        problem = "1 problem found" if count == 1 else f"{count} problems found, the first"
        problem += f" in {_told(found['findings'][0])}"
        raise VerificationError("audit", problem, "ask the hospital to restore the newest copy of its ledger")


def main() -> None:
    """Entry point: runs a command; every error becomes one line and an exit code.

    Of an unexpected error only the type is printed, since its text may quote data.
    """
    try:
        code = app(prog_name="silogan", standalone_mode=False)
        if code == Interrupted.exit_code:
            _fail("interrupted", code)
    except UsageFault as fault:
        code = _fail(_with_hint(fault), fault.exit_code)
    except Exception as error:
        if os.environ.get("SILOGAN_DEBUG"):
            traceback.print_exc()
        if isinstance(error, SiloganError):
            code = _fail(str(error), error.exit_code)
        else:
            code = _fail(f"unexpected {type(error).__name__}; run 'silogan --debug ...' to see where", 1)
    sys.exit(code)


def _interrupted() -> Interrupted:
    """Says with which command a simulation goes on."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    return Interrupted("simulation", "interrupted", f"go on with: {shlex.join(['silogan', *words, '--resume'])}")


def _with_hint(fault: UsageFault) -> str:
    """The problem with the arguments, and where to find help; empty if the help was already shown."""
    message = _reworded(fault)
    if isinstance(fault, MissingParameter) and fault.ctx and fault.ctx.command_path in _TAKE_NAMES:
        message = "a scenario is missing: give a file, or a name such as digits (silogan scenarios lists ours)."
    if forgotten := re.search(r"unexpected extra argument \(([\w.]+=\S*)\)", message):
        message = f"'{forgotten.group(1)}' stands alone: did you mean --set {forgotten.group(1)}?"
    if not message:
        return message
    command = fault.ctx.command_path if fault.ctx else "silogan COMMAND"  # click has none for an option without value
    return f"{message if message.endswith(('.', '?', '?)')) else f'{message}.'} See '{command} --help'."


def _reworded(fault: UsageFault) -> str:
    """What click says of a fault: with its suggestions once, a scenario's key as such, and no types of its own."""
    message = fault.message if "Did you mean" in fault.message else fault.format_message()  # typer suggests too
    if isinstance(fault, NoSuchOption) and fault.ctx and fault.ctx.command_path in _TAKE_KEYS:
        from silogan.common.config.scenario import keys_called

        keys = keys_called(fault.option_name.strip("-").replace("-", "_"))
        message = f"{fault.message} Did you mean --set {keys[0]}=...?" if keys else message
    for said, better in (("valid integer range", "whole number"), ("valid float range", "number")):
        message = message.replace(said, better)
    return message


def _fail(message: str, code: int) -> int:
    """Prints the error in one line, if there is one."""
    if message:
        print(f"silogan: {' '.join(message.split())}", file=sys.stderr)
    return code


def _require_generator(run_dir: Path) -> None:
    """Says at once, before imports that take seconds, that a run has no generator."""
    path = run_dir / GENERATOR_FILE
    if not path.is_file():
        raise DataError(f"generator '{path}'", "is missing", "give the folder of a finished run")


def _scenario(given: Path, overrides: list[str] | None) -> "Scenario":
    """The scenario of a file or of a name."""
    from silogan.common.config.scenario import load_scenario
    from silogan.simulations.shipped import scenario_file

    return load_scenario(scenario_file(given), overrides)


def _runs(study: "Scenario", folder: Path, seeds: str | None) -> "list[tuple[Scenario, Path]]":
    from silogan.common.config.scenario import parse_scenario

    if seeds is None:
        return [(study, folder)]
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        hint = "for example: --seeds 0,1,2"
        raise UsageError(f"--seeds {seeds}", "is not a list of whole numbers", hint) from None
    plain = study.model_dump(mode="json")
    return [(parse_scenario({**plain, "seed": seed}), folder / f"seed-{seed}") for seed in numbers]


def _print_report(report: dict[str, Any], run_dir: Path) -> None:
    from silogan.server.report.report import weak_deltas
    from silogan.server.report.verdict import Word, word_of

    console = Console(markup=False)  # titles, names and paths are the user's own text
    heading = report["title"] or report["name"]
    if verdict := report.get("verdict"):  # runs of older versions have none
        _print_verdict(verdict)
    table = Table("site", "ε spent", "budget", "δ", "steps", title=f"{heading} ({report['unit']}-level)")
    sites = report["sites"]
    for site in sites[:10]:
        spent = "none: NON-PRIVATE" if site["epsilon"] is None else epsilon(site["epsilon"])
        given = "" if site["epsilon_budget"] is None else budget(site["epsilon_budget"])
        table.add_row(site["name"], spent, given, f"{site['delta']:g}", f"{site['steps']}")
    if len(sites) > 10:
        table.add_row(f"… {len(sites) - 10} more", "", "", "", "")
    console.print(table)
    for phase in report["phases"] if report["private"] else []:
        console.print(f"{phase['name']}: σ = {phase['noise_multiplier']:g}, q = {phase['sample_rate']:g}")
    _print_figures(report)
    seconds, memory = report["seconds"], report["peak_memory_bytes"] / 2**20
    console.print(f"time {seconds['total']:.0f} s (training {seconds['training']:.0f} s), peak memory {memory:.0f} MiB")
    if report.get("credit"):
        console.print(f"images have {report['credit']}")
    if report["expected"] and word_of(report) is Word.unmeasured:
        console.print(report["expected"], style="yellow")  # a forecast has nothing to say beside what was measured
    for remark in weak_deltas(report):
        console.print(remark, style="yellow", soft_wrap=True)
    if report["seeded"]:
        console.print("seeded: not private against someone who knows the seed", style="yellow")
    sheet = run_dir / "samples" / "final.png"
    also = f" and {sheet}" if sheet.is_file() else ""
    console.print(f"see {run_dir / 'report.html'}{also}", soft_wrap=True)


def _print_verdict(verdict: dict[str, Any]) -> None:
    from silogan.server.report.verdict import Verdict

    Console(markup=False).print(str(Verdict.of_json(verdict)), style="bold", soft_wrap=True)


def _print_outlook(found: "Outlook") -> None:
    console = Console(markup=False)
    console.print(found.title)
    units = f"{found.records:,} {found.unit}s in {found.hospitals} hospitals"
    console.print(f"{units}, {found.classes} classes, {found.described}")
    if found.unit == "patient":
        most = found.records_per_patient
        told = "one record of each" if most == 1 else f"the mean of at most {most} records of each"
        console.print(f"unit of privacy: the patient; {told} is in a noisy sum")
    if found.epsilon is None:
        console.print(found.strength)
    else:
        console.print(f"ε = {budget(found.epsilon)}, δ = {found.delta:g} for each hospital ({found.strength})")
    if found.delta_remark:
        console.print(found.delta_remark, style="yellow", soft_wrap=True)
    table = Table("phase", "share of μ²", "σ", "noisy sums")
    for phase in found.phases:
        table.add_row(phase.name, f"{phase.share:.0%}", f"{phase.noise_multiplier:.4g}", str(phase.steps))
    console.print(table)
    for choice in found.choices:
        console.print(choice)
    console.print(f"{found.verdict}: {found.expected}" if found.verdict else found.expected)
    if found.compared:
        name, form = found.figure
        table = Table("measured", name, "trained on synthetic", "trained on real")
        for one in found.compared:
            table.add_row(one.what, form.format(one.figure), one.found, one.real)
        console.print(table)


def _print_audit(found: dict[str, Any]) -> None:
    console = Console(markup=False)
    table = Table("cohort", "unit", "δ", "ε (PRV)", "ε (PLD)", "ε (RDP)", "budget", title="what the ledgers charge")
    for cohort in found["cohorts"]:
        figures = [cohort[f"epsilon_{accountant}"] for accountant in ("prv", "pld", "rdp")]
        shown = ["?" if figure is None else epsilon(figure) for figure in figures]
        delta, given = (("?" if cohort[key] is None else f"{cohort[key]:g}") for key in ("delta", "epsilon_budget"))
        table.add_row(*map(printable, (cohort["name"], cohort["unit"] or "?", delta, *shown, given)))
    console.print(table)
    for finding in found["findings"]:
        console.print(_told(finding), style="red", soft_wrap=True)
    if found["ok"]:
        passed = "All checks passed. Neighbouring: add or remove one unit. Not covered: figures on real test data."
        console.print(passed, soft_wrap=True)
        if used_up := [cohort["name"] for cohort in found["cohorts"] if cohort["used_up"]]:
            told = f"The budget is used up in {len(used_up)} of {len(found['cohorts'])} ledgers."
            console.print(told, style="yellow", soft_wrap=True)


def _told(finding: dict[str, Any]) -> str:
    where = f"entry {finding['entry']}" if finding["entry"] else "the ledger"
    return printable(f"{finding['cohort']}: {where} {finding['problem']}")


def _write_audit(audits: "list[Audit]", html: Path | None, attacks: dict[str, Any] | None = None) -> None:
    if html is not None:
        from silogan.client.ledger.page import write_page

        write_page(audits, html, datetime.now(UTC), attacks)


def _attack(
    scenario: Path, overrides: list[str] | None, power: bool, adversary_seconds: float, records_per_canary: int | None
) -> "Attacks":
    study, console, seconds = _scenario(scenario, overrides), Console(stderr=True), adversary_seconds
    with waiting(console, "starting"):
        from silogan.simulations.attacks.attacks import attack  # takes seconds

    return attack(study, console, power=power, adversary_seconds=seconds, records_per_canary=records_per_canary)


def _print_attacks(found: dict[str, Any]) -> None:
    console = Console(markup=False)
    audit = found["empirical"]
    table = Table("unit", "δ", "ε at least", "ε at most", title="lower bound by canaries, upper bound by the ledger")
    shown = left(audit["epsilon_lower_bound"]), epsilon(audit["epsilon_analytic"])
    table.add_row(audit["unit"], f"{audit['delta']:g}", *shown)
    console.print(table)
    each = "" if audit["records_per_canary"] == 1 else f" of {audit['records_per_canary']} records"
    shows = f"{audit['canaries']:,} canaries{each} can show ε up to {left(audit['largest_lower_bound'])}"
    console.print(f"The lower bound holds with {audit['confidence']:.0%} confidence; {shows}.", soft_wrap=True)
    for power in found["power"]:
        verdict = "caught" if power["caught"] else "not caught"
        shown = left(power["epsilon_lower_bound"])
        console.print(f"Noise x {power['noise']:g} shows ε of at least {shown}: {verdict}.")
    if found["weights_tried"]:
        adds = f"one record adds at most {found['largest_contribution']:.4g} times the clipping norm"
        console.print(
            f"A hostile coordinator tried {found['weights_tried']:,} sets of weights: {adds}.", soft_wrap=True
        )
    table = Table("attack", "AUC", "95 %", "found at 1 % false", "95 %", title="membership inference on the run")
    for name, result in found["membership"].items():
        cells: list[str] = []
        for figure in (result["auc"], result["true_positive_rate"]):
            cells += [f"{figure['value']:.3f}", f"{figure['low']:.3f} to {figure['high']:.3f}"]
        table.add_row(name, *cells)
    console.print(table)


def _print_figures(figures: dict[str, Any]) -> None:
    console = Console(markup=False)
    (_print_table if figures.get("table") else _print_images)(console, figures)
    if figures.get("refinement"):
        console.print(figures["refinement"]["advice"], soft_wrap=True)


def _print_images(console: Console, figures: dict[str, Any]) -> None:
    utility, fidelity = figures["utility"], figures["fidelity"]
    names = {
        "synthetic": "trained on synthetic",
        "relabelled": "relabelled",
        "real": "trained on real",
        "released": "linear, of the release",
    }
    found = {label: utility.get(f"accuracy_{name}") for name, label in names.items()}
    parts = [f"{label} {figure:.3f}" for label, figure in found.items() if figure is not None]
    console.print("accuracy on real test images: " + (", ".join(parts) or f"none ({figures['utility_reason']})"))
    learnt = {"synthetic": "learnt from synthetic", "real": "from real", "blind": "from places alone"}
    dice = {told: utility.get(f"dice_{of}") for of, told in learnt.items()}
    if parts := [f"{told} {figure:.3f}" for told, figure in dice.items() if figure is not None]:
        console.print(f"Dice on real test masks: {', '.join(parts)}", soft_wrap=True)
    for name, found in utility.get("others", {}).items():
        console.print(
            f"{name}: trained on synthetic {found['accuracy_synthetic']:.3f}, real {found['accuracy_real']:.3f}"
        )
    if fidelity is None:
        console.print(f"fidelity: none ({figures['fidelity_reason']})")
    else:
        shown = ("precision", "recall", "density", "coverage", "frechet_distance")
        console.print("fidelity: " + ", ".join(f"{name.replace('_', ' ')} {fidelity[name]:.3f}" for name in shown))
    if (found := figures.get("memorisation")) and found["measured"]:
        told = "; ".join(found["findings"]) or "no sign that training images are repeated"
        console.print(f"memorisation: {told}", soft_wrap=True)


def _print_table(console: Console, figures: dict[str, Any]) -> None:
    table = figures["table"]
    for name, classifier in (("logistic", "logistic regression"), ("boosting", "boosted trees")):
        found = {one["learnt_from"]: one[name]["auroc"] for one in table["scores"] if one[name]["auroc"] is not None}
        parts = [f"trained on {of} {found[of]:.3f}" for of in ("synthetic", "real") if of in found]
        alone = [auroc for of, auroc in found.items() if of.startswith("hospital ")]
        if alone:
            parts.append(f"one hospital alone {min(alone):.3f} to {max(alone):.3f}")
        told = ", ".join(parts) or f"none ({figures.get('utility_reason')})"
        console.print(f"AUROC on real test rows, {classifier}: {told}", soft_wrap=True)
    if table["baselines"]:
        parts = [f"{name} {one['auroc']:.3f}" for name, one in table["baselines"].items() if one["auroc"] is not None]
        console.print(f"AUROC of classifiers of the release: {', '.join(parts) or 'none'}", soft_wrap=True)
    if table["distances"]:
        one, two = (table["distances"][key] for key in ("one_way", "two_way"))
        shown = f"columns {one['mean']:.3f} (noise floor {one['floor_mean']:.3f})"
        if two:
            shown += f", pairs {two['mean']:.3f} ({two['floor_mean']:.3f})"
        broken = f"{table['violations']['violating']:,} of {table['violations']['rows']:,} rows break the schema"
        console.print(f"distance from real test rows: {shown}; {broken}", soft_wrap=True)
    if codes := table["codes"]:
        lift, off, per_row = codes["lift"], codes["frequencies"], codes["per_row"]
        floor = "" if lift["floor"] is None else f" (real training rows {lift['floor']:.3f})"
        together = lift["reason"] if lift["correlation"] is None else f"{lift['correlation']:.3f}{floor}"
        shown = f"{per_row['synthetic']:.2f} a row (real {per_row['test']:.2f})"
        shown += f", shares off by {off['mean']:.4f} (noise floor {off['floor_mean']:.4f}), correlation of log lift"
        console.print(f"codes: {shown} {together}", soft_wrap=True)


def _summarize(folder: Path, reports: list[dict[str, Any]], run_dirs: list[Path], *, quiet: bool) -> None:
    from silogan.common.files import writing
    from silogan.server.report.seeds import write_summary

    with writing(f"summary in '{folder}'", "free or repair the disk"):
        summary = write_summary(folder, reports, run_dirs)
    if not quiet:
        console = Console(markup=False)
        for line in summary.told():
            console.print(line, soft_wrap=True)
        console.print(f"see {folder / SUMMARY_PAGE}", soft_wrap=True)
