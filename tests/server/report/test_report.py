"""The report page: complete, escaped, self-contained, and no more reassuring than the facts."""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silogan.common.privacy.plan import SEEDED
from silogan.server.release.contact_sheet import class_grid, png_bytes
from silogan.server.report.report import render_html, write_html
from silogan.server.report.settings import flatten
from tests.browser import cut_off
from tests.pages import Page

SVG_LEAVES = {"line", "polyline", "polygon", "circle"}
PNG = png_bytes(class_grid(np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 1]), ("a", "b"), rows=1))

SITE: dict[str, Any] = {
    "name": "north", "epsilon": 9.4, "epsilon_budget": 10.0, "delta": 1e-4, "steps": 1000,
    "unit": "patient", "declared_size": 359,
}  # fmt: skip
PHASE: dict[str, Any] = {
    "name": "training", "kind": "training", "share": 1.0, "noise_multiplier": 1.083, "sample_rate": 0.178,
    "clip_norm": 1.0, "steps_per_round": 25, "rounds": 2, "spare_rounds": 0, "records_per_patient": 3,
}  # fmt: skip
REPORT: dict[str, Any] = {
    "name": "digits", "title": "Digits at two hospitals", "private": True, "seeded": False, "unit": "patient",
    "phases": [PHASE],
    "engine": "inprocess", "created": "2026-03-03T14:02:11+00:00", "rounds": 2, "rounds_planned": 2, "stopped": None,
    "expected": None,
    "sites": [SITE, SITE | {"name": "south", "epsilon": 9.98121}],
    "utility": {"accuracy_synthetic": 0.8213, "accuracy_real": 0.9722}, "utility_reason": None,
    "fidelity": {
        "precision": 0.71, "recall": 0.42, "density": 0.61, "coverage": 0.53, "frechet_distance": 12.3,
        "features": "pixels", "samples": 5000,
    },
    "fidelity_reason": None,
    "seconds": {"total": 151.2, "training": 120.1, "evaluation": 28.0}, "peak_memory_bytes": 2**30,
    "classes": ["a", "b"],
    "records": {"noun": "images", "described": "images of 8x8 pixels, grey"},
    "model": {"family": "dcgan", "parameters_generator": 1234, "parameters_discriminator": 987},
    "configuration": {"name": "digits", "seed": None, "training": {"rounds": 2, "betas": [0.5, 0.999]}},
    "versions": {"silogan": "0.1.0", "torch": "2.15.0"}, "hardware": "2 cores",
}  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"event": "start"},
    *(
        {
            "event": "round", "round": i, "seconds": 11.5, "sites_replied": 2, "sites_refused": [],
            "epsilon": {"max": 4.0 * i, "min": 3.5 * i}, "fake_accuracy": 0.8,
            "update_norm": 3.2, "variety": None,
        }
        for i in (1, 2)
    ),
]  # fmt: skip


def page(events: list[dict[str, Any]] | None = None, png: bytes | None = PNG, **changes: Any) -> Page:
    report = copy.deepcopy(REPORT) | changes
    return Page(render_html(report, EVENTS if events is None else events, png))


def non_private() -> dict[str, Any]:
    return {"private": False, "sites": [SITE | {"epsilon": None}]}


def test_the_sections_come_in_the_order_of_a_reader() -> None:
    html = render_html(REPORT, EVENTS, PNG)
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "What the generator draws",
        "What it may be used for",
        "Key figures",
        "Purpose and approvals",
        "Privacy at each hospital",
        "Round by round",
        "What is private and what is not",
        "How to repeat this run",
    ]


def test_the_guarantee_names_unit_neighbours_and_both_parameters_rounded_up() -> None:
    text = page().text
    assert (
        "One generator of synthetic images of 8x8 pixels, grey, trained by 2 simulated hospitals in 2 rounds." in text
    )
    assert "At each hospital by itself, adding or removing any one patient's records makes no result more than" in text
    assert "ε = 9.982, δ = 10⁻⁴" in text
    assert "9.981" not in text


def test_a_run_without_rounds_says_what_it_was_fitted_to() -> None:
    text = page(rounds=0, rounds_planned=0).text
    assert re.search(r"One generator .*, grey, fitted to \d releases? from 2 simulated hospitals\.", text)


def test_a_record_level_run_says_so() -> None:
    text = page(sites=[SITE | {"unit": "record"}]).text
    assert "any one record makes" in text
    assert "Record level" in text


def test_different_deltas_or_units_are_not_merged() -> None:
    text = page(sites=[SITE, SITE | {"unit": "record", "delta": 1e-5, "epsilon": 2.0}]).text
    assert "ε = 9.4 with δ = 10⁻⁴ for any one patient or ε = 2 with δ = 10⁻⁵ for any one record" in text
    assert "not comparable" in text
    assert "2 to 9.4" not in text


def test_a_delta_for_each_of_many_hospitals_is_not_summed_up() -> None:
    found = page(sites=[SITE | {"name": f"s{i}", "delta": 1e-4 / (i + 1)} for i in range(30)])
    assert "the guarantees differ and are listed below" in found.text
    assert found.text.count("Privacy loss ε differs") == 1


def test_a_hostile_site_name_or_title_stays_text() -> None:
    evil = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>"
    refused = [{"site": evil, "why": evil}]
    events = [EVENTS[1] | {"sites_refused": refused}]
    found = page(
        events,
        title=evil,
        name=evil,
        sites=[SITE | {"name": evil}],
        classes=[evil],
        stopped=evil,
        hardware=evil,
        configuration={evil: evil},
        versions={evil: evil},
        utility={},
        utility_reason=evil,
        fidelity=None,
        fidelity_reason=evil,
    )
    assert found.tags["script"] == 0
    assert found.tags["img"] == 1
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert found.text.count("alert('1')") >= 10


@pytest.mark.parametrize("changes", [{}, {"private": False, "seeded": True}])
def test_nothing_is_fetched_and_nothing_runs(changes: dict[str, Any]) -> None:
    found = page(**changes)
    assert not found.tags.keys() & {"script", "link", "iframe", "object", "embed", "base", "form"}
    sources = [value for _, name, value in found.attributes if name in ("src", "href", "srcset", "data", "xlink:href")]
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    html = render_html(REPORT | changes, EVENTS, PNG)
    assert not re.search(r"https?://|@import|url\(", html)
    assert ("meta", "content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in found.attributes


def test_a_private_unseeded_page_has_no_banner() -> None:
    found = page()
    assert not [value for _, name, value in found.attributes if name == "class" and value.startswith("banner")]
    assert "NON-PRIVATE" not in found.text
    assert SEEDED not in found.text


def test_a_seeded_page_is_marked_and_names_the_seed() -> None:
    text = page(seeded=True, configuration={"seed": 4711}).text
    assert "Seeded: not private against someone who knows the seed" in text
    assert "the seed 4711" in text
    assert "secure source" not in text


def test_a_non_private_page_is_marked_and_promises_nothing() -> None:
    text = page(**non_private()).text
    assert text.count("NON-PRIVATE") >= 3
    assert "without differential privacy" in text
    assert "unlimited" in text
    assert "Nothing on this page is private" in text
    assert "Covered by the guarantee" not in text
    assert "refuses this run" in text
    assert "silogan generate RUN" not in text


def test_what_was_not_measured_says_why() -> None:
    text = page(
        utility={"accuracy_synthetic": None, "accuracy_real": None},
        utility_reason="the images have no classes",
        fidelity=None,
        fidelity_reason="switched off in the scenario",
    ).text
    assert "not measured the images have no classes" in text
    assert "Utility was not measured: the images have no classes." in text
    assert "Fidelity was not measured: switched off in the scenario." in text


def test_utility_stands_beside_its_ceiling() -> None:
    text = page(utility=REPORT["utility"] | {"auroc_synthetic": 0.981, "auroc_real": 0.9993}).text
    assert "82.1 %" in text
    assert "97.2 % when trained on real ones" in text
    assert "0.981 0.999" in text
    assert "Balanced accuracy" not in text


def test_what_uses_real_data_is_listed_as_not_covered() -> None:
    text = page().text
    assert "on real data: not covered" in text
    assert "It uses real data without noise" in text


def test_a_hundred_sites_are_summed_up_and_folded() -> None:
    sites = [SITE | {"name": f"site-{i:03}", "epsilon": 5 + i / 100} for i in range(100)]
    found = page(sites=sites)
    assert "100 simulated hospitals" in found.text
    assert "5 to 5.99" in found.text
    assert "All 100 hospitals" in found.text
    assert all(site["name"] in found.text for site in sites)
    few = page()
    assert found.tags["details"] == few.tags["details"] + 1


def test_a_hundred_sites_without_privacy_still_say_so() -> None:
    sites = [SITE | {"name": f"site-{i}", "epsilon": None} for i in range(100)]
    assert "Training ran without differential privacy" in page(private=False, sites=sites).text


def test_spending_beyond_the_budget_shows() -> None:
    assert "10.5 of 10 (over budget)" in page(sites=[SITE | {"epsilon": 10.5}]).text
    assert "over budget" not in page().text


def test_a_run_that_ended_early_says_why() -> None:
    text = page(rounds=1, rounds_planned=9, stopped="the quorum of 2 was lost").text
    assert "Stopped after 1 of 9 rounds" in text
    assert "the quorum of 2 was lost" in text


def test_refused_replies_are_listed() -> None:
    text = page([EVENTS[1] | {"sites_refused": [{"site": "south", "why": "weights are not finite"}]}]).text
    assert "1 south weights are not finite" in text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_missing_or_broken_figure_leaves_a_gap(value: float | None) -> None:
    broken = EVENTS[1] | {"update_norm": value, "fake_accuracy": value, "seconds": value}
    found = page([broken | {"epsilon": None}, EVENTS[2]])
    assert not [v for tag, _, v in found.attributes if tag in SVG_LEAVES and re.search("nan|inf", v)]
    assert found.tags["svg"] == 4


def test_no_rounds_and_no_pictures_still_make_a_page() -> None:
    found = page([], png=None, rounds=0)
    assert "No round was completed." in found.text
    assert "No samples were drawn" in found.text
    assert found.tags["img"] == found.tags["svg"] == 0


def test_pictures_and_charts_are_described_and_tables_have_headings() -> None:
    html = render_html(REPORT, EVENTS, PNG)
    assert 'alt="Synthetic sample images, in columns for each of 2 classes: a, b."' in html
    assert "Synthetic, not patients." in html
    assert html.count("<svg") == html.count('role="img" aria-label="') == 4
    assert "Privacy loss ε so far: 4 in round 1, 8 in round 2" in html
    assert html.count("<th ") == html.count("<th scope=")
    assert html.count("<table") == html.count("<caption>")


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_html(path, REPORT, EVENTS, PNG)
    assert path.read_text(encoding="utf-8") == render_html(REPORT, EVENTS, PNG)
    assert [child.name for child in tmp_path.iterdir()] == ["report.html"]


def test_settings_are_flattened_with_plain_values() -> None:
    nested = {"a": {"b": None, "c": [0.5, 1e-3]}, "d": True, "e": [], "f": {}}
    assert dict(flatten(nested)) == {"a.b": "not set", "a.c": "0.5, 0.001", "d": "yes", "e": "none", "f": "{}"}


SPACE: dict[str, Any] = {
    "name": "pixels", "share": {"value": 0.5, "low": 0.4, "high": 0.6}, "expected": 0.5, "ratio": 0.98,
    "excess": {"value": 0.01, "low": -0.2, "high": 0.19}, "auc": {"value": 0.512, "low": 0.48, "high": 0.54},
}  # fmt: skip


def memorisation(**changes: Any) -> dict[str, Any]:
    found = {"measured": True, "reason": None, "passed": True, "findings": [], "spaces": [SPACE], "public": None}
    return {"memorisation": found | changes}


def test_memorisation_is_told_with_its_intervals_and_as_no_guarantee() -> None:
    text = page(**memorisation()).text
    assert "No sign of it : no figure is above its threshold" in text
    assert "0.512 (0.48 to 0.54)" in text
    assert "no guarantee. The guarantee is ε" in text
    found = page(**memorisation(passed=False, findings=["it copies <b>"]))
    assert "It does : it copies <b>" in found.text
    assert found.tags["b"] == 0


def test_memorisation_that_was_not_measured_says_why() -> None:
    text = page(**memorisation(measured=False, passed=None, reason="evaluation.enabled is false", spaces=[])).text
    assert "Not measured: evaluation.enabled is false." in text
    assert "No sign of it" not in text


def test_edits_of_public_images_are_said_to_be() -> None:
    rate = {"value": 0.93, "low": 0.9, "high": 0.95}
    text = page(**memorisation(public={"edits": rate, "control": rate | {"value": 0.0}})).text
    assert "93.0 % of the synthetic images are edits of public images" in text
    assert "held out 0.0 % would be called so" in text


def test_the_verdict_comes_first_in_plain_words_with_its_reasons() -> None:
    for word, plain in (("usable", "nearly as well on real ones"), ("failed", "do not hand them on")):
        found = page(verdict={"word": word, "reasons": ["61% of what real records teach"]})
        assert found.text.index(f"{word.capitalize()} : ") < found.text.index("One generator of")
        assert plain in found.text
        assert "61% of what real records teach" in found.text
    kinds = [value for _, name, value in found.attributes if name == "class" and value.startswith("banner")]
    assert kinds == ["banner bad"]


def test_a_failed_run_may_be_used_for_nothing() -> None:
    text = page(verdict={"word": "failed", "reasons": []}).text
    assert "May be used to Find out why the run failed. Nothing else. Must not be used to Diagnose" in text
    assert "Develop and compare methods" not in text


def test_every_report_says_that_it_is_not_for_diagnosis() -> None:
    for changes in ({}, {"verdict": {"word": "usable", "reasons": []}}, non_private()):
        assert "Not for diagnosis" in page(**changes).text


def test_a_forecast_is_no_headline_of_a_run_that_was_measured() -> None:
    found = page(expected="uncertain: too few records", verdict={"word": "usable", "reasons": []})
    assert "What to expect" not in found.text
    assert found.text.index("Forecast before the run") > found.text.index("How to repeat this run")
    assert "The run was measured since" in found.text
    unmeasured = page(expected="uncertain", verdict={"word": "unmeasured", "reasons": []}).text
    assert "What to expect : uncertain" in unmeasured
    assert "The run was measured since" not in unmeasured


def test_settings_and_versions_are_folded_and_not_printed() -> None:
    html = render_html(REPORT, EVENTS, PNG)
    for what in ("Settings", "Versions", "Model and machine"):
        assert re.search(rf'<details class="unprinted">\s*<summary>{what}</summary>', html)


def test_a_weak_delta_is_remarked() -> None:
    weak = page(sites=[SITE | {"delta": 0.01}]).text
    assert "δ = 0.01 is weak for 359 patients" in weak
    assert "is weak for" not in page().text


def test_approvals_are_those_of_the_ledgers_and_what_is_missing_is_said() -> None:
    one = {"site": "north", "decision": "approve", "approver": "", "created": "2026-03-03T14:02:11+00:00"}
    text = page(approvals=[one, one | {"site": "south", "approver": "Dr. Berg"}]).text
    assert "north approve not recorded 3 March 2026, 14:02 UTC" in text
    assert "south approve Dr. Berg" in text
    assert "no person signed" in text
    assert "Vote of an ethics board not recorded" in text
    assert "Decisions of the hospitals: not recorded." in page().text


def test_public_images_stand_beside_the_samples_only_if_they_are_given() -> None:
    html = render_html(REPORT, EVENTS, PNG, PNG)
    assert html.count("<img ") == 2
    assert "They are of no\nhospital's patients." in html
    assert "Public images" not in render_html(REPORT, EVENTS, PNG)


def test_real_training_records_stand_beside_the_fidelity_of_synthetic_ones() -> None:
    reference = {"precision": 0.95, "recall": 0.98, "density": 1.01, "coverage": 0.967, "frechet_distance": 2.5}
    text = page(fidelity=REPORT["fidelity"] | {"reference": reference}).text
    assert "Synthetic Real training records" in text
    assert "1 is best 0.530 0.967" in text


def test_nothing_is_cut_off_on_a_phone(tmp_path: Path) -> None:
    assert cut_off(render_html(REPORT, EVENTS, PNG), tmp_path) == []


def test_a_release_without_rounds_promises_what_it_released() -> None:
    text = page([], rounds=0, rounds_planned=0).text
    assert "Round by round" not in text
    assert "The noisy sums that each hospital released" in text
    assert "discriminator's accuracy" not in text


def test_it_can_be_read_by_keyboard_and_by_ear() -> None:
    found = page()
    assert found.tags["main"] == found.tags["header"] == found.tags["footer"] == found.tags["h1"] == 1
    assert next(one for one in found.attributes if one[1] == "href") == ("a", "href", "#content")
    assert ("main", "id", "content") in found.attributes
    assert all(value for tag, name, value in found.attributes if (tag, name) == ("img", "alt"))


def test_what_the_generator_does_not_draw_is_shown_class_by_class() -> None:
    covered = REPORT["fidelity"] | {"coverage_by_class": [0.75, 0.0625], "coverage_by_class_real": [0.875, None]}
    text = page(fidelity=covered).text
    assert "a low share is what the generator does not draw" in text
    assert "a 0.750 0.875 b 0.0625 —" in text
    assert "0.750 — b" in page(fidelity=covered | {"coverage_by_class_real": None}).text
    assert "what the generator does not draw" not in page().text
