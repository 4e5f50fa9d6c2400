"""A refusal says its site and one code of a short list, and nothing that it holds is ever shown."""

import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from silogan.common.errors import (
    Code,
    ConfigError,
    DataError,
    FederationError,
    PrivacyRefusal,
    SiloganError,
    UsageError,
    VerificationError,
)
from silogan.common.wire.refusals import public_error, refusal_from_record, refusal_record, without_reason


def over_the_wire(record: RecordDict) -> RecordDict:
    return recorddict_from_proto(ProtoRecordDict.FromString(recorddict_to_proto(record).SerializeToString()))


def test_a_refusal_holds_these_keys_and_no_others() -> None:
    record = over_the_wire(refusal_record("site-1", Code.BUDGET))
    assert {name: dict(part) for name, part in record.items()} == {"refusal": {"site": "site-1", "code": "budget"}}


@pytest.mark.parametrize("code", Code)
def test_every_code_arrives_and_has_one_sentence(code: Code) -> None:
    assert refusal_from_record(over_the_wire(refusal_record("site-1", code))) == ("site-1", code)
    error = public_error(code)
    assert str(error) == str(public_error(code))
    assert error.code is code


def test_no_two_codes_have_the_same_sentence() -> None:
    assert len({str(public_error(code)) for code in Code}) == len(Code)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.NOT_APPROVED, PrivacyRefusal),
        (Code.PLAN, PrivacyRefusal),
        (Code.POLICY, PrivacyRefusal),
        (Code.BUDGET, PrivacyRefusal),
        (Code.ROUND_DONE, PrivacyRefusal),
        (Code.LEDGER, VerificationError),
        (Code.SOFTWARE, VerificationError),
        (Code.MESSAGE, FederationError),
        (Code.UNAVAILABLE, FederationError),
    ],
)
def test_a_code_decides_the_servers_exit_code(code: Code, kind: type[SiloganError]) -> None:
    assert type(public_error(code)) is kind


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (PrivacyRefusal, Code.PLAN),
        (VerificationError, Code.LEDGER),
        (ConfigError, Code.UNAVAILABLE),
        (DataError, Code.UNAVAILABLE),
        (FederationError, Code.UNAVAILABLE),
        (UsageError, Code.UNAVAILABLE),
    ],
)
def test_an_error_that_names_no_code_has_that_of_its_kind(kind: type[SiloganError], code: Code) -> None:
    assert kind("a", "b", "c").code is code
    assert kind("a", "b", "c", code=Code.BUDGET).code is Code.BUDGET
    assert kind("a", "b", "c").code is code, "one error's code became that of all"


def test_a_reply_is_no_refusal() -> None:
    assert refusal_from_record(RecordDict({"header": ConfigRecord({}), "weights": ArrayRecord()})) is None


GOOD = {"site": "site-1", "code": "budget"}


@pytest.mark.parametrize(
    "parts",
    [
        {"refusal": ConfigRecord()},
        {"refusal": ArrayRecord()},
        {"refusal": ConfigRecord({"site": "site-1"})},
        {"refusal": ConfigRecord({**GOOD, "why": "a patient withdrew"})},
        {"refusal": ConfigRecord({**GOOD, "code": "the malignant class is empty"})},
        {"refusal": ConfigRecord({**GOOD, "code": ""})},
        {"refusal": ConfigRecord({**GOOD, "code": "BUDGET"})},
        {"refusal": ConfigRecord({**GOOD, "code": 5})},
        {"refusal": ConfigRecord({**GOOD, "code": ["budget"]})},
        {"refusal": ConfigRecord({**GOOD, "site": b"site-1"})},
        {"refusal": ConfigRecord(GOOD), "more": ConfigRecord({"accuracy": 0.9})},
        {"refusal": ConfigRecord(GOOD), "weights": ArrayRecord()},
    ],
)
def test_what_is_not_quite_a_refusal_is_refused(parts: dict[str, ConfigRecord]) -> None:
    with pytest.raises(FederationError, match="refusal: is malformed"):
        refusal_from_record(RecordDict(parts))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", [PrivacyRefusal, VerificationError, DataError])
def test_at_the_data_every_error_is_the_same_to_the_outside(kind: type[SiloganError]) -> None:
    with pytest.raises(kind) as caught, without_reason():
        raise kind("class 'malignant'", "has no images", "add some", code=Code.BUDGET)
    assert caught.value.code is Code.UNAVAILABLE
    assert "malignant" in str(caught.value), "the hospital's log says why"
