"""The command line from end to end: what a run leaves behind, what the commands say, and how they refuse."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import typer
import yaml
from PIL import Image
from safetensors import safe_open
from torch import nn

from silogan import cli
from silogan.client.data import read
from silogan.client.ledger.chain import read_entries
from silogan.client.ledger.ledger import spent
from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.modality.image_options import Digits, Folder
from silogan.common.models.networks import FAMILIES
from silogan.common.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from silogan.common.privacy.accounting import Mechanism, epsilon
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.release.generator import load_generator

pytestmark = pytest.mark.usefixtures("threads_kept")

ROOT = Path(__file__).resolve().parents[1]
TINY: dict[str, Any] = {
    "name": "tiny",
    "title": "Two tiny hospitals",
    "seed": 7,
    "data": {"source": "digits"},
    "sites": {"count": 2},
    "model": {"family": "dcgan", "latent_dim": 8, "width": 8},
    "training": {"rounds": 2, "local_steps": 4, "sample_rate": 0.05, "d_steps_per_g_step": 2, "device": "cpu"},
    "privacy": {"epsilon": 50, "delta": 1e-4, "noise_multiplier": 1.0},
    "evaluation": {"samples": 60, "epochs": 1},
}
UNMEASURED = ("--set", "evaluation.enabled=false")
NON_PRIVATE = ("--set", "privacy.enabled=false")
PATIENT = "jane-doe-1950"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def silogan(*words: object) -> Done:
    """Runs the command line in this process: importing everything anew takes seconds."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["silogan", *map(str, words)])
        patch.setenv("SILOGAN_DEBUG", "")
        with pytest.raises(SystemExit) as end:
            cli.main()
    return Done(int(end.value.code or 0), out.getvalue(), err.getvalue())


def silogan_process(*words: object) -> Done:
    """Runs the command line in a process of its own."""
    command = [sys.executable, "-m", "silogan", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def assert_refused(done: Done, code: int, *words: str) -> None:
    """The exit code, one line on stderr that holds all the words, and nothing on stdout."""
    assert done.code == code, done.err
    assert done.err.startswith("silogan: ")
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")
    assert done.out == ""
    assert [word for word in words if word not in done.err] == [], done.err


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenario") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run in a process of its own, and how that ended."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, silogan_process("simulate", scenario, "--out", folder, "--json")


@pytest.fixture(scope="module")
def run(finished: tuple[Path, Done]) -> Path:
    folder, done = finished
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as a file in MedMNIST's layout."""
    data = read(Digits())
    path = tmp_path_factory.mktemp("real") / "real.npz"
    arrays: dict[str, Any] = {}
    for part, images in (("train", data.train), ("test", data.test)):
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = images.stored[PIXELS][:, 0].numpy(), images.labels.numpy()
    np.savez(path, **arrays)
    return path


def report_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "report.json").read_bytes())


# What a run leaves behind


def test_a_run_folder_holds_what_the_design_promises(run: Path) -> None:
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    promised = {"run.yaml", "events.jsonl", "generator.safetensors", "report.html", "report.json"}
    promised |= {"checkpoints/round-000002.safetensors", "samples/final.png"}
    promised |= {"ledgers/site-1.sqlite", "ledgers/site-2.sqlite"}
    assert promised <= files
    assert [name for name in files if name.endswith(".tmp")] == []


def test_run_yaml_holds_the_resolved_configuration_and_versions(run: Path) -> None:
    content = yaml.safe_load((run / "run.yaml").read_text(encoding="utf-8"))
    assert content["scenario"]["training"]["rounds"] == 2
    assert content["scenario"]["training"]["loss"] == "nonsaturating", "a default is resolved"
    assert {"silogan", "torch", "flwr", "opacus", "python"} <= set(content["versions"])


def test_events_have_one_line_a_round(run: Path) -> None:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["round"] for event in events] == [1, 2]
    assert all(event["sites_replied"] == 2 and event["sites_refused"] == [] for event in events)


def test_report_has_the_names_that_scripts_rely_on(run: Path) -> None:
    report = report_of(run)
    spent = epsilon([Mechanism(1.0, 0.05, 8)], 1e-4)
    expected = {"epsilon": spent, "delta": 1e-4, "steps": 8}
    (training,) = report["phases"]
    assert (training["name"], training["noise_multiplier"], training["sample_rate"]) == ("training", 1.0, 0.05)
    assert [site["name"] for site in report["sites"]] == ["site-1", "site-2"]
    for site in report["sites"]:
        assert {name: site[name] for name in expected} == expected
        assert site["unit"] == "record"
    assert 0 <= report["utility"]["accuracy_synthetic"] <= 1
    assert 0.3 < report["utility"]["accuracy_real"] <= 1, "real digits are learnt in one epoch"
    assert (report["private"], report["seeded"], report["rounds"]) == (True, True, 2)
    seconds = report["seconds"]
    assert 0 < seconds["training"] + seconds["evaluation"] < seconds["total"]
    assert 50 * 2**20 < report["peak_memory_bytes"] < 64 * 2**30


def test_ledgers_agree_with_the_report(run: Path) -> None:
    for site in report_of(run)["sites"]:
        mechanisms = spent(read_entries(run / "ledgers" / f"{site['name']}.sqlite"))
        assert (sum(m.steps for m in mechanisms), epsilon(mechanisms, 1e-4)) == (site["steps"], site["epsilon"])


def test_json_is_alone_on_stdout_and_a_pipe_gets_no_progress_bar(finished: tuple[Path, Done]) -> None:
    folder, done = finished
    assert json.loads(done.out) == report_of(folder)
    assert done.err == ""


def test_a_finished_run_is_reported_again_by_resume(scenario: Path, run: Path) -> None:
    before = (run / "report.json").read_bytes()
    done = silogan("simulate", scenario, "--out", run, "--resume")
    assert (done.code, done.err) == (0, "")
    for word in ("Two tiny hospitals (record-level)", "site-2", "trained on synthetic", "seeded: not private"):
        assert word in done.out
    assert str(run / "report.html") in done.out
    assert (run / "report.json").read_bytes() == before


def test_overwrite_starts_again_and_spares_what_is_not_of_the_run(scenario: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert silogan("simulate", scenario, "--out", folder, *UNMEASURED).code == 0
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    first = report_of(folder)
    done = silogan("simulate", scenario, "--out", folder, *UNMEASURED, "--set", "training.rounds=1", "--overwrite")
    assert (done.code, done.err) == (0, "")
    assert (first["rounds"], report_of(folder)["rounds"]) == (2, 1)
    assert report_of(folder)["sites"][0]["steps"] == 4, "the ledger began anew"
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_seeds_make_a_run_each_and_a_title_is_not_markup(scenario: Path, tmp_path: Path) -> None:
    words = ("simulate", scenario, "--out", tmp_path, *UNMEASURED, "--set", "title='[/oops] [red]'", "--seeds", "0,1")
    done = silogan(*words, "--view")
    assert done.code == 0
    assert re.match(r"see http://127\.0\.0\.1:\d+/[\w-]{32}/\n", done.err)
    assert done.out.count("[/oops] [red]") == 2
    assert "2 seeds: unmeasured" in done.out
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert [one["folder"] for one in summary["runs"]] == ["seed-0", "seed-1"]
    assert 'href="seed-1/report.html"' in (tmp_path / "summary.html").read_text(encoding="utf-8")
    first, second = (load_generator(tmp_path / f"seed-{seed}" / "generator.safetensors") for seed in (0, 1))
    assert not torch.equal(next(first.network.parameters()), next(second.network.parameters()))
    as_json = silogan(*words, "--resume", "--json")
    assert [report["configuration"]["seed"] for report in json.loads(as_json.out)] == [0, 1]


# Generating and evaluating


def test_generate_writes_marked_images_by_class(run: Path, tmp_path: Path) -> None:
    done = silogan("generate", run, "--count", 7, "--out", tmp_path / "out", "--labels", "3, 7", "--anyway")
    assert (done.code, done.err) == (0, "")
    assert "7 synthetic images" in done.out
    assert "seeded" in done.out
    images = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert images == [*(f"3/{number:06d}.png" for number in range(4)), *(f"7/{number:06d}.png" for number in range(3))]
    for name in images:
        with Image.open(tmp_path / "out" / name) as image:
            assert (image.size, image.mode) == ((8, 8), "L")
            assert image.info["SiloGAN"].startswith("synthetic; seeded")


def test_generate_draws_the_same_npz_with_the_same_seed_only(run: Path, tmp_path: Path) -> None:
    drawn: list[Any] = []
    for name, seed in (("a", ("--seed", 1)), ("b", ("--seed", 1)), ("c", ("--seed", 2)), ("d", ())):
        path = tmp_path / f"{name}.npz"
        assert silogan("generate", run, "--count", 20, "--out", path, "--format", "npz", "--anyway", *seed).code == 0
        with np.load(path) as archive:
            assert archive["train_labels"].ravel().tolist() == [*range(10), *range(10)]
            drawn.append(archive["train_images"])
    assert (drawn[0].shape, drawn[0].dtype) == ((20, 8, 8), np.uint8)
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[2], drawn[3])


def test_evaluate_repeats_the_figures_of_the_report(run: Path) -> None:
    done = silogan("evaluate", run, "--json")
    assert (done.code, done.err) == (0, "")
    figures, report = json.loads(done.out), report_of(run)
    for name in ("accuracy_synthetic", "accuracy_real"):
        assert figures["utility"][name] == pytest.approx(report["utility"][name], abs=0.02)
    assert figures["fidelity"]["samples"] == 60


def test_evaluate_measures_what_generate_wrote(run: Path, real: Path, tmp_path: Path) -> None:
    file, folder = tmp_path / "images.npz", tmp_path / "images"
    assert silogan("generate", run, "--count", 70, "--out", file, "--format", "npz", "--anyway").code == 0
    assert silogan("generate", run, "--count", 200, "--out", folder, "--anyway").code == 0
    by_file = silogan("evaluate", file, "--real", real)
    assert (by_file.code, by_file.err) == (0, "")
    assert re.search(r"trained on synthetic 0\.\d{3}, trained on real 0\.\d{3}", by_file.out)
    assert "coverage" in by_file.out
    by_folder = silogan("evaluate", folder, "--real", folder, "--json")
    assert (by_folder.code, by_folder.err) == (0, "")
    assert json.loads(by_folder.out)["fidelity"]["coverage"] > 0.5, "the images are compared with some of themselves"


# Audit


def test_audit_of_a_run_finds_that_everything_holds(run: Path) -> None:
    done = silogan("audit", run, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert (found["ok"], found["findings"]) == (True, [])
    for cohort, site in zip(found["cohorts"], report_of(run)["sites"], strict=True):
        assert (cohort["name"], cohort["epsilon_prv"]) == (site["name"], site["epsilon"])
        assert cohort["epsilon_prv"] == pytest.approx(cohort["epsilon_pld"], rel=0.01, abs=0.02)
        assert cohort["epsilon_rdp"] > max(cohort["epsilon_prv"], cohort["epsilon_pld"])
    shown = silogan("audit", run)
    assert shown.code == 0
    assert "All checks passed" in shown.out


def test_audit_names_what_was_changed_and_ends_with_its_own_code(run: Path, tmp_path: Path) -> None:
    site = report_of(run)["sites"][0]["name"]
    copy = tmp_path / "copy.sqlite"
    shutil.copy(run / "ledgers" / f"{site}.sqlite", copy)
    db = sqlite3.connect(copy)
    db.execute("DROP TRIGGER entries_are_final")
    db.execute("""UPDATE entries SET body = replace(body, '"steps":', '"steps":1') WHERE seq = 3""")
    db.commit()
    db.close()
    done = silogan("audit", copy)
    assert done.code == 6
    assert done.err.startswith("silogan: audit: 1 problem found in ")
    assert "copy: entry 3 was changed after it was written" in done.out
    found = json.loads(silogan("audit", copy, "--json").out)
    assert not found["ok"]
    assert found["findings"] == [{"cohort": "copy", "entry": 3, "problem": "was changed after it was written"}]


def test_audit_writes_a_page_also_of_what_does_not_hold(run: Path, tmp_path: Path) -> None:
    page, torn = tmp_path / "audit.html", tmp_path / "torn.sqlite"
    assert silogan("audit", run, "--html", page).code == 0
    assert "All checks passed" in page.read_text(encoding="utf-8")
    torn.write_bytes(b"date,patient\n" * 999)
    assert silogan("audit", run, torn, "--html", page).code == 6
    assert "1 problem found" in page.read_text(encoding="utf-8")


def test_audit_refuses_to_write_over_a_ledger(run: Path) -> None:
    ledger = next((run / "ledgers").glob("*.sqlite"))
    before = ledger.read_bytes()
    assert_refused(silogan("audit", run, "--html", ledger), 2, ledger.name, "exists and is not an audit page")
    assert ledger.read_bytes() == before


# Help and errors


def commands() -> list[str]:
    """Every command, those of a group after its name."""
    found = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    below = [f"{name} {inner}" for name, command in found.items() for inner in getattr(command, "commands", ())]
    return sorted([*found, *below])


@pytest.mark.parametrize("command", commands())
def test_help_has_an_example_and_the_exit_codes(command: str) -> None:
    done = silogan(*command.split(), "--help")
    text = " ".join(done.out.split())
    assert (done.code, done.err) == (0, "")
    assert f"Example: silogan {command} " in text
    for meaning in ("0 done", "2 wrong usage", "3 bad configuration", "4 bad data", "5 refused for privacy"):
        assert meaning in text
    for meaning in ("6 verification failed", "7 the federation failed"):
        assert meaning in text


def test_the_design_s_commands_are_there() -> None:
    assert {"simulate", "generate", "evaluate", "audit"} <= set(commands())
    assert {f"node {name}" for name in ("init", "plan", "approve", "reject", "status")} <= set(commands())


def test_without_arguments_the_help_is_shown() -> None:
    done = silogan()
    assert done.code == 2
    assert "Usage: silogan" in done.out
    assert done.err == ""


def test_a_traceback_is_shown_with_debug_alone() -> None:
    plain, debug = (silogan_process(*words, "simulate", "missing.yaml") for words in ((), ("--debug",)))
    assert_refused(plain, 3, "missing.yaml")
    assert debug.code == 3
    assert debug.err.startswith("Traceback (most recent call last)")
    assert debug.err.endswith(plain.err)


def test_an_unforeseen_error_says_its_type_and_not_its_text(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(PATIENT)

    monkeypatch.setattr("silogan.simulations.simulate.simulate", broken)
    done = silogan("simulate", scenario, "--out", tmp_path)
    assert_refused(done, 1, "unexpected RuntimeError", "--debug")
    assert PATIENT not in done.err


@pytest.mark.parametrize("begun", [True, False])
def test_ctrl_c_is_one_line_and_130(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    folder = tmp_path / "a run"

    def interrupted(*_: object, **__: object) -> None:
        if begun:
            folder.mkdir()
            (folder / "run.yaml").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("silogan.simulations.simulate.simulate", interrupted)
    command = ("simulate", scenario, "--out", folder, "--set", "seed=3")
    goes_on = f"go on with: silogan simulate {scenario} --out '{folder}' --set seed=3 --resume\n"
    done = silogan(*command, "--overwrite")
    assert_refused(done, 130, "interrupted")
    assert done.err.endswith(goes_on) is begun


BAD_SETTINGS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "unknown key": (("training.round=5",), 3, ("training.round", "unknown key", "'training.rounds'")),
    "unknown section": (("trainin.rounds=5",), 3, ("trainin", "unknown key", "'training'")),
    "wrong type": (("training.rounds=many",), 3, ("training.rounds", "'many'", "integer")),
    "no value": (("training.rounds",), 3, ("--set training.rounds", "not key=value")),
    "epsilon of nothing": (("privacy.epsilon=0",), 3, ("privacy.epsilon", "greater than 0", "not 0")),
    "rate above one": (("training.sample_rate=1.5",), 3, ("training.sample_rate", "less than or equal to 1", "1.5")),
    "not a number": (("privacy.epsilon=.nan",), 3, ("privacy.epsilon", "nan")),
    "more sites than images": (("sites.count=5000",), 3, ("sites.count", "5000", "fewer sites")),
    "quorum out of reach": (("federation.quorum=3",), 3, ("federation.quorum=3", "sites.count=2")),
    "unknown family": (("model.family=dcgun",), 3, ("model.family", "'dcgun'", "'dcgan'")),
    "unknown loss": (("training.loss=wasserstien",), 3, ("training.loss", "'wasserstien'", "did you mean")),
    "unknown source": (("data.source=digit",), 3, ("data.source", "'digit'", "'digits'")),
    "unknown partition": (("sites.partition=idd",), 3, ("sites.partition", "'idd'", "'iid'")),
    "unknown device": (("training.device=tpu",), 3, ("training.device", "tpu")),
    "size without networks": (("data.image_size=20",), 3, ("data.image_size", "20", "use one of")),
    "natural sites of nothing": (("sites.partition=natural",), 3, ("sites.partition", "site column")),
    "no data folder": (("data.source=folder", "data.classes=[a, b]"), 3, ("data.root", "missing", "set it to")),
    "budget below one round": (("privacy.epsilon=0.01",), 5, ("privacy.epsilon", "0.01", "one round", "raise")),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_are_refused_in_one_line(case: str, scenario: Path, tmp_path: Path) -> None:
    settings, code, words = BAD_SETTINGS[case]
    done = silogan("simulate", scenario, "--out", tmp_path / "run", *(w for s in settings for w in ("--set", s)))
    assert_refused(done, code, *words)
    assert not (tmp_path / "run" / "run.yaml").exists(), "nothing was begun"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("simulate", "<scenario>", "--engine", "rya"), 2, ("--engine", "'rya'", "'inprocess', 'ray'", "--help")),
        (("simulate", "<scenario>", "--workers", "0"), 2, ("--workers", "0")),
        (("simulate", "<scenario>", "--seeds", "1,x"), 2, ("--seeds 1,x", "whole numbers", "--seeds 0,1,2")),
        (("simulate", "<scenario>", "--seeds", "1,-1"), 3, ("seed", "-1", "greater than or equal to 0")),
        (("simulate",), 2, ("a scenario is missing", "silogan simulate --help")),
        (("simulat", "<scenario>"), 2, ("simulat", "--help")),
        (("generate", "<run>", "--count", "0", "--out", "x"), 2, ("--count", "0")),
        (("generate", "<run>", "--count", "1", "--out", "<run>"), 2, ("<run>", "exists already", "new place")),
        (
            ("generate", "<run>", "--count", "1", "--out", "<new>", "--labels", "10"),
            2,
            ("--labels", "'10'", "did you mean"),
        ),
        (("generate", "<new>", "--count", "1", "--out", "<new>"), 4, ("generator.safetensors", "finished run")),
        (("evaluate", "<new>"), 2, ("<new>", "does not exist", "run folder")),
        (("audit", "<new>"), 2, ("<new>", "does not exist", "a ledger file")),
        (("audit",), 2, ("audit", "needs something to audit", "--empirical SCENARIO")),
        (("evaluate", "<scenario>"), 2, ("--real", "is missing")),
        (("evaluate", "<scenario>", "--real", "<run>", "--set", "seed=1"), 2, ("--set", "changes a scenario")),
        (("evaluate", "<scenario>", "--real", "<scenario>"), 4, ("<scenario>", "silogan generate")),
    ],
)
def test_wrong_usage_is_refused_in_one_line(
    words: tuple[str, ...], code: int, says: tuple[str, ...], scenario: Path, run: Path, tmp_path: Path
) -> None:
    names = {"<scenario>": str(scenario), "<run>": str(run), "<new>": str(tmp_path / "new")}
    done = silogan(*(names.get(word, word) for word in words))
    assert_refused(done, code, *(names.get(word, word) for word in says))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("neither a file nor the name of a scenario", "silogan scenarios")),
        (b"name: [tiny", ("not valid YAML", "line 2")),
        (b"\xff\xfe", ("not UTF-8",)),
        (b"- tiny", ("not a set of keys",)),
    ],
)
def test_an_unusable_scenario_file_is_refused(content: bytes | None, words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_bytes(content)
    assert_refused(silogan("simulate", path, "--out", tmp_path / "run"), 3, "study.yaml", *words)


def test_a_missing_or_corrupt_data_file_is_refused(scenario: Path, real: Path, tmp_path: Path) -> None:
    path = tmp_path / "scans.npz"
    words = ("simulate", scenario, "--out", tmp_path / "run", "--set", "data.source=medmnist")
    words += ("--set", "data.classes=[a, b]", "--set", f"data.root={path}")
    assert_refused(silogan(*words), 4, "scans.npz", "correct data.root")
    whole = real.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:1000] + bytes(1000) + whole[2000:]):
        path.write_bytes(content)
        assert_refused(silogan(*words), 4, "scans.npz")


def write_images(root: Path, counts: dict[str, int]) -> None:
    """A folder of noise as 8x8 PNG by class; the file names are those of patients."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{PATIENT}-{name}-{number}.png")


def test_a_png_that_is_none_is_refused_by_its_class_not_its_name(scenario: Path, tmp_path: Path) -> None:
    root = tmp_path / "ward"
    write_images(root, {"benign": 20, "malignant": 20})
    (root / "benign" / f"{PATIENT}-0.png").write_bytes(b"GIF89a")
    words = ("simulate", scenario, "--out", tmp_path / "run", "--set", "data.source=folder")
    done = silogan(*words, "--set", "data.classes=[benign, malignant]", "--set", f"data.root={root}")
    assert_refused(done, 4, "class 'benign'", "corrupt", "replace or remove")
    assert PATIENT not in done.err


class MixingDiscriminator(DCGANDiscriminator):
    """Has a layer that looks at several patients at once."""

    def __init__(self, width: int, schema: Any) -> None:
        super().__init__(width, schema)
        self.norm = nn.BatchNorm1d(1)


def test_a_discriminator_that_cannot_be_private_is_refused_by_its_layer(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def family(model: Any, schema: Any) -> tuple[Any, Any]:
        return DCGANGenerator(model.latent_dim, model.width, schema), MixingDiscriminator(model.width, schema)

    monkeypatch.setitem(FAMILIES, "dcgan", family)
    words = ("simulate", scenario, "--out", tmp_path / "run")
    assert_refused(silogan(*words), 3, "discriminator.norm", "BatchNorm1d", "mixes patients", "GroupNorm")
    assert not (tmp_path / "run" / "run.yaml").exists()


# Run folders


def test_a_run_folder_that_cannot_be_written_is_refused(scenario: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = silogan("simulate", scenario, "--out", tmp_path / "file" / "run")
    assert_refused(done, 3, "file/run", "cannot be written (Not a directory)", "--out")


def test_a_run_folder_that_holds_a_run_is_refused(scenario: Path, run: Path) -> None:
    done = silogan("simulate", scenario, "--out", run)
    assert_refused(done, 3, str(run), "already holds a run", "--resume", "--overwrite")


def test_resuming_another_configuration_is_refused_by_its_key(scenario: Path, run: Path) -> None:
    done = silogan("simulate", scenario, "--out", run, "--resume", "--set", "training.lr_generator=0.5")
    assert_refused(done, 3, str(run), "training.lr_generator=0.001", "not 0.5", "same configuration")


def test_a_run_folder_in_use_is_refused_until_it_is_free(scenario: Path, run: Path) -> None:
    hold = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); input()"
    command = [sys.executable, "-c", hold, str(run / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        done = silogan("simulate", scenario, "--out", run, "--resume")
        other.kill()
    assert_refused(done, 2, str(run), "in use by another process", "wait")
    assert silogan("simulate", scenario, "--out", run, "--resume").code == 0


# Privacy


def test_a_run_without_privacy_says_so_everywhere_and_generates_nothing(scenario: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = silogan("simulate", scenario, "--out", folder, *UNMEASURED, *NON_PRIVATE)
    assert (done.code, done.err) == (0, "")
    assert "NON-PRIVATE" in done.out
    report = report_of(folder)
    assert report["private"] is False
    assert [site["epsilon"] for site in report["sites"]] == [None, None]
    assert re.search(r'class="banner bad"[^>]*><p><strong>NON-PRIVATE', (folder / "report.html").read_text("utf-8"))
    samples = list((folder / "samples").glob("*.png"))
    assert len(samples) == 3
    for path in samples:
        with Image.open(path) as image:
            assert "NON-PRIVATE" in image.info["SiloGAN"]
    with safe_open(folder / "generator.safetensors", framework="pt") as file:
        assert "NON-PRIVATE" in json.loads(file.metadata()["silogan"])["marks"]
    refused = silogan("generate", folder, "--count", 1, "--out", tmp_path / "out")
    assert_refused(refused, 5, "generator.safetensors", "NON-PRIVATE", "privacy.enabled=true")
    assert not (tmp_path / "out").exists()


def test_a_budget_that_is_used_up_ends_the_run_with_what_it_paid_for(scenario: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    budget = epsilon([Mechanism(1.0, 0.05, 8)], 1e-4) + 0.01  # of two rounds
    words = ("simulate", scenario, "--out", folder, *UNMEASURED, "--set", "training.rounds=5")
    words += ("--set", f"privacy.epsilon={budget}")
    done = silogan(*words)
    assert_refused(done, 5, "round 3", "privacy budget", "rounds before it are kept")
    told = [json.loads(line)["message"] for line in (folder / "sites.log").read_text(encoding="utf-8").splitlines()]
    assert len(told) == 2
    assert all("refuses (budget): privacy budget" in line and f"above {budget:g}" in line for line in told)
    report = report_of(folder)
    assert (report["rounds"], report["rounds_planned"]) == (2, 5)
    assert "privacy budget" in report["stopped"]
    assert "Stopped after 2 of 5 rounds" in (folder / "report.html").read_text(encoding="utf-8")
    assert all(site["steps"] == 8 and site["epsilon"] <= budget for site in report["sites"])
    assert silogan("generate", folder, "--count", 10, "--out", tmp_path / "out").code == 0
    assert_refused(silogan(*words, "--resume"), 5, "stopped after 2 of 5 rounds", "privacy budget", "report.html")


def test_nothing_tells_a_patient_s_file_or_a_count(scenario: Path, tmp_path: Path) -> None:
    root, folder = tmp_path / "ward-of-the-hospital", tmp_path / "run"
    write_images(root, {"benign": 733, "malignant": 611})
    words = ("simulate", scenario, "--out", folder, "--set", "data.source=folder", "--set", f"data.root={root}")
    done = silogan(*words, "--set", "data.classes=[benign, malignant]")
    assert (done.code, done.err) == (0, "")

    data = read(Folder(root=root, classes=("benign", "malignant")))
    with np.load(folder / "partition.npz") as parts:
        counts = {len(parts[site]) for site in parts.files}
    for images in (data.train, data.test):
        counts |= {len(images), *images.labels.bincount().tolist()}
    assert all(count > 100 and count % 10 for count in counts), "no rounded figure equals one by chance"

    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("events.jsonl", "report.json", "run.yaml")}
    texts["report.html"] = re.sub(r"data:image/png;base64,[^\"]*", "", (folder / "report.html").read_text("utf-8"))
    for name, text in {**texts, "stdout": done.out}.items():
        assert PATIENT not in text, name
        assert f"{root}/" not in text, name
        for count in counts:
            assert not re.search(rf"(?<![\w.-]){count}(?![\w.])", text), f"{name} tells {count}"
    for path in folder.rglob("*"):
        assert not path.is_file() or PATIENT.encode() not in path.read_bytes(), path.name


# --- a hospital ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """A node with scikit-learn's digits."""
    data = tmp_path / "data.yaml"
    data.write_text("source: digits\n", encoding="utf-8")
    words = ("--cohort", "digits", "--site", "bergen", "--data", data, "--size", 1000, "--record-level")
    done = silogan("node", "init", tmp_path / "node", *words, "--epsilon", 8, "--delta", 1e-4)
    assert done.code == 0, done.err
    assert "it allows no server yet" in done.out
    return tmp_path / "node"


@pytest.fixture
def proposal(hospital: Path) -> Path:
    """A study that this hospital is asked to take part in."""
    scenario = parse_scenario({**TINY, "seed": None, "privacy": {"epsilon": 8, "delta": 1e-4, "noise_multiplier": 2.0}})
    schema = ImageSchema(8, 1, tuple("0123456789"))
    study = Study(scenario, schema, make_plan(scenario), (SiteDeclaration("bergen", 1000),))
    study.save(hospital.parent)
    return hospital.parent / "run.yaml"


def test_hospital_plans_approves_looks_and_rejects(hospital: Path, proposal: Path) -> None:
    asked = (hospital, proposal, "--server", "coordinator")
    before = silogan("node", "plan", *asked)
    assert before.code == 5
    assert "server 'coordinator' is not allowed" in before.err
    assert_refused(silogan("node", "approve", *asked), 5, "'coordinator' is not allowed")
    policy = hospital / "policy.yaml"
    policy.write_text(policy.read_text("utf-8").replace("servers: []", "servers: [coordinator]"), "utf-8")
    plan = silogan("node", "plan", *asked, "--json")
    assert plan.code == 0, plan.err
    cost = json.loads(plan.out)
    assert cost["objections"] == []
    assert 0 == cost["epsilon_now"] < cost["epsilon_after_round"] <= cost["epsilon_after"]
    assert "allowed by the policy" in silogan("node", "plan", *asked).out
    assert silogan("node", "approve", *asked).out == f"approved {cost['study_id']}\n"
    status = json.loads(silogan("node", "status", hospital, "--json").out)
    assert (status["digits"]["epsilon_charged"], status["digits"]["epsilon_left"]) == (0.0, 8.0)
    assert "8 of 8 left" in silogan("node", "status", hospital).out
    assert silogan("node", "reject", hospital, proposal, "--reason", "too soon").code == 0
    audited = json.loads(silogan("audit", hospital, "--json").out)
    assert audited["ok"]
    assert [cohort["name"] for cohort in audited["cohorts"]] == ["digits"]


def test_hospital_without_a_policy_refuses(hospital: Path, proposal: Path) -> None:
    (hospital / "policy.yaml").unlink()
    assert_refused(silogan("node", "approve", hospital, proposal, "--server", "coordinator"), 5, "policy")


def test_data_that_does_not_know_its_patients_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.yaml"
    data.write_text("source: digits\n", encoding="utf-8")
    words = ("--cohort", "digits", "--site", "bergen", "--data", data, "--size", 1000)
    assert_refused(
        silogan("node", "init", tmp_path / "node", *words), 5, "does not say which patient each record belongs to"
    )
    data.write_text("sauce: digits\n", encoding="utf-8")
    assert_refused(silogan("node", "init", tmp_path / "node", *words), 3, "sauce", "source")
