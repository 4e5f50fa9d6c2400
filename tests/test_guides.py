"""The guides, walked: a coordinator and two hospitals who have nothing but the commands that stand there.

What differs from three machines: they are one, so names and ports are others, letters between them are copies of files,
and where this is root, programs that run on are told that they may be. `SILOGAN_BARE=1` installs the software first, as
the guides say, into an environment of its own (minutes, gigabytes); else the one that runs the tests is used.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from silogan.common.operations.flower import free_port
from tests.guides import Block, Command, Machine, sections
from tests.tls import listens

ROOT = Path(__file__).parent.parent
BARE = bool(os.environ.get("SILOGAN_BARE"))
ERRORS = "The three most likely errors"
PATIENTS = 150

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400 if BARE else 900),
    pytest.mark.skipif(
        not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()),
        reason="nginx is not installed (apt install nginx)",
    ),
]


@pytest.fixture
def ports() -> dict[str, str]:
    """What the guides call a machine, and what it is called here."""
    port = next(port for port in iter(free_port, None) if not any(listens(port + above) for above in (1, 2)))
    return {
        "--name fl.example.org\n": f"--name fl.example.org --port {port}\n",
        "fl.example.org": "localhost",
        "9443": str(port),
        "9445": str(port + 2),
    }


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Machine]]:
    binaries = tmp_path / "opt" / "silogan" / "bin" if BARE else Path(sys.executable).parent
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env |= {"PATH": f"{binaries}:{env['PATH']}", "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    found = {name: Machine(tmp_path / name, env) for name in ("coordinator", "bergen", "oslo")}
    yield found
    for machine in found.values():
        machine.stop()


def install(blocks: list[Block], where: Path) -> None:
    """The first step of a guide, but for making a user."""
    for block in blocks:
        assert isinstance(block, Command)
        line = block.line.removeprefix("sudo ").replace("/opt/silogan", str(where / "opt" / "silogan"))
        if not line.startswith("useradd"):
            subprocess.run(["bash", "-c", line], cwd=ROOT, check=True, timeout=1800)


def images_of(folder: Path, first: int) -> None:
    """Two images of each patient in folders by class, and the manifest: a hospital's data before anything was done."""
    digits = load_digits()
    rows: list[tuple[str, str]] = []
    for index in range(first, first + 2 * PATIENTS):
        name = f"{'benign' if digits.target[index] < 5 else 'malignant'}/{index:04}.png"
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[index] * 15).astype(np.uint8)).resize((28, 28)).save(path)
        rows.append((name, f"P{(index - first) // 2:04}"))
    for manifest, lines in (("patients.csv", rows), ("incomplete.csv", rows[:-1])):
        with (folder / manifest).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "patient"), *lines])
    data = "source: folder\nroot: images\npatients: incomplete.csv\nclasses: [benign, malignant]\nimage_size: 28\n"
    (folder / "incomplete.yaml").write_text(f"{data}channels: 1\n", encoding="utf-8")


def visits_of(folder: Path) -> None:
    """Two visits of each of these patients, as rows of a table."""
    with (folder / "visits.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("patient_id", "age", "sex", "pressure", "outcome"))
        for row in range(2 * PATIENTS):
            sex, outcome = ("female", "male")[row % 2], ("well", "ill")[row % 3 == 0]
            writer.writerow((f"P{row // 2:04}", 18 + row % 70, sex, 100 + row % 90, outcome))


def send(sender: Machine, name: str, receiver: Machine, to: str) -> None:
    """A letter from one machine to another."""
    [path] = sender.folder.glob(name)
    (receiver.folder / to).parent.mkdir(exist_ok=True)
    shutil.copy(path, receiver.folder / to)


def until_finished(coordinator: Machine) -> None:
    command = ["silogan", "server", "status", "--json"]
    deadline = time.monotonic() + 300
    while True:
        told = subprocess.run(command, cwd=coordinator.folder, env=coordinator.env, capture_output=True, check=True)
        [run] = json.loads(told.stdout)["runs"]
        if run["state"] == "finished":
            return
        assert run["state"] in ("queued", "running"), run
        assert time.monotonic() < deadline, run
        time.sleep(2)


def test_two_hospitals_train_with_nothing_but_the_guides(
    tmp_path: Path, machines: dict[str, Machine], ports: dict[str, str]
) -> None:
    coordinator, bergen, oslo = machines.values()
    ours = sections(ROOT / "docs" / "coordinator.md", ports)
    theirs = {name: sections(ROOT / "docs" / "hospital.md", {**ports, "bergen": name}) for name in ("bergen", "oslo")}
    if BARE:
        assert ours["1. Install"] == theirs["oslo"]["1. Install"]
        install(ours["1. Install"], tmp_path)

    coordinator.follow(ours["2. Create the folder"])
    coordinator.follow(ours["3. Start"])
    for number, (name, guide) in enumerate(theirs.items()):
        hospital = machines[name]
        images_of(hospital.folder, number * 2 * PATIENTS)
        send(coordinator, "server/ca.pem", hospital, "ca.pem")
        hospital.follow(guide["2. Register your data"])
        send(hospital, "node/request.json", coordinator, f"{name}/request.json")
    protect(oslo, theirs["oslo"]["A passphrase"])
    coordinator.follow(ours["4. Enrol each hospital"])

    file, propose, *run = ours["5. Propose a study, and run it"]
    coordinator.follow([file, propose])
    unnamed, incomplete, changed = theirs["bergen"][ERRORS]
    for name, guide in theirs.items():
        hospital = machines[name]
        send(coordinator, "server/runs/*/run.yaml", hospital, "run.yaml")
        if hospital is bergen:
            hospital.follow([unnamed, incomplete])
        hospital.follow(guide["3. Set your policy"])
        hospital.follow(guide["4. Decide about a study"])
        check, start = guide["5. Check, and start"][:2]
        if hospital is bergen:
            reviewed = hospital.folder / "node" / "software.sha256"
            digest = reviewed.read_bytes()
            reviewed.write_bytes(digest[::-1])
            hospital.follow([changed])
            reviewed.write_bytes(digest)
        hospital.follow([check, start])

    *submit, generate = run
    coordinator.follow(submit)
    until_finished(coordinator)
    coordinator.follow([generate])
    for name, guide in theirs.items():
        machines[name].follow(guide["5. Check, and start"][2:])
    coordinator.follow(ours["A table"])
    send(coordinator, "columns.yaml", bergen, "columns.yaml")
    visits_of(bergen.folder)
    bergen.follow(theirs["bergen"]["A table"])
    coordinator.follow(ours[ERRORS] if os.geteuid() == 0 else ours[ERRORS][1:])
    assert len(list((coordinator.folder / "synthetic").rglob("*.png"))) == 20


def protect(machine: Machine, blocks: list[Block]) -> None:
    """Puts the keys under a passphrase, which a credential gives from then on."""
    folder = machine.folder / "credentials"
    folder.mkdir()
    machine.env["CREDENTIALS_DIRECTORY"] = str(folder)
    (folder / "silogan.new-passphrase").write_text("a long passphrase\n", encoding="utf-8")
    machine.follow(blocks)
    (folder / "silogan.new-passphrase").rename(folder / "silogan.passphrase")
