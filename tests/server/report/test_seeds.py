"""Several seeds: mean and interval are Student's, the verdict is the worst, and the page links to each run."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from silogan.common.privacy.plan import SEEDED
from silogan.common.wire.run_folder import REPORT_PAGE, SUMMARY_FILE, SUMMARY_PAGE, sample_sheet
from silogan.server.report.seeds import Figure, Summary, write_summary
from silogan.server.report.verdict import Verdict, Word
from tests.pages import Page
from tests.server.report.test_report import PNG, REPORT

Values = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=2, max_size=9)


def report(seed: int, accuracy: float, word: str = "usable", **changes: Any) -> dict[str, Any]:
    one = copy.deepcopy(REPORT) | {"verdict": {"word": word, "reasons": ["why"]}} | changes
    one["configuration"]["seed"] = seed
    one["utility"] |= {"accuracy_synthetic": accuracy, "per_class_recall_synthetic": [0.9, None, accuracy - 0.1]}
    return one


def written(folder: Path, reports: list[dict[str, Any]]) -> tuple[Page, dict[str, Any]]:
    runs = [folder / f"seed-{one['configuration']['seed']}" for one in reports]
    for run in runs:
        sample_sheet(run).parent.mkdir(parents=True)
        sample_sheet(run).write_bytes(PNG)
    write_summary(folder, reports, runs)
    found = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    return Page((folder / SUMMARY_PAGE).read_text(encoding="utf-8")), found


@given(Values)
def test_the_interval_is_that_of_student(values: list[float]) -> None:
    found = Figure.of("accuracy", "Accuracy", values, ())
    assert (found.low, found.high) != (None, None)
    scale = stats.sem(values)
    expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scale) if scale else (found.mean,) * 2
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_one_seed_has_no_interval() -> None:
    found = Figure.of("accuracy", "Accuracy", [0.9], [0.95])
    assert (found.deviation, found.low, found.high) == (None, None, None)
    assert str(found) == "Accuracy 0.900, real 0.950"


@pytest.mark.parametrize(
    ("words", "worst"),
    [(["usable"] * 3, "usable"), (["usable", "failed", "weak"], "failed"), (["usable", "unmeasured"], "unmeasured")],
)
def test_the_verdict_is_the_worst_of_the_seeds(words: list[str], worst: str) -> None:
    reports = [report(seed, 0.8, word) for seed, word in enumerate(words)]
    verdict = Summary.of(reports, range(len(words)), words).verdict
    assert verdict.word == worst
    assert verdict.reasons[0].startswith(f"the worst of {len(words)} seeds (")


def test_the_page_has_every_figure_a_sheet_and_a_link_for_each_seed(tmp_path: Path) -> None:
    page, found = written(tmp_path, [report(0, 0.91), report(1, 0.93), report(2, 0.92)])
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href") and value != "#content"]
    assert links == [f"seed-{seed}/{REPORT_PAGE}" for seed in (0, 1, 2)]
    assert page.tags["img"] == 3
    figures = {one["key"]: one for one in found["figures"]}
    assert figures["accuracy"]["values"] == [0.91, 0.93, 0.92]
    assert figures["accuracy"]["real"] == pytest.approx(0.9722)
    assert figures["least_recall"]["values"] == pytest.approx([0.81, 0.83, 0.82])
    assert figures["coverage"]["real"] is None
    assert "Accuracy 0.920 0.895 to 0.945 0.0100 0.910, 0.930, 0.920 0.972" in page.text
    assert "Not for diagnosis" in page.text
    assert Verdict.of_json(found["verdict"]).word is Word.usable


def test_a_figure_that_some_seeds_lack_is_of_the_others(tmp_path: Path) -> None:
    unmeasured = {"utility": {"accuracy_synthetic": None, "accuracy_real": None}, "fidelity": None}
    without = copy.deepcopy(REPORT) | unmeasured | {"verdict": {"word": "unmeasured", "reasons": []}}
    without["configuration"]["seed"] = 5
    _, found = written(tmp_path, [report(0, 0.9), without])
    assert found["figures"][0]["values"] == [0.9]
    assert found["verdict"]["word"] == "unmeasured"


def test_names_stay_text_and_links_stay_in_the_folder(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    page, _ = written(tmp_path, [report(0, 0.9, title=evil, name=evil)])
    assert page.tags["script"] == 0
    assert evil in page.text


def test_seeded_runs_are_marked_as_their_reports_are(tmp_path: Path) -> None:
    page, _ = written(tmp_path, [report(0, 0.9, seeded=True), report(1, 0.9, seeded=False)])
    assert page.text.count(SEEDED.capitalize()) == 3


def test_without_privacy_the_page_says_so(tmp_path: Path) -> None:
    site = REPORT["sites"][0] | {"epsilon": None}
    page, _ = written(tmp_path, [report(0, 0.9, "failed", private=False, sites=[site])])
    assert "NON-PRIVATE" in page.text
