"""The report's part about tables: complete, marked as outside of the guarantee, and whole where figures are missing."""

import copy
import re
from typing import Any

import pytest
import torch

from silogan.common.config.scenario import Evaluation
from silogan.server.evaluation.table_evaluation import evaluate
from silogan.server.report.report import render_html
from silogan.server.report.table_pictures import heat_map, marginal
from tests.pages import Page
from tests.server.evaluation.tables import age_alone, coded, coded_comparison, comparison, rows
from tests.server.report.test_report import EVENTS, PNG, REPORT

COUNT = 300


def measured(**changes: Any) -> dict[str, Any]:
    return evaluate(comparison(*rows(COUNT, 3), count=COUNT, risks=True)._replace(**changes))


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return measured(baselines={"age alone": age_alone})


def html(found: dict[str, Any]) -> str:
    report = {**copy.deepcopy(REPORT), "utility_reason": None, "records": {"noun": "table rows", "described": "rows"}}
    return render_html({**report, **found}, EVENTS, PNG)


def test_all_parts_are_shown(figures: dict[str, Any]) -> None:
    page = Page(html(figures))
    for words in (
        *("AUROC on real test records", "Synthetic rows against real ones"),
        *("Synthetic rows", "All real rows", "bergen alone", "oslo alone", "lund alone", "Age alone", "sex: F"),
        *("None of 300 synthetic rows breaks the schema.", "Single columns", "Pairs of sensitive values"),
        *("Singling out, one column", "Linking two halves of the columns", "Inferring sex"),
    ):
        assert words in page.text, words
    assert page.tags["svg"] == 4 + 5 + 2  # curves of the run; a marginal each; pairs and ROC
    assert f"{figures['utility']['auroc_synthetic']:.3f}" in page.text


def test_it_says_what_it_is_not(figures: dict[str, Any]) -> None:
    text = Page(html(figures)).text
    assert "on real data: not covered All of this section counts real rows without noise" in text
    assert "its tables and its histograms alike. It is outside the guarantee" in text
    assert "These are attacks that were tried, not a guarantee: another attack may find more." in text
    assert "Fidelity" not in text


def test_pages_of_other_records_have_none_of_it(figures: dict[str, Any]) -> None:
    images = render_html(REPORT, EVENTS, PNG)
    assert "Synthetic rows against real ones" not in images
    assert "swatch" not in images
    assert "swatch" in html(figures)


def test_nothing_is_fetched_and_pictures_have_words(figures: dict[str, Any]) -> None:
    source = html(figures)
    assert not Page(source).tags.keys() & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert not re.search(r"https?://|@import|url\(", source)
    assert source.count("<svg") == source.count('role="img" aria-label="')
    assert source.count("<table") == source.count("<caption>")
    assert not re.search(r'(points|x|y|width|height)="[^"]*(nan|inf)', source)


@pytest.mark.parametrize(
    "changes",
    [
        {"synthetic": None, "labels": None},
        {"labels": None},
        {"test": comparison(None, None, count=COUNT).test._replace(labels=torch.zeros(COUNT, dtype=torch.int64))},
        {"settings": Evaluation(real_ceiling=False)},
    ],
    ids=["no rows", "no labels", "one class", "no real ceiling"],
)
def test_a_page_is_whole_where_figures_are_missing(changes: dict[str, Any]) -> None:
    found = measured(**changes)
    text = Page(html(found)).text
    assert "Synthetic rows against real ones" in text
    if found["utility"]["auroc_synthetic"] is None:
        assert f"not measured {found['utility_reason']}" in text


def test_names_from_a_schema_stay_text(figures: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>"
    found = copy.deepcopy(figures)
    found["table"]["pairs"]["columns"][0] = evil
    found["table"]["marginals"][0]["name"] = found["table"]["marginals"][1]["groups"][0] = evil
    found["table"]["scores"][2]["learnt_from"] = f"hospital {evil}"
    page = Page(html(found))
    assert page.tags["script"] == 0
    assert evil in page.text


@pytest.mark.parametrize("groups", [1, 2, 10, 11, 17, 64])
@pytest.mark.parametrize("last", ["g", "missing"])
@pytest.mark.parametrize("ordered", [True, False])
def test_bars_lie_inside_of_the_picture(groups: int, last: str, ordered: bool) -> None:
    even = [1 / groups] * groups
    about = {"name": "age", "ordered": ordered, "ends": ["18", "99"], "distance": 0.1, "floor": 0.05}
    picture = marginal({"groups": ["g"] * (groups - 1) + [last], "real": even, "synthetic": even, **about})
    assert all(bar.x >= 0 and bar.x + bar.width <= picture.width for bar in picture.bars)
    assert all(bar.y >= 0 and bar.y + bar.height <= picture.height for bar in picture.bars)
    assert all(0 <= x <= picture.width for line in picture.lines for x, _ in line.corners)


def test_the_darkest_pair_is_the_furthest() -> None:
    picture = heat_map({"columns": ["a", "b"], "matrix": [[0.1, 0.4], [0.4, 0.0]]}, floor=0.05)
    assert [round(bar.strength, 2) for bar in picture.bars] == [0.25, 1.0, 1.0, 0.02]
    assert picture.bars[1].title == "a, b: 0.4"


def test_codes_are_shown_where_there_are_code_sets(figures: dict[str, Any]) -> None:
    text = Page(html(evaluate(coded_comparison(*coded(500, 3), real_ceiling=False)))).text
    assert "Codes of 500 synthetic and as many real training rows against 4,000 real test rows" in text
    for words in (
        "Codes in a row",
        "largest difference",
        "correlation of the logarithms of 28 lifts; at best 1",
        "dx a",
    ):
        assert words in text, words
    assert "Codes in a row" not in Page(html(figures)).text
