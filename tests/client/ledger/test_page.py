"""The audit's page: what does not hold is named, figures have their terms, and nothing a ledger says becomes markup."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from silogan.client.ledger.audit import Audit, Finding, audit
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.ledger import Approval, Charge, Cohort, Ledger
from silogan.client.ledger.page import render_page, write_page
from silogan.client.ledger.policy import Policy
from silogan.common.config.scenario import Unit
from silogan.common.errors import PrivacyRefusal, UsageError
from silogan.common.pages.words import epsilon, left, small
from silogan.common.privacy.plan import SEEDED
from silogan.simulations.audit import as_plain
from tests.browser import cut_off
from tests.pages import Page
from tests.plans import training_plan

AT = datetime(2026, 3, 3, 14, 2, tzinfo=UTC)
KEY = SiteKey(Ed25519PrivateKey.generate())
# q = 1 is what the accountants are quickest with
PLAN = training_plan(True, False, "patient", 2.0, 1e-4, 10.0, 1.0, 1.5, 5, 9, 3)
HOSTILE = "<script>alert('x')</script><img src=//evil.example>"
UNREADABLE = Audit("torn", (Finding(0, "cannot be used (file is not a database)"),))


def page_of(audits: Sequence[Audit], at: datetime = AT) -> Page:
    return Page(render_page(audits, at))


def opened(
    path: Path, unit: Unit = "patient", server: str = "north", study_id: str = "study", *, seeded: bool = False
) -> Ledger:
    plan = replace(PLAN, unit=unit, seeded=seeded)
    ledger = Ledger.create(path, Cohort(unit, PLAN.delta, rehearsal=seeded), Policy.of_plan(plan, "dcgan", server), KEY)
    ledger.approve(Approval(study_id, plan, "dcgan", server))
    return ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with a settled round, an open one, and twelve refusals."""
    path = tmp_path / "bergen.sqlite"
    ledger = opened(path)
    ledger.settle(ledger.reserve(Charge.of(PLAN, "training", 1, "study")), 4)
    ledger.reserve(Charge.of(PLAN, "training", 2, "study"))
    for number in range(12):
        ledger.refuse("study", "plan", number, PrivacyRefusal("privacy plan", f"is unknown ({number})", "approve it"))
    return path


@pytest.fixture
def found(path: Path) -> Audit:
    return audit(path)


def test_the_answers_come_in_the_order_of_the_questions(found: Audit) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", page_of([found, UNREADABLE]).html)
    assert headings == [
        "What was checked",
        "All ledgers at a glance",
        "bergen",
        "torn",
        "Attacks that were measured",
        "What is outside the guarantee",
        "Read and filed",
    ]


def test_a_ledger_that_holds_is_said_to_and_by_itself_needs_no_summary(found: Audit) -> None:
    page = page_of([found])
    assert "All checks passed" in page.text
    assert "at a glance" not in page.text
    assert ("class", "banner bad") not in {(name, value) for _, name, value in page.attributes}


def test_the_guarantee_has_its_unit_neighbours_and_figures_by_three_accountants(found: Audit) -> None:
    text, statement = page_of([found]).text, found.statement
    assert statement is not None
    assert "Unit of privacy: the patient, that is all records of one patient at this hospital together" in text
    assert "add or remove one patient" in text
    for value in (found.epsilon_prv, found.epsilon_pld, found.epsilon_rdp):
        assert epsilon(value) in text
    assert (
        f"Privacy loss ε {epsilon(found.epsilon_prv)} all runs together; {epsilon(statement.epsilon_settled)} for"
        in text
    )
    assert f"Budget 2 from the hospital's current policy Left {left(statement.epsilon_left)} of" in text
    assert f"δ {small(PLAN.delta)} probability" in text
    assert "conservative" in text


def test_a_record_level_ledger_says_what_that_means(tmp_path: Path) -> None:
    opened(tmp_path / "oslo.sqlite", unit="record")
    text = page_of([audit(tmp_path / "oslo.sqlite")]).text
    assert "Unit of privacy: the single record." in text
    assert "add or remove one record" in text
    assert "ε grows about in proportion" in text


def test_each_run_shows_its_mechanism_and_what_is_open(found: Audit) -> None:
    page = page_of([found])
    row = re.findall(r"<tr><th scope=\"row\">study .*?</tr>", page.html, re.DOTALL)[0]
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert [cells[1], *cells[3:11]] == ["north", "training", "10", "1", "1.5", "3", "4", "5", "12"]


def test_the_newest_refusals_are_listed_with_their_reasons(found: Audit) -> None:
    text = page_of([found]).text
    assert "the newest 10 of 12" in text
    assert text.index("is unknown (11)") < text.index("is unknown (2)")
    assert "is unknown (1)" not in text


def test_what_is_outside_the_guarantee_is_listed(found: Audit) -> None:
    text = page_of([found]).text
    for words in ("real test data", "makes public", "Timing", "later head", "weights after noise", "NIST SP 800-226"):
        assert words in text


def test_software_and_the_date_of_the_audit_are_named(found: Audit) -> None:
    assert found.statement is not None
    east = AT.astimezone(timezone(timedelta(hours=9)))
    text = page_of([found], east).text
    assert "3 March 2026, 14:02 UTC · bergen" in text
    assert f"opacus {found.statement.versions['opacus']}" in text


def test_every_finding_is_named_with_its_entry_in_red(found: Audit) -> None:
    doubtful = replace(found, findings=(Finding(7, "is not signed by the site's key"),))
    page = page_of([doubtful, UNREADABLE])
    assert "2 problems found" in page.text
    assert "All checks passed" not in page.text
    assert "entry 7" in page.text
    reds = re.findall(r'<strong class="bad">(.*?)</strong>', page.html)
    assert reds == ["is not signed by the site&#39;s key", "cannot be used (file is not a database)"]


def test_entries_that_cannot_be_trusted_give_no_figures() -> None:
    page = page_of([UNREADABLE])
    assert "1 problem found" in page.text
    assert "No figures : its entries are not reliable enough" in page.text
    assert page.tags["svg"] == 0
    assert "Privacy loss ε" not in page.text


def test_a_file_that_cannot_be_read_still_makes_a_page(tmp_path: Path) -> None:
    torn = tmp_path / "torn.sqlite"
    torn.write_bytes(b"date,patient\n" * 999)
    text = page_of([audit(torn)]).text
    assert "cannot be used" in text
    assert "date,patient" not in text


def test_a_ledger_that_nobody_has_seen_is_no_success_of_its_own() -> None:
    text = page_of([Audit("oslo", ())]).text
    assert "There is no ledger yet" in text


def test_a_ledger_that_has_charged_nothing_says_so(tmp_path: Path) -> None:
    opened(tmp_path / "new.sqlite")
    page = page_of([audit(tmp_path / "new.sqlite")])
    assert "Nothing has been charged yet." in page.text
    assert "No request was refused." in page.text
    assert "Left 2 of the budget" in page.text
    assert page.tags["svg"] == 0


def test_nothing_is_cut_off_on_a_phone_or_a_desk(tmp_path: Path, found: Audit) -> None:
    html = render_page([found, found], AT)
    for width in (400, 1280):
        folder = tmp_path / str(width)
        folder.mkdir()
        assert cut_off(html, folder, width) == []


def test_seeded_rounds_are_marked(tmp_path: Path, found: Audit) -> None:
    ledger = opened(tmp_path / "seeded.sqlite", seeded=True)
    ledger.reserve(Charge.of(replace(PLAN, seeded=True), "training", 1, "study", "release 1"))
    assert SEEDED.capitalize() in page_of([audit(tmp_path / "seeded.sqlite")]).text
    assert SEEDED not in page_of([found]).text.lower()


def test_hostile_words_of_a_ledger_stay_text(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "bad.sqlite", server=HOSTILE, study_id=HOSTILE)
    ledger.reserve(Charge.of(PLAN, "training", 1, HOSTILE))
    ledger.refuse(HOSTILE, HOSTILE, 2, PrivacyRefusal(HOSTILE, HOSTILE, HOSTILE))
    found = audit(tmp_path / "bad.sqlite")
    assert found.statement is not None
    statement = replace(found.statement, versions={HOSTILE: HOSTILE})
    page = page_of([replace(found, name=HOSTILE, statement=statement, findings=(Finding(2, HOSTILE),)), UNREADABLE])
    assert page.tags["script"] == page.tags["img"] == 0
    assert page.text.count(HOSTILE) >= 6


def test_times_that_are_none_are_shown_as_they_are(found: Audit) -> None:
    statement = found.statement
    assert statement is not None
    odd = replace(
        statement,
        curve=(("1700000000", 0.5), ("9999-12-31T23:59:59-01:00", 0.6)),
        runs=(replace(statement.runs[0], first="soon", last="<later>"),),
    )
    page = page_of([replace(found, statement=odd)])
    assert "soon to <later>" in page.text
    assert page.tags["svg"] == 0


def test_nothing_is_fetched_and_nothing_runs(found: Audit) -> None:
    page = page_of([found, UNREADABLE])
    assert ("meta", "content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert "url(" not in page.html
    assert "@import" not in page.html
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "action")
        assert name != "href" or value.startswith("#")


def test_a_hundred_ledgers_are_summed_up_and_linked(found: Audit) -> None:
    audits = [replace(found, name="bergen") for _ in range(99)] + [UNREADABLE]  # names may repeat, links may not
    page = page_of(audits)
    ids = [value for _, name, value in page.attributes if name == "id"]
    targets = {value.removeprefix("#") for _, name, value in page.attributes if name == "href"}
    assert len(ids) == len(set(ids)) == 101  # and the content, to which the first link of a page skips
    assert targets == set(ids)
    assert "Ledgers audited 100" in page.text


def test_figures_at_other_terms_are_not_ranked(tmp_path: Path, found: Audit) -> None:
    opened(tmp_path / "oslo.sqlite", unit="record")
    warning = "Values of ε with different δ or unit are not comparable."
    assert warning in page_of([found, audit(tmp_path / "oslo.sqlite")]).text
    assert warning not in page_of([found, found]).text


def test_charts_are_described_and_tables_have_headings(found: Audit) -> None:
    page = page_of([found])
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == 1
    assert labels[0].startswith("Privacy loss ε over time: ")
    assert page.tags["caption"] == page.tags["table"] == page.tags["thead"]


def test_the_page_is_written_whole_and_again(found: Audit, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"
    write_page([UNREADABLE], page, AT)
    write_page([found], page, AT)
    assert page.read_text(encoding="utf-8") == render_page([found], AT)


def test_a_ledger_is_not_written_over(found: Audit, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is not an audit page"):
        write_page([found], path, AT)
    assert path.read_bytes() == before


def test_a_folder_that_is_missing_is_said(found: Audit, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_page([found], tmp_path / "none" / "audit.html", AT)


def test_machines_get_the_same_runs(found: Audit) -> None:
    plain = as_plain([found, UNREADABLE])
    assert json.loads(json.dumps(plain)) == plain
    charged, torn = plain["cohorts"]
    (run,) = charged["runs"]
    assert {"study_id", "asked_by", "phases"} < set(run)
    (phase,) = run["phases"]
    assert (phase["name"], phase["noise_multiplier"], phase["clip_norm"], phase["records_per_patient"]) == (
        "training", 10.0, 1.5, 3,
    )  # fmt: skip
    run |= phase
    assert (run["steps_settled"], run["steps_reserved"], run["refusals"]) == (4, 5, 12)
    assert run["epsilon"] == charged["epsilon_prv"]
    assert (charged["adjacency"], torn["runs"]) == ("add or remove one unit", [])
    assert not {"statement", "findings"} & set(charged)


def test_a_budget_that_is_used_up_is_not_plainly_green(found: Audit) -> None:
    statement = found.statement
    assert statement is not None
    spent = replace(found, statement=replace(statement, epsilon_charged=9.9968, epsilon_budget=10.0))
    page = page_of([spent, found])
    kinds = [value for _, name, value in page.attributes if name == "class" and value.startswith("banner")]
    assert kinds == ["banner care"]
    assert "budget used up : 1 of 2 ledgers spent 99.0 % of the budget or more" in page.text
    assert "9.997 of 10 0.003" in page.text
    assert "used up" not in page_of([found]).text
    assert [cohort["used_up"] for cohort in as_plain([spent, found, UNREADABLE])["cohorts"]] == [True, False, False]


def test_a_problem_outweighs_a_budget_that_is_used_up(found: Audit) -> None:
    statement = found.statement
    assert statement is not None
    spent = replace(statement, epsilon_charged=10.0, epsilon_budget=10.0)
    text = page_of([replace(found, statement=spent, findings=(Finding(2, "is odd"),))]).text
    assert "1 problem found" in text
    assert "used up" not in text


def test_epsilon_comes_first_in_every_table_of_it(found: Audit) -> None:
    """So that it is on the screen of a phone."""
    html = page_of([found, UNREADABLE]).html
    heads = [re.findall(r"<th scope=\"col\">(.*?)</th>", head) for head in re.findall(r"<thead>(.*?)</thead>", html)]
    of_epsilon = [head for head in heads if any("ε" in cell for cell in head)]
    assert len(of_epsilon) == 3
    assert all("ε" in head[1] for head in of_epsilon)


def test_who_decided_and_what_was_not_recorded_is_shown(path: Path, found: Audit) -> None:
    assert "study approve not recorded" in page_of([found]).text
    statement = found.statement
    assert statement is not None
    named = replace(statement.decisions[0], approver="Dr. Berg", reason="needed")
    text = page_of([replace(found, statement=replace(statement, decisions=(named,)))]).text
    assert "study approve Dr. Berg" in text


def test_there_is_a_line_to_sign(found: Audit) -> None:
    assert "Hospital Data protection officer Signature Place and date" in page_of([found]).text


def test_attacks_are_shown_with_the_lower_bound_rounded_down(found: Audit) -> None:
    rate = {"value": 0.512, "low": 0.5, "high": 0.52}
    attacks = {
        "empirical": {
            "confidence": 0.95, "canaries": 1000, "epsilon_lower_bound": 1.23456, "epsilon_analytic": 9.99684,
            "largest_lower_bound": 4.5678,
        },
        "membership": {HOSTILE: {"auc": rate, "true_positive_rate": rate}},
    }  # fmt: skip
    page = Page(render_page([found], AT, attacks))
    assert "ε is at least holds with 95.0 % confidence; 1,000 canaries 1.234" in page.text
    assert "9.997" in page.text
    assert "0.512 (0.500 to 0.520) 51.2 % (50.0 to 52.0)" in page.text
    assert page.tags["script"] == page.tags["img"] == 0
    assert "Not measured in this audit" in page_of([found]).text
