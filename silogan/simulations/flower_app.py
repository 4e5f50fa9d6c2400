"""What `flwr run .` runs in this repository: a scenario, simulated by Flower's own runtime, from data to report.

`silogan simulate --engine ray` starts a runtime of its own and is told where the run folder is. Here Flower's runtime
comes first. Its simulated SuperNodes are the hospitals, and both apps find the run folder by the run's number, in
Flower's home.

Keys of the run's configuration, each as in the scenario where it is empty:

    scenario   name of one of ours, or the whole path of a file
    rounds     `training.rounds`
    epsilon    `privacy.epsilon`

A federation of hospitals never runs these apps: what a coordinator ships is `common/wire/bundle.py`'s, without this
package.
"""

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from flwr.app import Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.utils import get_flwr_home

from silogan.client.app import simulated_round
from silogan.common.config.scenario import Scenario, load_scenario
from silogan.common.errors import ConfigError, FederationError, SiloganError, VerificationError
from silogan.common.files import writing
from silogan.common.wire.run_folder import CONTROL_FOLDER, REPORT_PAGE, holds_run
from silogan.common.wire.study import Study
from silogan.server.app import federate
from silogan.server.report.verdict import Verdict
from silogan.simulations.shipped import scenario_file
from silogan.simulations.simulate import simulate

_KEYS = {"rounds": "training.rounds", "epsilon": "privacy.epsilon"}
_COUNT = "num-partitions"
_LOOK_SECONDS = 0.2  # between two looks for SuperNodes, which Flower creates while the server app starts
_START_SECONDS = 120.0  # for Ray to start, and for the client app to import

_log = logging.getLogger("flwr")
"""Flower's own logger: what it writes is what `flwr log` shows."""

server = ServerApp()
client = ClientApp()


@server.main()
def serve(grid: Grid, context: Context) -> None:
    """Simulates the scenario that the run's configuration names, to its report.

    Raises:
        SiloganError: what is wrong; Flower shows it in one line, without a traceback.
    """
    _log.propagate = False  # Opacus adds a root handler, which would print each line twice
    try:
        _serve(grid, context)
    except SiloganError:
        sys.tracebacklimit = 0  # of Flower's process, which ends with the run
        raise


def _serve(grid: Grid, context: Context) -> None:
    scenario, run_dir = chosen_scenario(context.run_config), run_folder(context.run_id)
    scenario = with_hospitals(scenario, _supernodes(grid))
    with writing(f"folder '{run_dir}'", "set FLWR_HOME to a folder that you may write to"):
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _log.info("SiloGAN simulates %s in %s", scenario.name, run_dir)

    def rounds(run_dir: Path, *, num_sites: int, workers: int) -> None:  # noqa: ARG001  (Flower has its own workers)
        federate(grid, run_dir)

    report = simulate(scenario, run_dir, engine="ray", run=rounds)
    for line in (*_figures(report), f"SiloGAN wrote {run_dir / REPORT_PAGE}"):
        _log.info(line)


@client.query()
def count(message: Message, context: Context) -> Message:
    """How many SuperNodes are simulated."""
    sizes = MetricRecord({_COUNT: int(context.node_config[_COUNT])})
    return Message(RecordDict({_COUNT: sizes}), reply_to=message)


@client.train()
def train(message: Message, context: Context) -> Message:
    """One round of a simulated hospital.

    Privacy:
        Answers only where this machine holds the run folder that the server app of the same run made, in Flower's
        home, and only for the study in it. A SuperNode of a real federation has none, and refuses.
    """
    return simulated_round(message, context, lambda study_id: _folder_of(study_id, context))


def run_folder(run_id: int) -> Path:
    """Where a run's results are: the same for both apps, which need not share a working directory."""
    return get_flwr_home().absolute() / "silogan" / str(run_id)


def chosen_scenario(config: dict[str, Any]) -> Scenario:
    """The scenario that a run's configuration asks for.

    Raises:
        ConfigError: there is no such scenario, or a value is wrong.
    """
    path = Path(str(config["scenario"])).expanduser()
    if not path.is_absolute() and (path.suffix or path.parent != Path()):
        hint = "give its whole path, or the name of one of ours"
        raise ConfigError(f"scenario '{path}'", "is looked for in the folder where Flower was started", hint)
    overrides = [f"{key}={config[name]}" for name, key in _KEYS.items() if config[name] != ""]
    return load_scenario(scenario_file(path), overrides)


def with_hospitals(scenario: Scenario, supernodes: int) -> Scenario:
    """The same scenario with a hospital for each SuperNode.

    Raises:
        ConfigError: the data says how many hospitals there are, and it is another number.
    """
    count = scenario.sites.count
    if count == supernodes:
        return scenario
    if scenario.sites.partition == "natural":
        hint = f"add --federation-config num-supernodes={count}"
        raise ConfigError("federation", f"has {supernodes} SuperNodes for the {count} hospitals of the data", hint)
    sites = scenario.sites.model_copy(update={"count": supernodes})
    return scenario.model_copy(update={"sites": sites, "title": ""})  # the title may name their number


def _figures(report: dict[str, Any]) -> Iterator[str]:
    """What the run came to, in a line each; the report has the rest."""
    spent = [site["epsilon"] for site in report["sites"] if site["epsilon"] is not None]
    yield f"each hospital spent at most ε = {max(spent):.3f}" if spent else "NON-PRIVATE: no noise was added"
    yield str(Verdict.of(report))


def _supernodes(grid: Grid) -> int:
    """How many SuperNodes Flower simulates, of which one is asked.

    Before Ray has started there is no answer, and nothing may be computed: Ray starts its processes by forks of this
    one, and a fork stops the threads of OpenBLAS, also below a computation, which then waits for ever.

    Raises:
        FederationError: there is no answer.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not (nodes := list(grid.get_node_ids())):
        if time.monotonic() > deadline:
            raise FederationError("federation", "has no SuperNode", "add --federation-config num-supernodes=4")
        time.sleep(_LOOK_SECONDS)
    question = Message(RecordDict(), nodes[0], MessageType.QUERY)
    for reply in grid.send_and_receive([question], timeout=_START_SECONDS):
        if reply.has_content():
            return cast(int, reply.content.metric_records[_COUNT][_COUNT])
    raise FederationError("the first SuperNode", "did not answer", "see the messages above")


def _folder_of(study_id: str, context: Context) -> Path:
    """The run folder of a study, or that of its control.

    Raises:
        VerificationError: there is none.
    """
    run_dir = run_folder(context.run_id)
    for folder in (run_dir, run_dir / CONTROL_FOLDER):
        if holds_run(folder) and Study.load(folder).study_id == study_id:
            return folder
    raise VerificationError("study", "is not simulated on this machine", "use silogan node to join a federation")
