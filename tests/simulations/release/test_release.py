"""`silogan release` from end to end, on a real run: who may leave, who may not, and what a recipient finds.

refused                                            test
-------------------------------------------------- ------------------------------------------------------------------
a ledger that was tampered with                    test_a_tampered_ledger_is_refused
a budget that was passed                           test_a_budget_that_was_passed_is_refused
a run that is NON-PRIVATE                          test_a_run_without_privacy_is_refused
a run that has failed                              test_a_failed_run_is_refused
a generator that draws its 50 training images      test_a_generator_of_copies_is_refused_for_its_figures_alone
"""

import json
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
import yaml

from silogan import cli
from silogan.client.data import read
from silogan.client.ledger.chain import Chain, read_entries
from silogan.client.ledger.keys import SiteKey
from silogan.common.config.scenario import Evaluation, parse_scenario
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Digits
from silogan.common.wire.study import Study
from silogan.server.evaluation import Comparison, Labelled
from silogan.server.evaluation.memorisation import memorisation
from silogan.simulations.simulate import simulate

pytestmark = pytest.mark.slow

SHEET = {name: f"about {name}" for name in ("purpose", "collection", "approvals", "intended_use", "licence", "contact")}
SCENARIO: dict[str, Any] = {
    "name": "small",
    "seed": 0,
    "data": {"source": "digits"},
    "sites": {"count": 2},
    "model": {"family": "gaussians", "frequencies": 6, "cells": 1, "draws": True},
    "training": {"rounds": 0, "device": "cpu"},
    "privacy": {"epsilon": 18, "delta": 1e-4},
    "evaluation": {"samples": 2000, "epochs": 3},
}
TINY = SCENARIO | {
    "model": {"family": "dcgan", "latent_dim": 4, "width": 4},
    "training": {"rounds": 1, "local_steps": 1, "sample_rate": 0.05, "device": "cpu"},
    "evaluation": {"samples": 100, "epochs": 1},
}


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    error: str


def silogan(*words: object) -> Done:
    out, error = StringIO(), StringIO()
    typed = patch("sys.argv", ["silogan", *map(str, words)])
    with redirect_stdout(out), redirect_stderr(error), typed, pytest.raises(SystemExit) as end:
        cli.main()
    return Done(int(end.value.code or 0), out.getvalue(), error.getvalue())


def reasons(run_dir: Path, *options: object) -> dict[str, list[str]]:
    """The unmet requirements with their reasons, by `silogan release check`."""
    done = silogan("release", "check", run_dir, "--json", *options)
    assert done.error.count("\n") == (1 if done.code else 0)
    found = {one["name"]: one["reasons"] for one in json.loads(done.out)["requirements"] if not one["met"]}
    assert (done.code == 0) == (not found)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run whose images are usable, with its data sheet."""
    before, run_dir = torch.get_num_threads(), tmp_path_factory.mktemp("release") / "run"
    report = simulate(parse_scenario(SCENARIO), run_dir)
    assert report["verdict"]["word"] == "usable", report["verdict"]
    (run_dir / "release.yaml").write_text(yaml.safe_dump(SHEET), encoding="utf-8")
    yield run_dir
    torch.set_num_threads(before)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_clean_run_is_released_and_verified(run: Path, tmp_path: Path) -> None:
    assert reasons(run) == {}
    told = silogan("release", "check", run)
    assert told.out.count("ok ") == 7
    assert "may be released" in told.out
    out = tmp_path / "small.zip"
    assert silogan("release", "export", run, "--out", out).code == 0
    verified = silogan("release", "verify", out, "--key", run / "release.pub")
    assert verified.code == 0
    assert "valid: 8 files" in verified.out
    assert "mark: SIMULATION" in verified.out
    assert "mark: seeded" in verified.out
    assert re.search(r"ε at most 17\.\d+ for any one record of a hospital, δ = 0.0001; 2 hospitals", verified.out)
    assert "overrides: none" in verified.out
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == [
            *("manifest.json", "manifest.sig", "datasheet.md", "model_card.md", "generator.safetensors"),
            *("samples.png", "report.json", "report.html", "audit.json", "audit.html"),
        ]
        assert archive.read("generator.safetensors") == (run / "generator.safetensors").read_bytes()
        assert "about approvals" in archive.read("datasheet.md").decode()
        assert json.loads(archive.read("audit.json"))["ok"] is True


def test_nothing_of_the_run_folder_gets_in_by_its_place_alone(run: Path, tmp_path: Path) -> None:
    """The sheet is drawn again: whatever lies in its place, as a patient's image, stays."""
    (run / "samples" / "final.png").write_bytes(b"a patient's image")
    (run / "report.html").write_bytes(b"a patient's image")
    assert silogan("release", "export", run, "--out", tmp_path / "r.zip").code == 0
    assert b"patient's image" not in (tmp_path / "r.zip").read_bytes()
    assert (run / "release.key").stat().st_mode & 0o077 == 0
    private = (run / "release.key").read_bytes().splitlines()[1]
    assert private not in (tmp_path / "r.zip").read_bytes()


def test_a_changed_byte_and_another_key_are_found(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.zip"
    assert silogan("release", "export", run, "--out", out).code == 0
    content = bytearray(out.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "changed.zip").write_bytes(content)
    changed = silogan("release", "verify", tmp_path / "changed.zip", "--key", run / "release.pub")
    assert (changed.code, changed.out, changed.error.count("\n")) == (6, "", 1)
    (tmp_path / "other").mkdir()
    (run / "release.key").unlink()
    assert silogan("release", "export", run, "--out", tmp_path / "other.zip").code == 0
    other = silogan("release", "verify", out, "--key", run / "release.pub")
    assert other.code == 6
    assert "is not signed by this key" in other.error
    swapped = silogan("release", "verify", out, "--key", run / "release.key")
    assert swapped.code == 3
    assert "is a private key" in swapped.error


def test_a_tampered_ledger_is_refused(run: Path, tmp_path: Path) -> None:
    path = run / "ledgers" / "site-2.sqlite"
    with closing(sqlite3.connect(path)) as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("UPDATE entries SET body = replace(body, '\"steps\":1', '\"steps\":0') WHERE seq > 2")
        db.commit()
    found = reasons(run)
    assert list(found) == ["ledgers"]
    assert found["ledgers"][0].startswith("site-2: entry 3 ")
    done = silogan("release", "export", run, "--out", tmp_path / "r.zip")
    assert (done.code, (tmp_path / "r.zip").exists()) == (6, False)


def test_a_budget_that_was_passed_is_refused(run: Path) -> None:
    """The same releases again, signed by the site itself."""
    path, key = run / "ledgers" / "site-1.sqlite", SiteKey.load(run / "ledgers" / "site-1.key")
    charges = [entry.content for entry in read_entries(path) if entry.content["kind"] == "reserve"]
    with Chain(path, key).transaction() as ledger:
        for charge in charges:
            ledger.append(charge | {"created": read_entries(path)[-1].content["created"], "replay_key": ""})
    found = reasons(run)
    assert "budget" in found
    assert found["budget"][0].startswith("site-1: ε = ")
    assert "above the budget of 18" in " ".join(found["ledgers"])
    assert silogan("release", "check", run).code == 5


def test_a_run_without_privacy_is_refused(tmp_path: Path) -> None:
    run_dir = tmp_path / "open"
    simulate(parse_scenario(TINY | {"privacy": {"enabled": False}}), run_dir)
    (run_dir / "release.yaml").write_text(yaml.safe_dump(SHEET), encoding="utf-8")
    found = reasons(run_dir, "--accept-verdict", "Dr Berg: for a test")
    assert found["privacy"] == ["the run is NON-PRIVATE: nothing limits what its generator reveals"]
    assert silogan("release", "export", run_dir, "--out", tmp_path / "r.zip").code == 5
    assert not (tmp_path / "r.zip").exists()


def test_a_failed_run_is_refused_unless_somebody_answers_for_it(tmp_path: Path) -> None:
    run_dir = tmp_path / "failed"
    simulate(parse_scenario(TINY), run_dir)
    (run_dir / "release.yaml").write_text(yaml.safe_dump(SHEET), encoding="utf-8")
    found = reasons(run_dir)
    assert list(found) == ["verdict"]
    assert found["verdict"][0].startswith("failed: ")
    out = tmp_path / "r.zip"
    assert silogan("release", "export", run_dir, "--out", out).code == 6
    nobody = silogan("release", "export", run_dir, "--out", out, "--accept-verdict", "fine")
    assert (nobody.code, out.exists()) == (2, False)
    assert silogan("release", "export", run_dir, "--out", out, "--accept-verdict", "Dr Berg: to teach").code == 0
    told = silogan("release", "verify", out, "--key", run_dir / "release.pub").out
    assert "verdict: failed: " in told
    assert "overrides: verdict accepted by Dr Berg: to teach" in told


def test_a_generator_of_copies_is_refused_for_its_figures_alone(run: Path) -> None:
    """Measured on 50 training images that are drawn again and again; all else of the run is as it was."""
    data = read(Digits())
    few = torch.arange(50)
    copies = data.train.stored[PIXELS][few][torch.arange(1000) % 50]
    train = Labelled({PIXELS: data.train.stored[PIXELS][few]}, data.train.labels[few])
    held_out = Labelled(data.test.stored, data.test.labels)
    asked = Comparison({PIXELS: copies}, None, train, held_out, data.schema, Evaluation(), 0, torch.device("cpu"))
    report = json.loads((run / "report.json").read_bytes())
    report["memorisation"] = memorisation(asked, {})
    (run / "report.json").write_text(json.dumps(report), encoding="utf-8")
    found = reasons(run, "--accept-verdict", "Dr Berg: an override of the verdict does not help")
    assert list(found) == ["memorisation"]
    assert found["memorisation"][0].startswith("100% of synthetic images are nearest to a training image by pixels")
    assert silogan("release", "check", run).code == 5


def broken(run: Path, how: str) -> None:
    report = run / "report.json"
    if how == "no generator":
        (run / "generator.safetensors").unlink()
    elif how == "another generator":
        content = (run / "generator.safetensors").read_bytes()
        own = Study.load(run).study_id.encode()
        (run / "generator.safetensors").write_bytes(content.replace(own, b"f" * 64))
    elif how == "no report":
        report.unlink()
    elif how == "torn report":
        report.write_bytes(report.read_bytes()[:200])
    elif how == "another form":
        report.write_text('{"private": true, "memorisation": [7]}')
    elif how == "another report":
        report.write_bytes(report.read_bytes().replace(b'"epochs": 3', b'"epochs": 4'))


@pytest.mark.parametrize(
    "how", ["no generator", "another generator", "no report", "torn report", "another form", "another report"]
)
def test_artefacts_that_are_missing_or_of_another_study_are_refused(run: Path, how: str) -> None:
    broken(run, how)
    assert "artefacts" in reasons(run)


def test_the_data_sheet_is_asked_for_and_begun(run: Path, tmp_path: Path) -> None:
    (run / "release.yaml").unlink()
    assert "data sheet" in reasons(run)
    assert silogan("release", "init", run).code == 0
    assert "says nothing of purpose, collection" in reasons(run)["data sheet"][0]
    again = silogan("release", "init", run)
    assert (again.code, again.error.count("\n")) == (2, 1)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(SHEET), encoding="utf-8")
    assert reasons(run, "--datasheet", tmp_path / "mine.yaml") == {}


def test_a_key_of_one_s_own_signs(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    assert silogan("server", "init", "--name", "localhost", "--folder", folder).code == 0
    key, out = folder / "release.key", tmp_path / "r.zip"
    assert silogan("release", "export", run, "--out", out, "--key", key).code == 0
    assert silogan("release", "verify", out, "--key", folder / "release.pub").code == 0
    key.chmod(0o644)
    assert silogan("release", "export", run, "--out", tmp_path / "s.zip", "--key", key).code == 6
    assert silogan("release", "export", run, "--out", tmp_path / "s.zip", "--key", tmp_path / "none").code == 3


def given(run: Path, name: str, **changes: Any) -> None:
    """What a hospital hands over: the audit of its ledger, as the command prints it."""
    found = json.loads(silogan("audit", run / "ledgers" / f"{name}.sqlite", "--json").out) | changes
    (run / "audits").mkdir(exist_ok=True)
    (run / "audits" / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")


def as_of_real_hospitals(run: Path, server: Path) -> Path:
    """The same run as it lies at a coordinator, who has no report; the hospitals' files stay theirs."""
    folder = server / "runs" / "small"
    folder.parent.mkdir(parents=True)
    shutil.copytree(run, folder)
    for name in ("site-1", "site-2"):
        given(folder, name)
    shutil.rmtree(folder / "ledgers")
    for name in ("report.json", "report.html"):
        (folder / name).unlink()
    (folder / "submission.json").write_text('{"state": "finished"}')
    return folder


def test_a_run_of_real_hospitals_needs_their_audits_and_a_name(run: Path, tmp_path: Path) -> None:
    server, out = tmp_path / "server", tmp_path / "r.zip"
    folder = as_of_real_hospitals(run, server)
    accept = ("--accept-verdict", "Dr Berg: two radiologists looked at 200 images")
    assert list(reasons(folder)) == ["verdict"]
    assert reasons(folder, *accept) == {}
    keyless = silogan("release", "export", folder, "--out", out, *accept)
    assert keyless.code == 3
    assert "silogan server init" in keyless.error
    assert silogan("server", "init", "--name", "localhost", "--folder", server).code == 0
    assert silogan("release", "export", folder, "--out", out, *accept).code == 0
    told = silogan("release", "verify", out, "--key", server / "release.pub").out
    assert "SIMULATION" not in told
    assert "mark: each hospital audited its own ledger, and what it found is not signed" in told
    assert "memorisation: not measured: real hospitals' records cannot be compared with" in told
    with zipfile.ZipFile(out) as archive:
        assert "report.json" not in archive.namelist()
        assert "runs" not in json.loads(archive.read("audit.json"))["cohorts"][0]


def test_an_audit_that_a_hospital_did_not_pass_or_give_is_refused(run: Path, tmp_path: Path) -> None:
    folder = as_of_real_hospitals(run, tmp_path / "server")
    path = folder / "audits" / "site-1.json"
    whole = json.loads(path.read_bytes())
    of_another = [cohort | {"runs": []} for cohort in whole["cohorts"]]
    finding = {"cohort": "digits", "entry": 3, "problem": "is not signed by the site's key"}
    for content, reason in (
        (json.dumps(whole | {"ok": False, "findings": [finding]}), "entry 3 is not signed"),
        (json.dumps(whole | {"ok": False}), "did not pass its audit"),
        (json.dumps(whole | {"cohorts": of_another}), "has no audit of this study"),
        (json.dumps(whole)[:-1], "audits/site-1.json is missing or not what"),
        ("[" * 100_000, "audits/site-1.json is missing or not what"),
    ):
        path.write_text(content, encoding="utf-8")
        assert reason in reasons(folder)["ledgers"][0]
    path.unlink()
    assert "is missing" in reasons(folder)["ledgers"][0]


@pytest.mark.parametrize(
    "words", [("check",), ("init",), ("export", "--out", "r.zip")], ids=["check", "init", "export"]
)
def test_a_folder_without_a_run_is_wrong_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = silogan("release", words[0], tmp_path, *words[1:])
    assert (done.code, done.error.count("\n")) == (2, 1)
