"""Patients and records are known again by keyed fingerprints, which say nothing of them and stay what they were."""

import re
from dataclasses import replace

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from silogan.client.data import Records
from silogan.client.data.fingerprints import fingerprints, known
from silogan.client.ledger.keys import SiteKey
from silogan.common.errors import DataError
from silogan.common.modality.image import PIXELS
from silogan.common.privacy.plan import Unit

DERIVE = SiteKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32)))).derived
OTHER = SiteKey(Ed25519PrivateKey.generate()).derived
NAMES = ("4711", "4711", "4712", "4713")


def images(seed: int = 0, names: tuple[str, ...] = NAMES) -> Records:
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 1, 8, 8), generator=rng, dtype=torch.uint8)
    return Records({PIXELS: pixels}, torch.tensor([0, 1, 0, 1])).of_patients(names)


def kept(records: Records, unit: Unit = "patient") -> Records:
    """Those of units that were registered with the images above."""
    return known(records, unit, fingerprints(images(), unit, DERIVE), DERIVE)


def same(found: Records, expected: Records) -> bool:
    return found.stored[PIXELS].equal(expected.stored[PIXELS])


def test_fingerprints_are_those_of_older_registers() -> None:
    pixels = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2)
    records = Records({PIXELS: pixels}, torch.tensor([0, 1])).of_patients(["4711", "4712"])
    of_records = "38f1cc07c10c803cd9ce5dc7ea1c05c8", "ce048a374d78c7e696f8b67eba9668de"
    of_patients = "4af5610edf8d25efd627f7305455e3ee", "fbceadc1124190f7bc49ca866a2d20c6"
    assert fingerprints(records, "record", DERIVE) == of_records
    assert fingerprints(records, "patient", DERIVE) == tuple(sorted(of_records + of_patients))


def test_columns_are_part_of_a_record_under_their_own_names() -> None:
    one, two = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
    prints = [
        fingerprints(Records(stored, torch.zeros(2, dtype=torch.int64)), "record", DERIVE)
        for stored in ({"age": one, "weight": one}, {"age": one, "weight": two}, {"weight": one, "age": one})
    ]
    assert set(prints[0]).isdisjoint(prints[1])
    assert prints[0] == prints[2]


@pytest.mark.parametrize("unit", ["patient", "record"])
def test_what_was_registered_is_kept(unit: Unit) -> None:
    fewer = images().select(torch.tensor([2, 0]))
    assert same(kept(images(), unit), images())
    assert same(kept(fewer, unit), fewer)
    assert len(kept(images().select(torch.tensor([], dtype=torch.int64)), unit)) == 0


def test_patients_who_were_not_registered_are_left_out() -> None:
    mixed = images(seed=1, names=("4714", "4711", "4715", "4712"))
    found = kept(mixed)
    assert found.stored[PIXELS].equal(mixed.stored[PIXELS][[1, 3]])
    assert found.patients is not None
    assert found.patient_names is not None
    assert [found.patient_names[code] for code in found.patients.tolist()] == ["4711", "4712"]


def test_records_that_were_not_registered_are_left_out() -> None:
    parts = images(seed=1), images()
    pixels = torch.cat([part.stored[PIXELS] for part in parts])
    mixed = Records({PIXELS: pixels}, torch.cat([part.labels for part in parts]))
    assert same(kept(mixed, "record"), images())


def test_records_that_do_not_say_whose_they_are_cannot_be_compared() -> None:
    bare = replace(images(), patients=None, patient_names=None)
    with pytest.raises(DataError, match="name no patients"):
        kept(bare)


def test_new_record_of_a_registered_patient_is_covered() -> None:
    assert same(kept(images(seed=1)), images(seed=1))


def test_fingerprints_are_keyed_and_say_nothing() -> None:
    ours, theirs = (set(fingerprints(images(), "patient", derive)) for derive in (DERIVE, OTHER))
    assert len(ours) == 3 + 4
    assert ours.isdisjoint(theirs)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ours)
