"""What a person types wrong on the first day, and the one line that answers it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from silogan import cli
from silogan.client.data.mnist import _FILES

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
