"""What a coordinator sends is not written down without end, and a crash never loses a round that was paid for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from silogan.client.ledger.audit import audit
from silogan.client.ledger.ledger import MALFORMED, Ledger
from silogan.client.ledger.statement import state
from silogan.client.node.node import Node
from silogan.client.state import SiteState
from silogan.common.errors import Code, PrivacyRefusal
from tests.ledger_faults.hospital import DECLARED_SIZE, DIGITS, SITE, Hospital, assert_clean, policy_text

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    node = Node.create(tmp_path / "node", policy_text())
    node.add_cohort(name="digits", site=SITE, data=DIGITS, declared_size=DECLARED_SIZE)
    return Hospital(node, "digits")


def refusal(reason: str = "is not approved") -> PrivacyRefusal:
    return PrivacyRefusal("study", reason, "review it", code=Code.NOT_APPROVED)


def size(hospital: Hospital) -> int:
    return sum(len(entry.body) for entry in hospital.ledger.entries())


def test_a_long_name_or_reason_does_not_grow_the_ledger(hospital: Hospital) -> None:
    before = size(hospital)
    hospital.ledger.refuse("s" * 10_000_000, "p" * 10_000_000, 10**30, refusal("x" * 10_000_000))
    hospital.ledger.refuse("\x1b[2J", "\u202e", -1, refusal())
    assert size(hospital) - before < 3000
    written = [entry.content for entry in hospital.ledger.entries() if entry.content["kind"] == "refuse"]
    assert [one["study_id"] for one in written] == [MALFORMED] * 2
    assert_clean(hospital)


def test_requests_without_end_do_not_grow_the_ledger(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = hospital.ledger
    for number in range(300):
        ledger.refuse(f"{number:064x}", f"{number:064x}", number, refusal())
    written = [entry.content for entry in ledger.entries() if entry.content["kind"] == "refuse"]
    assert len(written) == 64 + 2
    assert [one.get("times", 1) for one in written][-3:] == [1, 64, 128]
    ledger.refuse("f" * 64, "f" * 64, 1, PrivacyRefusal("policy", "forbids it", "ask", code=Code.POLICY))
    assert len(ledger.entries()) == 1 + 64 + 2 + 1  # another kind
    assert sum(one.times for one in state(ledger.entries()).refused) == 257
    assert audit(hospital.path, public_key=hospital.node.key.public).findings == ()


@pytest.mark.parametrize(("owner", "name"), [(SiteState, "save"), (Ledger, "settle"), (SiteState, "settled")])
def test_a_crash_never_loses_a_round_that_was_paid_for(
    hospital: Hospital, owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = hospital.study()
    hospital.approve(study)
    work: Callable[..., object] = getattr(owner, name)

    def crashing(self: object, *values: object) -> object:
        work(self, *values)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, crashing)
        with pytest.raises(KeyboardInterrupt):
            hospital.round(study)
    first, second = hospital.round(study), hospital.round(study)
    assert first == second
    assert hospital.kinds() == ["approve", "reserve", "settle"]
    assert hospital.ledger.head() == first.ledger_head
    assert_clean(hospital)


def test_a_ledger_of_before_is_read_and_goes_on(hospital: Hospital) -> None:
    """One whose file has no tallies yet."""
    from tests.ledger_faults.hospital import tamper  # noqa: PLC0415

    tamper(hospital.path, "DROP TABLE tallies")
    assert_clean(hospital)
    hospital.ledger.refuse("a" * 64, "b" * 64, 1, refusal())
    assert hospital.kinds() == ["refuse"]
