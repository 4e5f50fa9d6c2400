"""What a person types wrong on the first day, and the one line that answers it."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from silogan import cli
from silogan.client.data.mnist import _FILES
from silogan.common.errors import SiloganError
from silogan.common.privacy.plan import SEEDED

ROOT = Path(__file__).resolve().parents[1]
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["silogan", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("simulate", 2, "a scenario is missing: give a file, or a name such as digits (silogan scenarios lists ours)."),
        ("plan", 2, "a scenario is missing: give a file, or a name such as digits (silogan scenarios lists ours)."),
        ("server submit", 2, "Missing argument 'SCENARIO'. See 'silogan server submit --help'."),
        ("simulate digts", 3, "scenario 'digts': is neither a file nor the name of a scenario; did you mean 'digits'?"),
        ("plan digits --set rounds=5", 3, "rounds: unknown key; did you mean 'training.rounds'?"),
        ("plan digits --set epsilon=5", 3, "epsilon: unknown key; did you mean 'privacy.epsilon'?"),
        ("plan digits --set training.round=5", 3, "training.round: unknown key; did you mean 'training.rounds'?"),
        ("plan digits --set zzz=5", 3, "zzz: unknown key; remove it"),
        ("plan digits epsilon=5", 2, "'epsilon=5' stands alone: did you mean --set epsilon=5?"),
        ("plan digits --set data.source=mnst", 3, "data.source: unknown value 'mnst'; did you mean 'mnist'?"),
        ("simulate digits --resume --out nowhere", 2, "--resume: finds no run in 'nowhere'; leave it out"),
        ("node status nowhere", 4, "'nowhere': holds no node; make one with silogan node init, or correct the path"),
        ("audit nowhere", 2, "'nowhere': does not exist; give a ledger file, a node folder or a run folder"),
        ("generate nowhere --count 1 --out x.npz", 4, "generator 'nowhere/generator.safetensors': is missing"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    words: str, code: int, told: str, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, error = typed(*words.split())
    assert (found, out) == (code, "")
    assert error.startswith(f"silogan: {told}")
    assert error.count("\n") == 1
    assert error.count("did you mean") <= 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def mistakes() -> ModuleType:
    """The program that writes the page of mistakes."""
    spec = importlib.util.spec_from_file_location("mistakes", ROOT / "docs" / "mistakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def place(mistakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newcomer's files."""
    folder = tmp_path_factory.mktemp("newcomer")
    mistakes.lay_out(folder)
    return folder


def files_in(place: Path) -> set[Path]:
    """All of them, but for the coordinator's lock and its list of what was done and refused."""
    return set(place.rglob("*")) - {place / "coord" / name for name in (".lock", "actions.jsonl")}


@pytest.mark.usefixtures("threads_kept")
def test_every_mistake_on_the_page_is_answered_as_it_says(
    mistakes: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    page = (ROOT / "docs" / "mistakes.md").read_text(encoding="utf-8").splitlines()
    typed = [words for group in mistakes.MISTAKES.values() for words in group]
    assert len(typed) >= 50
    before = files_in(place)
    documented = {kind.exit_code for kind in SiloganError.__subclasses__()}
    for words in typed:
        found = mistakes.answer(words)
        assert mistakes.row(words, found) in page, f"write the page anew: make docs ({found.told})"
        assert found.code in documented, words
        assert found.told.startswith("silogan: "), words
        assert found.told.count("\n") == 1, words
        assert found.told.lower().count("did you mean") <= 1, words
        assert "; " in found.told or "See 'silogan" in found.told, f"{words}: no hint"
        assert "unexpected " not in found.told.replace("unexpected extra argument", ""), words
        assert files_in(place) == before, f"{words} left something behind"
    rows = [line for line in page if line.startswith("| `")]
    assert len(rows) == len(typed), "write the page anew: make docs"


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (
            "generate run --count 2 --out NEW.npz --seed 1 --json",
            {"file_format": "npz", "count": 2, "noun": "images", "marks": [SEEDED]},
        ),
        ("init images --yes --out NEW.yaml --json", {"hospitals": 4, "natural": False, "columns": None}),
        ("server init --name localhost --folder NEW --json", {"address": "localhost:9443", "ca": "NEW/ca.pem"}),
        (
            "node init NEW --cohort digits --site bergen --data data.yaml --size 300 --record-level --json",
            {"cohort": "digits", "unit": "record", "rehearsal": False, "delta": 1e-5, "servers": []},
        ),
        ("node status ward --json", {}),
        ("data describe columns.yaml --json", {"kind": "table", "classes": ["all"]}),
    ],
)
def test_facts_are_printed_as_json_too(
    words: str, facts: dict[str, object], typed: Typed, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    new = str(tmp_path / "new")
    code, out, error = typed(*words.replace("NEW", new).split())
    assert (code, error) == (0, "")
    found = json.loads(out.replace(new, "NEW"))
    assert found == {**found, **facts}


def test_a_folder_of_runs_is_answered_with_their_names(typed: Typed, tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / f"seed-{seed}").mkdir()
        (tmp_path / f"seed-{seed}" / "run.yaml").touch()
    code, _, error = typed("audit", tmp_path)
    assert code == 2
    assert f"name the runs in it: {tmp_path}/seed-0, {tmp_path}/seed-1" in error


def test_the_folder_of_mnists_own_files_is_answered_with_the_one_that_is_meant(typed: Typed, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in _FILES:
        (raw / name).touch()
    code, _, error = typed("plan", "mnist", "--set", f"data.root={raw}")
    assert code == 4
    assert f"give the folder two above: --set data.root={tmp_path}" in error


def test_version_help_and_names(typed: Typed) -> None:
    code, out, _ = typed("--version")
    assert (code, out.split()[0]) == (0, "silogan")
    assert out.split()[1][0].isdigit()
    for words in (("-h",), ("simulate", "-h"), ("server", "submit", "-h")):
        code, out, _ = typed(*words)
        assert code == 0
        assert "Usage: silogan" in out
    assert "or the name of one of ours" in typed("simulate", "-h")[1].replace("│\n│", "")
    code, out, _ = typed("scenarios", "--json")
    assert code == 0
    assert {"digits", "mnist", "heart-disease"} <= {one["name"] for one in json.loads(out)}
