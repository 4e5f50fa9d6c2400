"""One scale of words for ε: plan, report and audit say the same of the same number."""

import re
from datetime import UTC, datetime

import pytest

from silogan.client.ledger.audit import Audit
from silogan.client.ledger.page import render_page
from silogan.client.ledger.register import Registration
from silogan.client.ledger.statement import Statement
from silogan.client.node.explanation import explain
from silogan.client.node.node import Cost
from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Digits
from silogan.common.pages.guarantee import COLOURS
from silogan.common.pages.page import environment
from silogan.common.privacy.plan import make_plan
from silogan.common.privacy.strength import CONSERVATIVE, OVERRIDE_ABOVE, SCALE, delta_remark, strength
from silogan.common.wire.study import SiteDeclaration, Study

PILL = re.compile(r"Privacy loss ε.*?<span class=\"pill \w+\">(.*?)</span>", re.DOTALL)


def test_words_change_where_the_scale_says() -> None:
    words = [strength(epsilon).word for epsilon in (0.5, 1.0, 1.01, 20.0, 20.1, float("inf"), float("nan"))]
    assert words == ["conservative", "conservative", "moderate", "moderate", "weak", "weak", "weak"]
    assert str(strength(1.0)) == "conservative"
    assert str(strength(10.0)) == "moderate: needs a reason"
    assert str(strength(25.0)) == "weak: only with a signed override"


def test_the_scale_in_one_sentence_is_the_scale() -> None:
    said = re.findall(r"(?:up to|above) (\S+) (?:is )?(.+?)(?:; |\.$)", SCALE)
    assert said == [
        (f"{CONSERVATIVE:g}", str(strength(CONSERVATIVE))),
        (f"{OVERRIDE_ABOVE:g}", str(strength(OVERRIDE_ABOVE))),
        ("that", str(strength(OVERRIDE_ABOVE + 1))),
    ]


def in_the_plan(epsilon: float) -> str:
    scenario = parse_scenario({"name": "tiny", "privacy": {"noise_multiplier": 5.0}})
    schema = ImageSchema(8, 1, ("a", "b"))
    study = Study(scenario, schema, make_plan(scenario), (SiteDeclaration("bergen", 100),))
    cohort = Registration("data", "bergen", "data", Digits(), schema, "record", 100, ())
    cost = Cost(0.0, 0.1, epsilon, epsilon, 0, 30.0, 1e-5, ())
    return dict(explain(study, cohort, "north", cost))["ε after all"].split("budget: ", 1)[1]


def in_the_report(epsilon: float) -> str:
    return environment().get_template("parts").module.reading(epsilon)  # type: ignore[attr-defined]


def in_the_audit(epsilon: float) -> str:
    curve = (("2026-03-03T14:02:11+00:00", epsilon),)
    statement = Statement("record", 1e-5, 30.0, epsilon, epsilon, (), (), curve, 2, {})
    audit = Audit("data", (), "record", 1e-5, 30.0, epsilon, epsilon, epsilon, None, statement)
    (found,) = PILL.findall(render_page([audit], datetime(2026, 3, 3, tzinfo=UTC)))
    return found


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0, 10.0, 20.0, 25.0])
def test_plan_report_and_audit_print_the_same_words(epsilon: float) -> None:
    words = str(strength(epsilon))
    assert in_the_plan(epsilon) == words
    assert in_the_report(epsilon) == f'<span class="pill {COLOURS[strength(epsilon).word]}">{words}</span>'
    assert in_the_audit(epsilon) == words


@pytest.mark.parametrize(("delta", "records", "weak"), [(0.01, 360, True), (1 / 360, 360, True), (1e-4, 360, False)])
def test_a_delta_of_one_over_the_records_or_more_is_weak(delta: float, records: int, weak: bool) -> None:
    assert ("is weak for 360 records" in delta_remark(delta, records, "record")) is weak


@pytest.mark.parametrize("records", [None, 0])
def test_of_a_cohort_of_unknown_size_nothing_is_said(records: int | None) -> None:
    assert delta_remark(0.5, records, "patient") == ""
