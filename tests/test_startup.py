"""What a person looks up or decides starts at once: such commands load nothing that takes seconds to import.

One fresh interpreter runs all of them, one after the other, and stops at the first that loads what it should not.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from silogan.client.ledger.policy import template
from silogan.client.node.node import Node
from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Digits
from silogan.common.operations.release_key import create_release_key
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.submission import Submission
from silogan.server.release.sealed import seal
from tests.hostile.coordinators import add_run, new_line
from tests.server.release.test_sealed import FILES, STATEMENT

SLOW = (
    "torch",
    "torchvision",
    "opacus",
    "flwr",
    "sklearn",
    "dp_accounting",
    "matplotlib",
    "PIL",
    "ray",
    "scipy.signal",
    "pydicom",
    "nibabel",
)
NEEDED_BY_EPSILON = ("scipy.optimize",)
"""A tenth of a second, which only a command that computes an ε may take."""

RUNNER = """
import contextlib, io, json, sys
from silogan.cli import main
slow, commands = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for words in commands:
    sys.argv[1:] = words
    said, code = io.StringIO(), None
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    loaded = [name for name in slow if name in sys.modules]
    print(json.dumps([" ".join(words), code, loaded, said.getvalue()]), flush=True)
    if loaded:
        break
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A hospital with one cohort, one without, a proposal, a coordinator with one run, and scenarios that are wrong."""
    folder = tmp_path_factory.mktemp("startup")
    node = Node.create(folder / "node", template(epsilon=8.0, delta=1e-4, unit="record"))
    policy = node.folder / "policy.yaml"
    values = yaml.safe_load(policy.read_text(encoding="utf-8")) | {"servers": ["fl.example.org"]}
    policy.write_text(yaml.safe_dump(values), encoding="utf-8")
    node.add_cohort(name="digits", site="bergen", data=Digits(), declared_size=1000)
    Node.create(folder / "bare", template(epsilon=8.0, delta=1e-4, unit="record"))
    scenario = parse_scenario({"name": "tiny", "sites": {"count": 1}, "privacy": {"epsilon": 4.0, "delta": 1e-4}})
    schema = ImageSchema(8, 1, tuple("0123456789"))
    (folder / "run").mkdir()
    Study(scenario, schema, make_plan(scenario), (SiteDeclaration("bergen", 1000),)).save(folder / "run")
    coordinator = Coordinator.create(folder / "server", ["localhost"])
    add_run(coordinator, 1, Submission("stopped"))
    (folder / "bergen.pub").write_text(new_line())
    (folder / "ward.yaml").write_text("columns: {age: {type: integer, min: 0, max: 120}}\n")
    (folder / "ward.csv").write_text("age\n50\n")
    (folder / "wrong.yaml").write_text("name: wrong\ntraining: {roundz: 3}\n")
    seal(folder / "release.zip", STATEMENT, FILES, create_release_key(folder))
    named = {"node": node.folder, "server": coordinator.folder, "proposal": folder / "run" / "run.yaml"}
    return {name: str(path) for name, path in named.items()} | {"folder": str(folder)}


def started(places: dict[str, str], slow: tuple[str, ...], *commands: str) -> list[list[Any]]:
    words = [command.format(**places).split() for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(slow), json.dumps(words)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_looked_up_or_wrong_loads_no_library_of_training(places: dict[str, str]) -> None:
    expected = {
        "--help": 0,
        "node --help": 0,
        "server --help": 0,
        "data --help": 0,
        "data describe {folder}/ward.yaml": 0,
        "data describe {folder}/ward.csv --draft": 0,
        "data describe {folder}/none.yaml": 3,
        "simulate {folder}/wrong.yaml": 3,
        "simulate {folder}/none.yaml": 3,
        "generate {folder}/none --count 1 --out {folder}/images": 4,
        "explore {folder}/none --out {folder}/sheets": 4,
        "graph {folder}/none --out {folder}/codes.graphml": 4,
        "evaluate {folder}/none": 2,
        "audit {folder}/none": 2,
        "release --help": 0,
        "release verify {folder}/release.zip --key {folder}/release.pub": 0,
        "release verify {folder}/none.zip --key {folder}/release.pub": 3,
        "release verify {folder}/release.zip --key {folder}/server/ca.pem": 3,
        "release verify {folder}/release.pub --key {folder}/release.pub": 6,
        "node status {folder}/none": 4,
        "node status {folder}/bare": 0,
        "node plan {node} {folder}/none.yaml --server fl.example.org": 3,
        "node check {folder}/bare": 6,
        "node relocate {folder}/none --root {folder}": 4,
        "node protect {node}": 4,
        "server init --name localhost --folder {folder}/another": 0,
        "server enrol bergen {folder}/bergen.pub --size 300 --folder {server}": 0,
        "server submit {folder}/wrong.yaml --folder {server}": 3,
        "server status --folder {folder}/none": 3,
        "server view {folder}/none": 3,
    }
    ran = started(places, (*SLOW, *NEEDED_BY_EPSILON), *expected)
    assert [(words, loaded) for words, _, loaded, _ in ran if loaded] == []
    assert [code for _, code, _, _ in ran] == list(expected.values()), ran


def test_what_tells_an_epsilon_loads_no_library_of_training(places: dict[str, str]) -> None:
    """With the figures that Opacus' accountant gives where all of Opacus is loaded."""
    expected = {
        "node plan {node} {proposal} --server fl.example.org": 0,
        "node approve {node} {proposal} --server fl.example.org": 0,
        "node status {node}": 0,
        "node reject {node} {proposal} --reason late": 0,
        "server status --folder {server}": 0,
    }
    ran = started(places, SLOW, *expected)
    assert [(words, loaded) for words, _, loaded, _ in ran if loaded] == []
    assert [code for _, code, _, _ in ran] == list(expected.values()), ran
    assert "3.99" in ran[0][3]
    assert "2 of 4" in ran[-1][3]
