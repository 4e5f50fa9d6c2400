"""`silogan node`: a hospital's commands. Parses arguments and calls this package."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from silogan.common.operations.command_line import epilog, tell
from silogan.common.pages.words import budget, left
from silogan.common.pages.words import epsilon as in_words
from silogan.common.printable import printable

node = typer.Typer(
    name="node",
    help="For hospitals: register data, set a policy, approve studies, run a node.",
    epilog=epilog("silogan node status node"),
    no_args_is_help=True,
    rich_markup_mode="rich",
)

NodeFolder = Annotated[Path, typer.Argument(help="The hospital's own folder.")]
Proposal = Annotated[Path, typer.Argument(help="The study as the coordinator sent it (run.yaml).")]
CohortName = Annotated[str | None, typer.Option("--cohort", help="Registered cohort; the only one if not given.")]
Server = Annotated[str, typer.Option("--server", help="The coordinator that proposes the study.")]


@node.command("init", epilog=epilog("silogan node init node --cohort xrays --site bergen --data data.yaml --size 300"))
def node_init(  # noqa: PLR0913, PLR0917  (each argument is an option)
    folder: NodeFolder,
    cohort: Annotated[str | None, typer.Option(help="Name of the data set at this hospital.")] = None,
    site: Annotated[str | None, typer.Option(help="The hospital's name in rosters.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="How to read the data: the keys of a scenario's data section (YAML).")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Number of patients to make public. Round it.")] = None,
    record_level: Annotated[
        bool | None,
        typer.Option(
            "--record-level/--patient-level", help="Protect single records: only if their patients are unknown."
        ),
    ] = None,
    epsilon: Annotated[float, typer.Option(min=0, help="Budget in a new policy.")] = 1.0,
    delta: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="δ of a new policy, 0.00001 if not given. An existing ledger keeps its δ."),
    ] = None,
    server: Annotated[str, typer.Option(help="Coordinator to connect to, as host:port.")] = "",
    ca: Annotated[Path | None, typer.Option(help="The coordinator's ca.pem.")] = None,
    proxy: Annotated[str | None, typer.Option(help="HTTP proxy on the way to it.")] = None,
    rehearsal: Annotated[
        bool,
        typer.Option(
            "--rehearsal",
            help="Permanent: accept only studies with a seed, whose noise others know. Works only with the embedded "
            "data of sources digits and breast-cancer, which is nobody's secret.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was registered as JSON.")] = False,
) -> None:
    """Register a data set: create the key, a policy to edit and the ledger, or join the ledger of its patients.

    On a terminal, it asks for missing options and explains them.
    """
    from silogan.client.ledger.policy import template
    from silogan.client.node.joining import prepare_connection
    from silogan.client.node.node import Node
    from silogan.client.node.questions import DELTA, answered
    from silogan.client.node.questions import record_level as asked_level
    from silogan.common.config.scenario import parse_data
    from silogan.common.errors import ConfigError
    from silogan.common.reading import read_keys

    name, site = answered("cohort", cohort, str), answered("site", site, str)
    source = Path(answered("data", None if data is None else str(data), str))
    keys = read_keys(source, "data", "for example: source: folder")
    if isinstance(keys.get("data"), dict):
        raise ConfigError(f"data '{source}'", "is a scenario", "keep the keys under data: alone, not indented")
    section = parse_data(keys)
    unit = "record" if asked_level(record_level) else "patient"
    size = answered("size", size, int)
    if not Node.is_at(folder):
        delta = answered("delta", delta, float, DELTA)
    hospital = Node.create(folder, template(epsilon=epsilon, delta=DELTA if delta is None else delta, unit=unit))
    registration, sharing = hospital.add_cohort(
        name=name, site=site, data=section, declared_size=size, rehearsal=rehearsal
    )
    terms = hospital.ledger(registration).cohort
    request = prepare_connection(folder, registration, server=server, ca=ca, proxy=proxy)
    if as_json:
        facts = {
            "cohort": registration.name,
            "unit": registration.unit,
            "rehearsal": registration.rehearsal,
            "delta": terms.delta,
            "shares_patients_with": list(sharing),
            "key": hospital.key.public,
            "request": str(request),
            "servers": list(hospital.policy().servers),
        }
        print(json.dumps(facts, indent=2))
        return
    if sharing:
        print(f"shares patients with {', '.join(sharing)}: charged in the ledger '{registration.ledger}'")
    kind = ", for rehearsals" if registration.rehearsal else ""
    print(f"cohort '{registration.name}' ({registration.unit}-level{kind}) is registered in {folder}")
    print(f"its ledger is fixed at δ = {terms.delta:g}: no study with a larger δ can be approved")
    print(f"the ledger's key, for auditors: {hospital.key.public}")
    print(f"send the coordinator {request}:")
    print("  it holds the site's name, the node's public key and the declared size, nothing else")
    if not hospital.policy().servers:
        print(f"now edit {folder / 'policy.yaml'}: it allows no server yet")


@node.command("plan", epilog=epilog("silogan node plan node run.yaml --server coordinator.example.org"))
def node_plan(
    folder: NodeFolder,
    proposal: Proposal,
    server: Server,
    cohort: CohortName = None,
    override: Annotated[str, typer.Option(help="Reason to accept ε above 20, as for `approve`.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show in plain words what a study does and what it would cost. Exit code 5 if `approve` would refuse it."""
    from dataclasses import asdict

    from silogan.client.node.explanation import explain
    from silogan.client.node.node import Node, read_proposal

    hospital, study = Node(folder), read_proposal(proposal)
    registration = hospital.register.get(cohort)
    cost = hospital.cost(study, registration, server, override)
    if as_json:
        print(json.dumps({"study_id": study.study_id, "plan_id": study.plan.plan_id, **asdict(cost)}, indent=2))
    else:
        table = Table(show_header=False, box=None)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for question, answer in explain(study, registration, server, cost):
            table.add_row(question, printable(answer))
        Console(markup=False).print(table)
    refusal = hospital.refusal(study, registration, server=server, override=override)
    if refusal is not None:
        raise refusal


@node.command("relocate", epilog=epilog("silogan node relocate node --root /data/xrays"))
def node_relocate(
    folder: NodeFolder,
    root: Annotated[Path, typer.Option(help="Where the data is now.")],
    patients: Annotated[Path | None, typer.Option(help="Where its manifest is now, if it has moved too.")] = None,
    rows: Annotated[
        Path | None, typer.Option(help="Where the CSV file of rows of images is now, if it has moved too.")
    ] = None,
    columns: Annotated[
        Path | None, typer.Option(help="Where the description of its columns is now, if it has moved too.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Where the masks of images are now, if they have moved too.")
    ] = None,
    cohort: CohortName = None,
) -> None:
    """Change the place that a cohort's data is read from. The patients must be the same."""
    from silogan.client.node.node import Node

    hospital = Node(folder)
    places = {"root": root, "patients": patients, "rows": rows, "columns": columns, "masks": masks}
    moved = hospital.relocate(hospital.register.get(cohort), **{key: path for key, path in places.items() if path})
    print(f"cohort '{moved.name}' is now read from {moved.data.root}; its ledger is unchanged")


@node.command("approve", epilog=epilog("silogan node approve node run.yaml --server coordinator.example.org"))
def node_approve(
    folder: NodeFolder,
    proposal: Proposal,
    server: Server,
    cohort: CohortName = None,
    override: Annotated[str, typer.Option(help="Reason to accept ε above 20. It is signed.")] = "",
    by: Annotated[str, typer.Option(help="Name or role of the person who approves. It is signed.")] = "",
    reason: Annotated[str, typer.Option(help="The reason. It is signed.")] = "",
) -> None:
    """Sign a study's hash. Only this study may then run, within policy and budget."""
    from silogan.client.node.node import Node, read_proposal

    hospital, study = Node(folder), read_proposal(proposal)
    cohort_of = hospital.register.get(cohort)
    if hospital.approve(study, cohort_of, server=server, override=override, approver=by, reason=reason):
        print(f"approved {study.study_id}")
    else:
        print(f"endorsed {study.study_id}: another person must approve it too before it may run")


@node.command("reject", epilog=epilog('silogan node reject node run.yaml --reason "too many steps"'))
def node_reject(
    folder: NodeFolder,
    proposal: Proposal,
    reason: Annotated[str, typer.Option(help="The reason. It is signed.")],
    cohort: CohortName = None,
) -> None:
    """Record that the hospital rejects a study, or withdraws its approval."""
    from silogan.client.node.node import Node, read_proposal

    hospital, study = Node(folder), read_proposal(proposal)
    hospital.reject(study, hospital.register.get(cohort), reason)
    print(f"rejected {study.study_id}")


@node.command("status", epilog=epilog("silogan node status node --json"))
def node_status(
    folder: NodeFolder, as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False
) -> None:
    """Show the privacy budget spent, reserved and left for each cohort, run by run."""
    from dataclasses import asdict

    from silogan.client.node.node import Node

    statements = Node(folder).statements()
    if as_json:
        plain = {name: {**asdict(one), "epsilon_left": one.epsilon_left} for name, one in statements.items()}
        print(json.dumps(plain, indent=2))
        return
    console = Console(markup=False)
    for name, one in statements.items():
        used = min(1.0, one.epsilon_charged / one.epsilon_budget)
        bar = "█" * round(30 * used) + "░" * (30 - round(30 * used))
        console.print(f"{printable(name)} ({one.unit}-level, δ = {one.delta:g})")
        reserved = one.epsilon_charged - one.epsilon_settled
        rest = f"{left(one.epsilon_left)} of {budget(one.epsilon_budget)} left"
        console.print(f"  {bar} ε {in_words(one.epsilon_charged)} charged, {in_words(reserved)} of it reserved, {rest}")
        table = Table("run", "asked by", "σ", "q", "steps", "reserved", "refused", "ε alone", "last")
        for run in one.runs:
            noise = ", ".join(f"{phase.noise_multiplier:g}" for phase in run.phases)
            figures = (noise, ", ".join(f"{phase.sample_rate:g}" for phase in run.phases), f"{run.steps_settled}")
            more = (f"{run.steps_reserved}", f"{run.refusals}", in_words(run.epsilon), run.last)
            table.add_row(*map(printable, (run.study_id[:12], run.asked_by, *figures, *more)))
        console.print(table)
        for said in one.decisions:
            who = f" by {said.approver}" if said.approver else ""
            why = f": {said.reason}" if said.reason else ""
            console.print(f"  {said.created} {said.decision} {said.study_id[:12]}{who}{why}")


@node.command("protect", epilog=epilog("silogan node protect node"))
def node_protect(
    folder: NodeFolder,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the passphrase from the keys.")] = False,
) -> None:
    """Protect the node's keys by a passphrase, or change it. If it is lost, so are the keys.

    It is asked for on a terminal, else read from the credentials silogan.passphrase and silogan.new-passphrase.
    """
    from silogan.client.node.node import require_node
    from silogan.client.node.protection import protect, unprotect

    require_node(folder)
    if remove:
        unprotect(folder)
        print("the keys have no passphrase: whoever can read the folder can use them")
    else:
        protect(folder)
        print("the keys are protected by the passphrase: keep it apart from the folder, and do not lose it")


@node.command("check", epilog=epilog("silogan node check node"))
def node_check(
    folder: NodeFolder,
    review: Annotated[
        bool, typer.Option("--review", help="First record that the installed software was reviewed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check everything that a round needs. Exit code 6 if a check fails."""
    from dataclasses import asdict

    from silogan.client.node.node import require_node
    from silogan.client.node.preflight import preflight
    from silogan.client.node.review import review as write_review
    from silogan.common.errors import VerificationError

    require_node(folder)
    if review:
        write_review(folder)
    checks = preflight(folder)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        table = Table("", "check", "finding", "hint", box=None)
        for check in checks:
            table.add_row("ok" if check.ok else "FAILS", *map(printable, (check.name, check.finding, check.hint)))
        Console(markup=False).print(table)
    failed = [check for check in checks if not check.ok]
    if failed:
        problem = f"{len(failed)} of {len(checks)} checks failed; first: {failed[0].name}"
        raise VerificationError("node", problem, failed[0].hint)


@node.command("start", epilog=epilog("silogan node start node"))
def node_start(
    folder: NodeFolder,
    as_root: Annotated[bool, typer.Option("--as-root", help="Run as root. A node does not need it.")] = False,
) -> None:
    """Connect to the coordinator and take part in approved studies until stopped. Only connects outwards."""
    from silogan.client.node.service import start

    start(folder, as_root=as_root, say=tell)
