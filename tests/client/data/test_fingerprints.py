"""Patients and records are known again by keyed fingerprints, which say nothing of them."""

import re
from dataclasses import replace

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.data import Images
from client.data.fingerprints import fingerprints, known
from client.ledger.keys import SiteKey
from common.errors import DataError
from common.privacy.plan import Unit

KEY, OTHER_KEY = (SiteKey(Ed25519PrivateKey.generate()) for _ in range(2))
NAMES = ("4711", "4711", "4712", "4713")


def images(seed: int = 0, names: tuple[str, ...] = NAMES) -> Images:
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 1, 8, 8), generator=rng, dtype=torch.uint8)
    return Images(pixels, torch.tensor([0, 1, 0, 1])).of_patients(names)


def kept_of(found: Images, unit: Unit) -> Images:
    """What is kept of images where `images()` were registered."""
    return known(found, unit, fingerprints(images(), unit, KEY.derived), KEY.derived)


@pytest.mark.parametrize("unit", ["patient", "record"])
def test_what_was_registered_is_kept(unit: Unit) -> None:
    assert kept_of(images(), unit).pixels.equal(images().pixels)
    fewer = images().select(torch.tensor([2, 0]))
    assert kept_of(fewer, unit).pixels.equal(fewer.pixels)
    nobody = images().select(torch.tensor([], dtype=torch.int64))
    assert len(kept_of(nobody, unit)) == 0


def test_patients_who_were_not_registered_are_left_out() -> None:
    mixed = images(seed=1, names=("4714", "4711", "4715", "4712"))
    kept = kept_of(mixed, "patient")
    assert kept.pixels.equal(mixed.pixels[[1, 3]])
    assert kept.patients is not None
    assert kept.patient_names is not None
    assert [kept.patient_names[code] for code in kept.patients.tolist()] == ["4711", "4712"]


def test_records_that_were_not_registered_are_left_out() -> None:
    others = images(seed=1)
    mixed = Images(torch.cat([others.pixels, images().pixels]), torch.cat([others.labels, images().labels]))
    assert kept_of(mixed, "record").pixels.equal(images().pixels)


def test_images_that_do_not_say_whose_they_are_cannot_be_compared() -> None:
    bare = replace(images(), patients=None, patient_names=None)
    with pytest.raises(DataError, match="do not say whose they are"):
        kept_of(bare, "patient")


def test_new_record_of_a_registered_patient_is_covered() -> None:
    assert kept_of(images(seed=1), "patient").pixels.equal(images(seed=1).pixels)


def test_fingerprints_are_keyed_and_say_nothing() -> None:
    ours, theirs = (set(fingerprints(images(), "patient", key.derived)) for key in (KEY, OTHER_KEY))
    assert len(ours) == 3 + 4
    assert ours.isdisjoint(theirs)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ours)
