"""Writes `docs/mistakes.md`: what people type wrong on the first day, and the one line that answers it.

make docs
"""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from PIL import Image

from silogan import cli
from silogan.simulations.fuzz.medical import write_dicom

PAGE = Path(__file__).parent / "mistakes.md"
OPENING = """# Mistakes

What people type wrong on the first day, and the one line that answers it, with the exit code. A line names the thing,
what is wrong with it, and what to do; `silogan --debug` adds a traceback. `docs/mistakes.py` runs these commands and
generates this page.

`images` holds class folders, and so do `scans` (DICOM), `wide` (not square) and `deep` (16 bits). `wards.csv` is a
table and `columns.yaml` its description. `run` and `rows` are finished runs of images and rows, `half` is one that was
stopped before its end, `ward` is a hospital's node and `coord` a coordinator's folder. A mistake changes none of them,
and leaves no file behind.
"""

_SCENARIOS = {
    "mine.yaml": "name: mine\ndata: {source: folder, root: images, classes: [benign, malignant]}\n"
    "sites: {count: 2}\nmodel: {family: gaussians}\ntraining: {rounds: 0}\n",
    "table.yaml": "name: table\ndata: {source: table, root: wards.csv, columns: columns.yaml}\n"
    "sites: {count: 1}\nmodel: {family: mixture}\ntraining: {rounds: 0}\n",
    "tabs.yaml": "name: mine\ndata:\n\tsource: digits\n",
    "twice.yaml": "name: mine\nname: yours\n",
    "colon.yaml": "name: my: study\n",
    "list.yaml": "- name: mine\n",
    "empty.yaml": "",
    "nameless.yaml": "data: {source: digits}\n",
    "columns.yaml": "columns:\n  age: {type: integer, min: 0, max: 120}\n  sex: {type: binary, values: [f, m]}\n",
    "typo.yaml": "columns:\n  age: {type: intger, min: 0, max: 120}\n",
    "open.yaml": "columns:\n  age: {type: integer, min: 0}\n",
    "data.yaml": "source: digits\n",
    "wards.csv": "age,sex\n30,f\n31,m\n",
    "semicolons.csv": "age;sex\n30;f\n",
    "ragged.csv": "age,sex\n30,f,1\n",
    "headless.csv": "",
    "text.txt": "hello\n",
}

MISTAKES: dict[str, tuple[str, ...]] = {
    "silogan": (
        "simulat digits",
        "help",
        "--versoin",
        "node stats",
        "data describ columns.yaml",
    ),
    "silogan init": (
        "init",
        "init nowhere --yes",
        "init images",
        "init text.txt --yes",
        "init empty --yes",
        "init loose --yes",
        "init broken --yes",
        "init wards.csv --yes --label sx",
        "init images --yes --label sex",
        "init images --yes --classes benign,malign",
        "init images --yes --sites 0",
        "init images --yes --epsilon nan",
        "init images --yes --image-size 1000",
        "init images --yes --out mine.yaml",
        "init images --yes --out mine",
        "init images --yes --window 40,400",
        "init scans --yes",
        "init scans --yes --window 40",
        "init scans --yes --window 40,400 --slices axial",
    ),
    "silogan simulate and silogan plan": (
        "simulate",
        "simulate digts",
        "simulate digits.yaml",
        "simulate nowhere.yaml",
        "simulate images",
        "simulate digits mnist",
        "simulate digits rounds=5",
        "simulate digits --rounds 5",
        "simulate digits --seed 5",
        "simulate digits --sead 5",
        "simulate digits --out",
        "simulate digits --set rounds=5",
        "simulate digits --set training.round=5",
        "simulate digits --set training.rounds",
        "simulate digits --set training.rounds=five",
        "simulate digits --set training.rounds=5",
        "simulate digits --set zzz=5",
        "simulate digits --set sites=10",
        "simulate digits --set sites.count=0",
        "simulate digits --set sites.count=2000",
        "simulate digits --set sites.partition=natrual",
        "simulate digits --set sites.partition=natural",
        "simulate digits --set privacy.epsilon=nan",
        "simulate digits --set privacy.epsilon=-3",
        "simulate digits --set privacy.delta=1",
        "simulate digits --set privacy.unit=person",
        "simulate digits --set privacy.records_per_patient=5",
        "simulate digits --set model.family=gan",
        "simulate digits --set model.family=mixture",
        "simulate digits --set federation.quorum=9",
        "simulate digits --set data.source=mnst",
        "simulate digits --set data.image_size=28x28",
        "simulate digits --seeds a,b",
        "simulate digits --workers 0",
        "simulate digits --engine flower",
        "simulate digits --resume --out nowhere",
        "simulate digits --out run",
        "simulate digits --out text.txt",
        "simulate tabs.yaml",
        "simulate twice.yaml",
        "simulate colon.yaml",
        "simulate list.yaml",
        "simulate empty.yaml",
        "simulate nameless.yaml",
        "simulate mine.yaml --set data.root=nowhere",
        "simulate mine.yaml --set data.root=empty",
        "simulate mine.yaml --set data.root=loose",
        "simulate mine.yaml --set data.root=broken",
        "simulate mine.yaml --set data.root=sizes",
        "simulate mine.yaml --set data.root=odd",
        "simulate mine.yaml --set data.root=wide",
        "simulate mine.yaml --set data.root=wide --set data.fit=stretch",
        "simulate mine.yaml --set data.root=wide --set data.fit=squash",
        "simulate mine.yaml --set data.root=deep",
        "simulate mine.yaml --set data.root=scans",
        "simulate mine.yaml --set data.root=scans --set data.window.centre=40",
        "simulate mine.yaml --set data.root=scans --set data.window.centre=40 --set data.window.width=0",
        "simulate mine.yaml --set data.root=scans --set data.patients=dicom",
        "simulate mine.yaml --set data.patients=dicom",
        "simulate mine.yaml --set data.slices=axial",
        "simulate mine.yaml --set data.slices.axis=saggital",
        "simulate mine.yaml --set data.slices.axis=axial --set data.patients=dicom",
        "simulate mine.yaml --set data.classes=[benign,malign]",
        "simulate mine.yaml --set data.patients=wards.csv",
        "simulate mine.yaml --set model.family=mixture",
        "simulate chest-xray --set data.root=. --set data.dataset=pneumonia",
        "simulate chest-xray --set data.root=pneumoniamnist.npz",
        "simulate table.yaml --set data.root=nowhere.csv",
        "simulate table.yaml --set data.root=semicolons.csv",
        "simulate table.yaml --set data.root=ragged.csv",
        "simulate table.yaml --set data.root=headless.csv",
        "simulate table.yaml --set data.columns=nowhere.yaml",
        "simulate table.yaml --set data.columns=typo.yaml",
        "simulate table.yaml --set model.family=gaussians",
        "plan",
        "plan mnist --set data.root=MNIST/raw",
        "plan digits --records 0",
        "plan digits --records many",
        "scenarios digits",
    ),
    "silogan generate and silogan graph": (
        "generate run --out new",
        "generate run --count 10",
        "generate run --count 0 --out new",
        "generate nowhere --count 10 --out new",
        "generate half --count 10 --out new",
        "generate torn --count 10 --out new",
        "generate run --count 10 --out images",
        "generate run --count 10 --out new.csv",
        "generate run --count 10 --out new.jpg",
        "generate run --count 10 --out new --format jpg",
        "generate run --count 10 --out new --labels 3,11",
        "generate run --count 10 --out new --splits 80,10,10",
        "generate run --count 10 --out new.npz --splits 80,10",
        "generate run --count 10 --out new.npz --licence ''",
        "generate run --count 10 --out new --where 'age > 60'",
        "generate rows --count 10 --out new.xlsx",
        "generate rows --count 10 --out new.csv --labels benin",
        "generate rows --count 10 --out new.csv --where \"'mean radus' > 15\"",
        "generate rows --count 10 --out new.csv --where \"'mean radius' > big\"",
        "generate rows --count 10 --out new.csv --where \"'mean radius' > 1000\"",
        "graph rows --out new.graphml",
        "graph run --out new.txt",
    ),
    "silogan evaluate": (
        "evaluate nowhere",
        "evaluate images",
        "evaluate images --real nowhere",
        "evaluate images --real text.txt",
        "evaluate empty --real images",
        "evaluate half",
        "evaluate wards.csv",
        "evaluate wards.csv --real wards.csv",
        "evaluate wards.csv --real mine.yaml",
        "evaluate images --real images --set sites.count=1",
    ),
    "silogan audit": (
        "audit",
        "audit nowhere",
        "audit images",
        "audit runs",
        "audit text.txt",
        "audit --empirical dgits",
        "audit --set privacy.epsilon=3",
        "audit run --html images",
    ),
    "silogan data describe": (
        "data describe nowhere.yaml",
        "data describe wards.csv",
        "data describe columns.yaml --draft",
        "data describe wards.csv --draft --json",
        "data describe semicolons.csv --draft",
        "data describe typo.yaml",
        "data describe open.yaml",
    ),
    "silogan node": (
        "node status nowhere",
        "node check nowhere",
        "node protect nowhere",
        "node start images",
        "node init new",
        "node init new --cohort xrays --site bergen --data mine.yaml --size 300",
        "node init new --cohort xrays --site bergen --data images --size 300",
        "node init new --cohort xrays --site bergen --data data.yaml --size 0",
        "node init new --cohort xrays --site bergen --data data.yaml --size 300 --record-level --epsilon nan",
        "node plan ward run/run.yaml",
        "node plan ward nowhere.yaml --server fl.example.org",
        "node plan ward mine.yaml --server fl.example.org",
        "node plan ward run/run.yaml --server fl.example.org --cohort xrays",
        "node relocate ward --root nowhere",
        "node reject ward run/run.yaml",
    ),
    "silogan server": (
        "server status",
        "server start --folder images",
        "server init",
        "server init --name 'fl example' --folder new",
        "server init --name localhost --port 0",
        "server init --name localhost --certificate chain.pem",
        "server enrol bergen --folder coord",
        "server enrol bergen nowhere.pub --size 300 --folder coord",
        "server enrol bergen text.txt --size 300 --folder coord",
        "server submit --folder coord",
        "server submit digits --folder coord",
        "server submit mine.yaml --folder coord",
        "server submit mine.yaml --folder coord --sites bergen",
        "server stop run --folder coord",
        "server stop --folder coord",
        "server backup text.txt --folder coord",
        "server restore nowhere.tar.gz --folder new",
        "server restore text.txt --folder new",
        "server repair",
    ),
}
"""By command, what is typed after `silogan`."""


class Answer(NamedTuple):
    """How a command ended: its exit code, and all lines of its error."""

    code: int
    told: str


def lay_out(folder: Path) -> None:
    """Writes a newcomer's files into a folder."""
    with chdir(folder):
        for name, text in _SCENARIOS.items():
            Path(name).write_text(text, encoding="utf-8")
        for place in ("images/benign", "images/malignant", "broken/benign", "odd/benign", "loose", "sizes/benign"):
            _draw(Path(place), 16)
        Path("sizes/benign/9.png").write_bytes(_draw(Path("large"), 20).read_bytes())
        Path("broken/benign/0.png").write_bytes(b"\x89PNG\r\n")
        Path("odd/benign/notes.txt").touch()
        for name, shape, kind in (("wide", (16, 20), np.uint8), ("deep", (16, 16), np.uint16)):
            Path(name, "benign").mkdir(parents=True)
            Image.fromarray(np.zeros(shape, kind)).save(Path(name, "benign/0.png"))
        Path("scans/benign").mkdir(parents=True)
        write_dicom(Path("scans/benign/0.dcm"), np.zeros((16, 16), np.uint16), patient=None)
        Path("pneumoniamnist.npz").write_bytes(b"PK")
        for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
            Path("MNIST/raw").mkdir(parents=True, exist_ok=True)
            Path(f"MNIST/raw/{name}-ubyte").touch()
        Path("empty").mkdir()
        unmeasured = "--set evaluation.enabled=false --set sites.count=1"
        short = "rounds=1 local_steps=1 warm_start=null server_generator_steps=0"
        keys = " ".join(f"--set training.{key}" for key in short.split())
        _done(f"simulate digits-basic {unmeasured} {keys} --out run")
        _done(f"simulate breast-cancer {unmeasured} --set model.components=4 --set model.steps=1 --out rows")
        for name in ("half", "torn", "runs/seed-0"):
            Path(name).mkdir(parents=True)
            shutil.copy("run/run.yaml", name)
        Path("torn/generator.safetensors").write_bytes(Path("run/generator.safetensors").read_bytes()[:99])
        _done("node init ward --cohort digits --site bergen --data data.yaml --size 300 --record-level")
        _done("server init --name localhost --folder coord")


def answer(typed: str) -> Answer:
    """Runs a command in this process, in the current folder, which its answer does not name."""
    error, code = StringIO(), None
    with (
        patch.object(sys, "argv", ["silogan", *shlex.split(typed)]),
        patch.object(sys, "stdin", StringIO()),  # no terminal, on which some commands ask
        patch.dict(os.environ, SILOGAN_DEBUG=""),
        redirect_stdout(StringIO()),
        redirect_stderr(error),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    return Answer(code if isinstance(code, int) else 0, error.getvalue().replace(f"{Path.cwd()}", "…"))


def page() -> str:
    """The whole page."""
    with TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        lay_out(place)
        with chdir(place):
            return OPENING + "\n".join(_tables()) + "\n"


def _tables() -> Iterator[str]:
    for command, mistakes in MISTAKES.items():
        yield f"\n## {command}\n"
        yield "| typed after `silogan` | printed after `silogan:` | exit code |\n|---|---|---|"
        for typed in mistakes:
            yield row(typed, answer(typed))


def row(typed: str, found: Answer) -> str:
    """A row of the page."""
    cells = (f"`{typed}`", found.told.removeprefix("silogan: ").strip(), str(found.code))
    escaped = (cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _done(typed: str) -> None:
    found = answer(typed)
    if found.code:
        raise RuntimeError(found.told)


def _draw(folder: Path, size: int) -> Path:
    """Writes three grey images into a new folder, and returns the last."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).save(path)
    return path


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
