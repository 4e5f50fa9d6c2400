"""`silogan server`: the coordinator's commands. Parses arguments and calls this package."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from silogan.common.errors import UsageError, VerificationError
from silogan.common.operations.command_line import epilog, tell
from silogan.common.pages.words import counted
from silogan.common.pages.words import epsilon as in_words
from silogan.common.printable import printable

server = typer.Typer(
    name="server",
    help="For coordinators: enrol hospitals, submit studies, supervise runs.",
    epilog=epilog("silogan server status server"),
    no_args_is_help=True,
    rich_markup_mode="rich",
)

ServerFolder = Annotated[Path, typer.Option("--folder", help="The coordinator's folder.")]
HERE = Path("server")


@server.command("init", epilog=epilog("silogan server init --name fl.example.org"))
def server_init(  # noqa: PLR0913, PLR0917  (each argument is an option)
    name: Annotated[list[str], typer.Option("--name", help="Host name or address that hospitals use; repeatable.")],
    folder: ServerFolder = HERE,
    listen: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option(min=1, max=65533, help="The only port that is open to the network.")] = 9443,
    certificate: Annotated[Path | None, typer.Option(help="The institution's certificate chain (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key of the certificate (PEM).")] = None,
    authorities: Annotated[Path | None, typer.Option(help="Authorities that hospitals trust (PEM).")] = None,
    readers: Annotated[
        str | None, typer.Option(metavar="GROUP", help="System group whose members may see the status.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what hospitals need as JSON.")] = False,
) -> None:
    """Create the coordinator's folder: settings, secret, and a certificate from a private authority or a given one."""
    from silogan.server.operations.coordinator import Coordinator, Given

    given = None
    if certificate or key or authorities:
        if not (certificate and key and authorities):
            hint = "give --certificate, --key and --authorities"
            raise UsageError("--certificate", "needs its key and authorities", hint)
        given = Given(certificate, key, authorities)
    Coordinator.create(folder, name, listen=listen, port=port, given=given)
    if readers is not None:
        from silogan.server.operations.view import admit_readers

        admit_readers(folder, readers)
    if as_json:
        secret = None if given else str(folder / "ca.key")
        facts = {"folder": str(folder), "address": f"{name[0]}:{port}", "ca": str(folder / "ca.pem"), "secret": secret}
        print(json.dumps({**facts, "release_key": str(folder / "release.pub")}, indent=2))
        return
    print(f"coordinator '{name[0]}' in {folder}; give the hospitals {folder / 'ca.pem'} and {name[0]}:{port}")
    if given is None:
        print(f"keep a copy of {folder / 'ca.key'} offline: whoever has it can impersonate this coordinator")
    print(f"publish {folder / 'release.pub'}: it verifies releases, which {folder / 'release.key'} signs")


@server.command("start", epilog=epilog("silogan server start --supervise"))
def server_start(
    folder: ServerFolder = HERE,
    supervise: Annotated[bool, typer.Option("--supervise", help="Restart lost runs from their last round.")] = False,
    as_root: Annotated[bool, typer.Option("--as-root", help="Run as root. The coordinator does not need it.")] = False,
) -> None:
    """Run the coordinator (SuperLink, ServerApp and proxy) until it is stopped."""
    from silogan.server.operations.coordinator import Coordinator
    from silogan.server.operations.prometheus import serve_metrics
    from silogan.server.operations.view import View

    coordinator = Coordinator(folder)
    view = View(coordinator)
    coordinator.start(supervise=supervise, as_root=as_root, also=serve_metrics, say=tell, watch=view.refresh)


@server.command("enrol", epilog=epilog("silogan server enrol bergen node.pub --size 300"))
def server_enrol(
    site: Annotated[str, typer.Argument(help="The hospital's name in rosters.")],
    key: Annotated[
        Path | None, typer.Argument(help="Its node.pub, or its request.json, which includes the size.")
    ] = None,
    folder: ServerFolder = HERE,
    size: Annotated[int | None, typer.Option(min=1, help="Its declared size.")] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the hospital: its node can no longer connect.")
    ] = False,
    readmit: Annotated[str | None, typer.Option(metavar="RUN", help="End the hospital's quarantine in a run.")] = None,
) -> None:
    """Enrol or remove a hospital. A new key for a name replaces the old one."""
    from silogan.common.wire.run_folder import QUARANTINE_FILE
    from silogan.common.wire.study import Study
    from silogan.server.operations.actions import acting
    from silogan.server.operations.coordinator import Coordinator
    from silogan.server.operations.request import read_request
    from silogan.server.rounds.quarantine import Quarantine

    coordinator = Coordinator(folder)
    if readmit is not None:
        run = coordinator.runs.path(readmit)
        after = Study.load(run).scenario.federation.quarantine_after
        with acting(folder, "readmit", site=site, run=readmit):
            Quarantine(run / QUARANTINE_FILE, after).readmit(site)
        print(f"'{site}' takes part in {readmit} again")
    elif remove:
        with acting(folder, "remove", site=site):
            coordinator.enrolment.remove(site)
        print(f"'{site}' is removed: its node can no longer connect")
    elif key is None:
        raise UsageError("enrol", f"has no key of '{site}'", "give its node.pub or request.json")
    else:
        public, declared = read_request(site, key, size)
        with acting(folder, "enrol", site=site, key=public, size=declared):
            coordinator.enrolment.enrol(site, public, declared)
        print(f"'{site}' is enrolled with declared size {declared}")


@server.command("submit", epilog=epilog("silogan server submit chest-xray.yaml --propose"))
def server_submit(
    scenario: Annotated[Path, typer.Argument(help="Scenario file (YAML).")],
    folder: ServerFolder = HERE,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.key=value; repeatable.")] = None,
    sites: Annotated[
        str | None, typer.Option(help="Names of the hospitals, as in bergen,oslo; all if not given.")
    ] = None,
    propose: Annotated[bool, typer.Option("--propose", help="Only write run.yaml, for review.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Propose a study and queue it. A run that failed or was stopped continues from its last round."""
    from silogan.common.config.scenario import load_scenario
    from silogan.common.wire.run_folder import RUN_FILE
    from silogan.server.operations.actions import acting
    from silogan.server.operations.coordinator import Coordinator
    from silogan.server.operations.submission import Submission

    coordinator = Coordinator(folder)
    chosen = None if sites is None else [site.strip() for site in sites.split(",")]
    with acting(folder, "propose" if propose else "submit", scenario=scenario.name):
        name, study = coordinator.propose(load_scenario(scenario, overrides), chosen)
        before = coordinator.runs.get(name)
        if not propose and before.state not in ("queued", "running", "finished"):
            coordinator.runs.set(name, Submission("queued"))
    from silogan.server.fitting.choices import judge  # takes seconds, of which errors above cost none

    plan, judged = study.plan, judge(study)
    epsilon = plan.epsilon_after()
    state = coordinator.runs.get(name).state
    run_yaml = coordinator.runs.path(name) / RUN_FILE
    facts: dict[str, Any] = {
        "run": name,
        "study_id": study.study_id,
        "plan_id": plan.plan_id,
        "state": state,
        "proposal": str(run_yaml),
        "expected": None if judged is None else f"{judged.verdict}: {judged.expected}",
        "cost": {site.name: {"epsilon": epsilon, "delta": plan.delta, "unit": plan.unit} for site in study.sites},
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print(f"run {name} is {state}")
    print(f"study {study.study_id}")
    print(f"plan  {plan.plan_id}")
    print(
        f"costs each of {counted(len(study.sites), 'site')} at most ε = {in_words(epsilon)} "
        f"at δ = {plan.delta:g} ({plan.unit}-level)"
    )
    if facts["expected"]:
        print(facts["expected"])
    if state in ("proposed", "queued"):
        print(f"the hospitals review and approve {run_yaml}")


@server.command("status", epilog=epilog("silogan server status --live"))
def server_status(
    folder: ServerFolder = HERE,
    live: Annotated[bool, typer.Option("--live", help="Refresh every second, until Ctrl-C.")] = False,
    actions: Annotated[bool, typer.Option("--actions", help="Show who did what, the latest last.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show services, certificates, hospitals and runs: rounds, replies, ledger heads, time left."""
    from silogan.server.operations.actions import read_actions
    from silogan.server.operations.coordinator import Coordinator
    from silogan.server.operations.status import status
    from silogan.server.operations.view import read_view

    seen = read_view(folder)
    if seen is None:
        coordinator = Coordinator(folder)
        if live and not (actions or as_json):
            _watch(lambda: _tables(status(coordinator)))
            return
        seen = {"actions": read_actions(folder)} if actions else {"status": status(coordinator)}
    found: Any = seen["actions" if actions else "status"]
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        when = (f"as of {seen['when']}",) if "when" in seen else ()
        Console(markup=False).print(*when, (_action_table if actions else _tables)(found))


@server.command("view", epilog=epilog("silogan server view server"))
def server_view(folder: Annotated[Path, typer.Argument(help="The coordinator's folder.")] = HERE) -> None:
    """Show the coordinator and its newest run in a browser on this machine, until Ctrl-C. Nothing is changed."""
    from silogan.common.operations.local_page import served
    from silogan.server.operations.coordinator import require_access
    from silogan.server.operations.live_page import live_contents
    from silogan.server.operations.web_view import coordinator_state, newest_run

    require_access(folder)
    state, run = coordinator_state(folder), newest_run(folder)
    with suppress(KeyboardInterrupt), served(live_contents(state, run)) as page:
        tell([f"see {page.address} (Ctrl-C ends it)"])
        while True:
            time.sleep(1)


@server.command("stop", epilog=epilog("silogan server stop"))
def server_stop(
    run: Annotated[str | None, typer.Argument(help="A run to stop; the whole coordinator if not given.")] = None,
    folder: ServerFolder = HERE,
) -> None:
    """Stop a run once its current work is done, or stop the coordinator."""
    from dataclasses import replace

    from silogan.server.operations.actions import acting
    from silogan.server.operations.coordinator import Coordinator

    coordinator = Coordinator(folder)
    with acting(folder, "stop", run=run):
        if run is None:
            coordinator.stop()
            print("stopped")
            return
        submission = coordinator.runs.get(run)
        if submission.state not in ("queued", "running"):
            raise UsageError(f"run '{run}'", f"is {submission.state}", "only queued and running runs can be stopped")
        coordinator.runs.set(run, replace(submission, state="stopped", problem="stopped by the coordinator"))
    print(f"run {run} is stopped; submit it again to continue")


@server.command("backup", epilog=epilog("silogan server backup monday.tar.gz"))
def server_backup(
    path: Annotated[Path, typer.Argument(help="Backup file to create.")],
    folder: ServerFolder = HERE,
) -> None:
    """Copy the coordinator's folder into one file, even while it runs. Keep it safe: it contains all keys."""
    from silogan.server.operations.actions import acting
    from silogan.server.operations.backup import back_up
    from silogan.server.operations.coordinator import Coordinator

    coordinator = Coordinator(folder)
    with acting(folder, "backup", file=path.name):
        count = back_up(coordinator, path)
    print(f"{counted(count, 'file')} in {path};  it holds the coordinator's keys: protect it like them")


@server.command("restore", epilog=epilog("silogan server restore monday.tar.gz --folder server"))
def server_restore(
    path: Annotated[Path, typer.Argument(help="Backup file, made by `silogan server backup`.")],
    folder: ServerFolder = HERE,
) -> None:
    """Restore a coordinator's folder from a backup."""
    from silogan.server.operations.actions import acting
    from silogan.server.operations.backup import restore

    runs = restore(path, folder).runs.all()
    with acting(folder, "restore", file=path.name):
        print(
            f"restored into {folder} with {counted(len(runs), 'run')}; hospitals removed since then are enrolled again"
        )
        print("check it with `silogan server repair`, then start it with `silogan server start --supervise`")


@server.command("repair", epilog=epilog("silogan server repair --folder server"))
def server_repair(
    folder: ServerFolder = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check every file of the coordinator, repair what can be repaired, and say how to repair the rest.

    Hospitals that the SuperLink does not know, because its database was lost, are registered again. Exits with 6 if
    something is left that needs a person.
    """
    from dataclasses import asdict

    from silogan.server.operations.actions import acting
    from silogan.server.operations.repair import repair, require_folder

    require_folder(folder)
    with acting(folder, "repair"):
        findings = repair(folder)
    left = [finding for finding in findings if not finding.mended]
    if as_json:
        print(json.dumps({"ok": not left, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            print(f"{'repaired' if finding.mended else 'PROBLEM '} {finding.thing}: {finding.problem}; {finding.hint}")
        print(f"{counted(len(left), 'problem')} left" if left else "All checks passed")
    if left:
        raise typer.Exit(VerificationError.exit_code)


def _watch(look: Callable[[], Group]) -> None:
    """Shows what `look` finds, every second until Ctrl-C."""
    view = Live(look(), console=Console(markup=False), auto_refresh=False)
    with suppress(KeyboardInterrupt), view:
        while True:
            time.sleep(1)
            view.update(look(), refresh=True)


def _action_table(done: list[dict[str, Any]]) -> Table:
    """What people did at the coordinator."""
    table = Table("when", "who", "what", "about", "result", title="actions")
    for action in done:
        rest = [f"{key}={value}" for key, value in action.items() if key not in ("when", "who", "what", "result")]
        what = (str(action.get(key, "")) for key in ("when", "who", "what"))
        table.add_row(*what, " ".join(rest), str(action.get("result", "")))
    return table


def _heard(site: dict[str, Any]) -> str:
    """How long ago a hospital's node was last heard of; Flower calls it online for 60 seconds more."""
    if site["heard"] is None:
        return "never" if site["status"] in ("registered", "online") else ""
    moment = datetime.fromtimestamp(site["heard"], UTC)
    return f"{max(0.0, time.time() - site['heard']):.0f} s ago ({moment:%Y-%m-%d %H:%M:%S} UTC)"


def _tables(found: dict[str, Any]) -> Group:
    """The status of `silogan.server.operations.status.status` as tables."""
    certificate, services = found["certificate"], found["services"]
    up = ", ".join(services) if services else "not running"
    days = "cannot be read" if certificate["days_left"] is None else f"{certificate['days_left']} days left"
    lines = [f"coordinator: {up}", f"certificate: {days}", *certificate["warnings"], *found["problems"]]
    sites = Table("site", "node", "last heard of", "declared size", title="hospitals")
    for site in found["sites"]:
        _add(sites, site["name"], site["status"], _heard(site), str(site["declared_size"]))
    runs = Table("run", "state", "round", "answered", "refused", "ε", "left", "why", title="runs")
    for run in found["runs"]:
        left = "" if run["seconds_left"] is None else f"{run['seconds_left']:.0f} s"
        refused = ", ".join(run["refused"])
        epsilon = "" if run["epsilon"] is None else in_words(run["epsilon"])
        rounds = "" if run["rounds"] is None else f"{run['round']} of {run['rounds']}"
        figures = (rounds, f"{run['answered']}", refused, epsilon, left, run["problem"])
        _add(runs, run["name"], run["state"], *figures)
    heads = Table("run", "site", "ledger head", title="ledgers, as last seen")
    for run in found["runs"]:
        for site, head in run["ledger_heads"].items():
            _add(heads, run["name"], site, head[:16])
    return Group(*map(printable, lines), sites, runs, heads)


def _add(table: Table, *cells: str) -> None:
    """A row of what files and hospitals say, none of which may move the terminal's cursor."""
    table.add_row(*map(printable, cells))
