"""`silogan node`: a hospital's commands. Parses arguments and calls into this room."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from common.command_line import epilog
from common.printable import printable

node = typer.Typer(
    name="node",
    help="A hospital: what it holds, what it allows, what it has spent.",
    epilog=epilog("silogan node status node"),
    no_args_is_help=True,
    rich_markup_mode="rich",
)

NodeFolder = Annotated[Path, typer.Argument(help="The hospital's own folder.")]
Proposal = Annotated[Path, typer.Argument(help="The study as the coordinator sent it (run.yaml).")]
CohortName = Annotated[str | None, typer.Option("--cohort", help="Registered cohort; the only one if not given.")]
Server = Annotated[str, typer.Option("--server", help="The coordinator that asks.")]


@node.command("init", epilog=epilog("silogan node init node --cohort xrays --site bergen --data data.yaml --size 300"))
def node_init(  # noqa: PLR0913, PLR0917  (each argument is an option)
    folder: NodeFolder,
    cohort: Annotated[str, typer.Option(help="Name of the data set at this hospital.")],
    site: Annotated[str, typer.Option(help="The hospital's name in rosters.")],
    data: Annotated[Path, typer.Option(help="How to read it: the keys of a scenario's data section (YAML).")],
    size: Annotated[int, typer.Option(min=1, help="Number of patients as you make it public; round it.")],
    record_level: Annotated[
        bool, typer.Option("--record-level", help="Protect single records, where nobody knows whose they are.")
    ] = False,
    epsilon: Annotated[float, typer.Option(min=0, help="Budget that a new policy starts with.")] = 1.0,
    delta: Annotated[
        float, typer.Option(min=0, max=1, help="δ of a new policy; a ledger keeps the one it has.")
    ] = 1e-5,
    server: Annotated[str, typer.Option(help="Coordinator to connect to, as host:port.")] = "",
    ca: Annotated[Path | None, typer.Option(help="The coordinator's ca.pem.")] = None,
    proxy: Annotated[str | None, typer.Option(help="HTTP proxy on the way to it.")] = None,
    rehearsal: Annotated[
        bool,
        typer.Option(
            "--rehearsal",
            help="For good: take studies with a seed, whose noise others know, and no others. Only with the embedded "
            "digits, which are nobody's.",
        ),
    ] = False,
) -> None:
    """Register a data set: make the key, a policy to edit and the ledger, or join the ledger of its patients."""
    from client.joining import prepare_connection
    from client.node import Node
    from client.policy import template
    from common.config import Data, parse, read_keys

    section = parse(Data, read_keys(data, "data", "write for example source: folder"), "data")
    unit = "record" if record_level else "patient"
    hospital = Node.create(folder, template(epsilon=epsilon, delta=delta, unit=unit))
    registration, sharing = hospital.add_cohort(
        name=cohort, site=site, data=section, declared_size=size, rehearsal=rehearsal
    )
    if sharing:
        print(f"shares patients with {', '.join(sharing)}: charged in the ledger '{registration.ledger}'")
    kind = ", for rehearsals" if registration.rehearsal else ""
    print(f"cohort '{registration.name}' ({registration.unit}-level{kind}) is registered in {folder}")
    print(f"public key {hospital.key.public}")
    request = prepare_connection(folder, registration, server=server, ca=ca, proxy=proxy)
    print(f"send the coordinator {request}: it holds the node's public key and the declared size, nothing else")
    if not hospital.policy().servers:
        print(f"now edit {folder / 'policy.yaml'}: it allows no server yet")


@node.command("plan", epilog=epilog("silogan node plan node run.yaml --server coordinator.example.org"))
def node_plan(
    folder: NodeFolder,
    proposal: Proposal,
    server: Server,
    cohort: CohortName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show in plain words what a study asks and what it would cost. Exit code 5 if the policy forbids it."""
    from dataclasses import asdict

    from client.node import Node, read_proposal
    from client.words import explain
    from common.errors import PrivacyRefusal

    hospital, study = Node(folder), read_proposal(proposal)
    registration = hospital.register.get(cohort)
    cost = hospital.cost(study, registration, server)
    if as_json:
        print(json.dumps({"study_id": study.study_id, "plan_id": study.plan.plan_id, **asdict(cost)}, indent=2))
    else:
        table = Table(show_header=False, box=None)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for question, answer in explain(study, registration, server, cost):
            table.add_row(question, printable(answer))
        Console(markup=False).print(table)
    if cost.objections:
        raise PrivacyRefusal("study", "; ".join(cost.objections), "do not approve it, or change the policy")


@node.command("approve", epilog=epilog("silogan node approve node run.yaml --server coordinator.example.org"))
def node_approve(
    folder: NodeFolder,
    proposal: Proposal,
    server: Server,
    cohort: CohortName = None,
    override: Annotated[str, typer.Option(help="Why ε above 20 is accepted; is signed.")] = "",
) -> None:
    """Sign a study's hash: just this study may then be run, within policy and budget."""
    from client.node import Node, read_proposal

    hospital, study = Node(folder), read_proposal(proposal)
    hospital.approve(study, hospital.register.get(cohort), server=server, override=override)
    print(f"approved {study.study_id}")


@node.command("reject", epilog=epilog('silogan node reject node run.yaml --reason "too many steps"'))
def node_reject(
    folder: NodeFolder,
    proposal: Proposal,
    reason: Annotated[str, typer.Option(help="Why; is signed.")],
    cohort: CohortName = None,
) -> None:
    """Write down that the hospital does not agree to a study, or no longer."""
    from client.node import Node, read_proposal

    hospital, study = Node(folder), read_proposal(proposal)
    hospital.reject(study, hospital.register.get(cohort), reason)
    print(f"rejected {study.study_id}")


@node.command("status", epilog=epilog("silogan node status node --json"))
def node_status(
    folder: NodeFolder, as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False
) -> None:
    """Show what has been spent, reserved and left on each cohort's patients, run by run."""
    from dataclasses import asdict

    from client.node import Node

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
        left = f"{one.epsilon_left:.4g} of {one.epsilon_budget:g} left"
        console.print(f"  {bar} ε {one.epsilon_charged:.4g} charged, {reserved:.4g} of it reserved, {left}")
        table = Table("run", "asked by", "σ", "q", "steps", "reserved", "refused", "ε alone", "last")
        for run in one.runs:
            figures = (f"{run.noise_multiplier:g}", f"{run.sample_rate:g}", f"{run.steps_settled}")
            more = (f"{run.steps_reserved}", f"{run.refusals}", f"{run.epsilon:.4g}", run.last)
            table.add_row(*map(printable, (run.study_id[:12], run.asked_by, *figures, *more)))
        console.print(table)


@node.command("check", epilog=epilog("silogan node check node"))
def node_check(
    folder: NodeFolder,
    review: Annotated[
        bool, typer.Option("--review", help="First write down that the installed software was reviewed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check everything that a round needs, each with its mend. Exit code 6 if something does not hold."""
    from dataclasses import asdict

    from client.preflight import preflight
    from client.service import review as write_review
    from common.errors import VerificationError

    if review:
        write_review(folder)
    checks = preflight(folder)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        table = Table("", "check", "finding", "mend", box=None)
        for check in checks:
            table.add_row("ok" if check.ok else "FAILS", *map(printable, (check.name, check.finding, check.mend)))
        Console(markup=False).print(table)
    failed = [check for check in checks if not check.ok]
    if failed:
        problem = f"{len(failed)} of {len(checks)} checks fail, first: {failed[0].name}"
        raise VerificationError("node", problem, failed[0].mend)


@node.command("start", epilog=epilog("silogan node start node"))
def node_start(
    folder: NodeFolder,
    as_root: Annotated[bool, typer.Option("--as-root", help="Run as root, which a node does not need.")] = False,
) -> None:
    """Connect to the coordinator and take part in approved studies, until it is stopped. Only connects outwards."""
    from client.service import start

    start(folder, as_root=as_root)
