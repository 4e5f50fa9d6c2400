"""Patients are recognised under any name their data goes by, and share one ledger."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from silogan.client.data import Records
from silogan.client.data.fingerprints import fingerprints
from silogan.client.ledger.chain import Entry
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.register import Register, Registration
from silogan.common.errors import DataError, PrivacyRefusal, VerificationError
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.modality.image_options import Digits
from silogan.common.privacy.plan import Unit

KEY, OTHER_KEY = (SiteKey(Ed25519PrivateKey.generate()) for _ in range(2))
NAMES = ("name-4711", "name-4711", "name-4712", "name-4713")


def images(seed: int = 0, names: tuple[str, ...] | None = NAMES) -> Records:
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 1, 8, 8), generator=rng, dtype=torch.uint8)
    found = Records({PIXELS: pixels}, torch.tensor([0, 1, 0, 1]))
    return found if names is None else found.of_patients(names)


def registration(name: str, of: Records, unit: Unit = "patient", key: SiteKey = KEY) -> Registration:
    schema = ImageSchema(8, 1, ("a", "b"))
    return Registration(name, "bergen", name, Digits(), schema, unit, 10, fingerprints(of, unit, key.derived))


@pytest.fixture
def register(tmp_path: Path) -> Register:
    return Register(tmp_path / "cohorts.sqlite", KEY)


def add(register: Register, wanted: Registration) -> tuple[str, bool, tuple[str, ...]]:
    """The ledger that was opened, whether it was new, and who shares the patients."""
    opened: list[tuple[str, bool]] = []
    registered, sharing = register.add(wanted, lambda one, new: opened.append((one.ledger, new)))
    assert [registered.ledger] == [ledger for ledger, _ in opened]
    return *opened[0], sharing


def test_first_data_set_gets_a_ledger_of_its_own(register: Register) -> None:
    assert add(register, registration("first", images())) == ("first", True, ())
    assert register.all() == [registration("first", images())]
    assert register.get(None) == register.get("first")


def test_the_same_again_changes_nothing(register: Register) -> None:
    for new in (True, False):
        assert add(register, registration("first", images()))[:2] == ("first", new)
    assert len(register.all()) == 1


def test_copy_under_another_name_joins_the_ledger(register: Register) -> None:
    add(register, registration("first", images()))
    shuffled = images().select(torch.tensor([3, 1, 0, 2]))
    assert add(register, registration("copy", shuffled)) == ("first", False, ("first",))


def test_same_records_under_other_patient_names_join_the_ledger(register: Register) -> None:
    add(register, registration("first", images()))
    assert add(register, registration("renamed", images(names=("a", "b", "c", "d"))))[0] == "first"


def test_one_patient_with_other_records_is_enough(register: Register) -> None:
    add(register, registration("first", images()))
    assert add(register, registration("later", images(seed=1, names=("8", "9", "name-4713", "9"))))[0] == "first"


def test_other_patients_get_their_own_ledger(register: Register) -> None:
    add(register, registration("first", images()))
    assert add(register, registration("others", images(seed=1, names=("1", "2", "3", "4")))) == ("others", True, ())


def test_patients_of_two_ledgers_are_refused(register: Register) -> None:
    add(register, registration("first", images()))
    add(register, registration("others", images(seed=1, names=("1", "2", "3", "4"))))
    with pytest.raises(PrivacyRefusal, match="first, others"):
        add(register, registration("both", images(seed=2, names=("1", "name-4711", "x", "y"))))
    assert len(register.all()) == 2


def test_name_that_is_taken_is_refused(register: Register) -> None:
    add(register, registration("first", images()))
    with pytest.raises(PrivacyRefusal, match="other data"):
        add(register, registration("first", images(seed=1, names=("1", "2", "3", "4"))))


def test_same_patients_under_another_unit_are_refused(register: Register) -> None:
    add(register, registration("first", images()))
    with pytest.raises(PrivacyRefusal, match="record-level"):
        add(register, registration("records", images(), "record"))


def test_ledger_that_cannot_be_opened_leaves_nothing_registered(register: Register) -> None:
    def fail(_: Registration, new: bool) -> None:
        raise DataError("ledger", "cannot be written", "free the disk")

    with pytest.raises(DataError):
        register.add(registration("first", images()), fail)
    assert register.all() == []


def test_register_holds_no_name_of_a_patient(register: Register, tmp_path: Path) -> None:
    add(register, registration("first", images()))
    assert b"name-4711" not in (tmp_path / "cohorts.sqlite").read_bytes()


def test_another_key_is_noticed(register: Register, tmp_path: Path) -> None:
    add(register, registration("first", images()))
    with pytest.raises(VerificationError, match="not signed by this site's key"):
        Register(tmp_path / "cohorts.sqlite", OTHER_KEY).all()


def test_cohort_must_be_named_where_there_are_several(register: Register) -> None:
    with pytest.raises(DataError, match="registered: none"):
        register.get(None)
    add(register, registration("first", images()))
    add(register, registration("copy", images()))
    with pytest.raises(DataError, match="registered: first, copy"):
        register.get(None)
    with pytest.raises(DataError, match="'third'"):
        register.get("third")
    assert replace(register.get("copy"), ledger="copy") == registration("copy", images())


def test_entry_of_an_older_register_is_read() -> None:
    """Its schema has no kind, and its data section every key of every source."""
    wanted = registration("first", images())
    plain = wanted.to_plain()
    del plain["schema"]["kind"]
    plain["data"] |= {"dataset": None, "download": False, "patients": None}
    assert Registration.of_entry(Entry(1, json.dumps(plain), "", "", "")) == wanted
    plain["data"]["download"] = True
    with pytest.raises(
        VerificationError, match="register entry 1: has a field of the wrong type or with an invalid value"
    ):
        Registration.of_entry(Entry(1, json.dumps(plain), "", "", ""))
