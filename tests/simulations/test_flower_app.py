"""What `flwr run .` runs, on a grid of threads; docs/flower.md has the command that runs it on Ray."""

import io
import json
import logging
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flwr.app import Context, Error, Message, RecordDict
from flwr.cli.build import build_fab_from_files
from flwr.common.config import get_fab_config
from flwr.common.constant import ErrorCode

from silogan.common.errors import ConfigError, FederationError
from silogan.common.wire.refusals import refusal_from_record
from silogan.common.wire.run_folder import REPORT_FILE
from silogan.simulations.engines.inprocess import InProcessGrid
from silogan.simulations.flower_app import chosen_scenario, client, run_folder, server, with_hospitals

pytestmark = pytest.mark.usefixtures("threads_kept")

ROOT = Path(__file__).resolve().parents[2]
RUN = 4711
SCENARIO: dict[str, Any] = {
    "name": "small",
    "title": "Four hospitals",
    "seed": 1,
    "model": {"latent_dim": 4, "width": 4},
    "training": {"rounds": 3, "local_steps": 1, "device": "cpu"},
    "privacy": {"epsilon": 8},
    "evaluation": {"enabled": False},
}
DEFAULTS = {"scenario": "digits", "rounds": "", "epsilon": ""}
Answer = Callable[[Message, Context], Message]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Flower's home; what the server app sets of its process is undone."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    monkeypatch.setattr(sys, "tracebacklimit", None, raising=False)
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    return tmp_path / "flwr"


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., str]:
    """Writes a small scenario with changed sections; returns its whole path."""

    def write(**sections: Any) -> str:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(SCENARIO | sections))
        return str(path)

    return write


@pytest.fixture
def flower() -> Iterator[Callable[..., None]]:
    """Runs the server app with SuperNodes that are threads."""
    grids: list[InProcessGrid] = []

    def run(config: dict[str, Any], supernodes: int = 2, answer: Answer = client) -> None:
        nodes = {
            number + 1: Context(
                RUN, number + 1, {"partition-id": number, "num-partitions": supernodes}, RecordDict(), config
            )
            for number in range(supernodes)
        }
        grids.append(InProcessGrid(answer, nodes, workers=1))
        server(grids[-1], Context(RUN, 0, {}, RecordDict(), DEFAULTS | config))

    yield run
    for grid in grids:
        grid.close()


def test_a_scenario_runs_to_its_report_with_a_hospital_for_each_supernode(
    scenario: Callable[..., str], flower: Callable[..., None], home: Path
) -> None:
    flower({"scenario": scenario(), "rounds": 1, "epsilon": 5}, supernodes=3)
    report = json.loads((home / "silogan" / str(RUN) / REPORT_FILE).read_text())
    assert len(report["sites"]) == 3
    assert all(0 < site["epsilon"] <= 5 for site in report["sites"])
    assert (report["rounds"], report["engine"]) == (1, "ray")
    assert report["title"] == "", "it names another number of hospitals"
    assert run_folder(RUN).stat().st_mode & 0o077 == 0


def test_a_control_runs_beside_it(scenario: Callable[..., str], flower: Callable[..., None]) -> None:
    """The study with a critic and that without are two studies in two folders, which the client tells apart."""
    table = {
        "data": {"source": "breast-cancer"},
        "model": {"family": "mixture", "components": 2, "steps": 2, "bins": 2},
    }
    refine = {"rounds": 1, "generator_steps": 1, "batch": 4, "width": 16}
    measured = {"samples": 60, "epochs": 1, "real_ceiling": False, "risks": False}
    flower({"scenario": scenario(**table, training={"rounds": 0, "refine": refine}, evaluation=measured)})
    report = json.loads((run_folder(RUN) / REPORT_FILE).read_text())
    assert report["refinement"] is not None


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"scenario": "digit"}, r"scenario 'digit': .*; did you mean 'digits'\?"),
        ({"scenario": "mine.yaml"}, r"scenario 'mine.yaml': .*; give its whole path"),
        ({"scenario": "/nowhere/mine.yaml"}, "mine.yaml"),
        ({"rounds": -1}, "training.rounds"),
        ({"rounds": "many"}, "training.rounds"),
        ({"epsilon": 0}, "privacy.epsilon"),
        ({"epsilon": "5 privacy.seed=1"}, "privacy.epsilon"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    config: dict[str, Any], problem: str, flower: Callable[..., None], home: Path
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        flower(config)
    assert "\n" not in str(caught.value)
    assert sys.tracebacklimit == 0
    assert not home.exists()


def test_natural_hospitals_need_as_many_supernodes(scenario: Callable[..., str]) -> None:
    natural = chosen_scenario({**DEFAULTS, "scenario": scenario(sites={"partition": "natural", "count": 3})})
    with pytest.raises(ConfigError, match=r"has 2 SuperNodes for the 3 hospitals .* num-supernodes=3"):
        with_hospitals(natural, 2)
    assert with_hospitals(natural, 3) == natural


def test_a_client_app_that_does_not_start_is_told(flower: Callable[..., None]) -> None:
    def fail(message: Message, _context: Context) -> Message:
        return Message(Error(ErrorCode.LOAD_CLIENT_APP_EXCEPTION, "no"), reply_to=message)

    with pytest.raises(FederationError, match="did not answer"):
        flower(DEFAULTS, answer=fail)


def test_a_supernode_outside_of_a_simulation_refuses(
    scenario: Callable[..., str], flower: Callable[..., None], home: Path
) -> None:
    """As one of a real federation would: it has no run folder of that run."""
    seen: list[Message] = []

    def elsewhere(message: Message, context: Context) -> Message:
        if message.metadata.message_type == "train":
            context = Context(RUN + 1, context.node_id, context.node_config, RecordDict(), context.run_config)
        reply = client(message, context)
        seen.append(reply)
        return reply

    with pytest.raises(FederationError):
        flower({"scenario": scenario()}, answer=elsewhere)
    refusals = [refusal_from_record(reply.content) for reply in seen[1:]]
    assert refusals
    assert None not in refusals


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_the_bundle_has_all_that_the_app_needs() -> None:
    """And the README, which Flower's hub shows."""
    read = ("README.md", "pyproject.toml", ".gitignore")
    files = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "silogan").rglob("*.*")}
    bundle, _ = build_fab_from_files(files | {name: ROOT / name for name in read})
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        names = {*archive.namelist()}
    assert {"README.md", "silogan/simulations/scenarios/digits.yaml", "silogan/cli.py"} <= names
    assert not any("benchmarks" in name for name in names)
    app = get_fab_config(bundle)["tool"]["flwr"]["app"]
    assert app["config"] == DEFAULTS
    assert {f"{module.partition(':')[0].replace('.', '/')}.py" for module in app["components"].values()} <= names
