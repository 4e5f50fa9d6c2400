"""Faults of the data's name: patients keep their ledger whatever their data is called, and lose none.

fault                                               test
--------------------------------------------------- --------------------------------------------------------------------
data set copied, files or patients renamed          test_same_patients_under_another_name_have_the_same_ledger
half of the patients and new ones                   test_same_patients_under_another_name_have_the_same_ledger
other patients                                      test_other_patients_have_a_ledger_of_their_own
patients of two ledgers in one data set             test_patients_of_two_ledgers_together_are_refused
patients added after registration                   test_patients_who_were_not_registered_are_left_out
ledger deleted, or emptied                          test_lost_ledger_is_never_made_anew
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from silogan.client.node.hospital import site_of
from silogan.client.round import run_round
from silogan.common.errors import DataError, PrivacyRefusal, SiloganError
from silogan.common.modality import Data
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Folder
from tests.ledger_faults.hospital import (
    BUDGET_OF_TWO,
    SITE,
    STEPS,
    Hospital,
    ask,
    assert_clean,
    assert_one_line,
    cost,
    make_weights,
    together,
    watched,
)

ALL = tuple(f"patient-{number}" for number in range(8))
OTHERS = tuple(f"somebody-{number}" for number in range(8))
CLASSES = ("benign", "malignant")


def folder_of(root: Path, patients: Sequence[str], *, file: str = "image", called: str = "") -> Data:
    """A data set: an image of each class of each patient, whose names in the manifest begin with `called`."""
    rows = ["file,patient"]
    for split, group in (("train", patients), ("test", ["held-out"])):
        for patient in group:
            for label, name in enumerate(CLASSES):
                path = Path(split, name, f"{file}-{patient}.png")
                (root / path.parent).mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng([label, *patient.encode()]).integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(root / path)
                rows.append(f"{path.as_posix()},{called}{patient}")
    manifest = root.with_suffix(".csv")
    manifest.write_text("\n".join(rows), encoding="utf-8")
    return Folder(root=root, classes=CLASSES, patients=manifest)


def register(hospital: Hospital, name: str, data: Data) -> str:
    """The name of the ledger that the data set's patients are charged in."""
    return hospital.node.add_cohort(name=name, site=SITE, data=data, declared_size=8)[0].ledger


def ledgers(hospital: Hospital) -> list[str]:
    return sorted(path.stem for path in (hospital.node.folder / "ledgers").glob("*.sqlite"))


@pytest.fixture
def xrays(patients_hospital: Hospital, tmp_path: Path) -> Hospital:
    """Eight patients, of whom a round has been trained; the budget pays for five, of two studies."""
    patients_hospital.write_policy(unit="patient", epsilon=BUDGET_OF_TWO)
    assert register(patients_hospital, "xrays", folder_of(tmp_path / "xrays", ALL)) == "xrays"
    study = patients_hospital.study()
    patients_hospital.approve(study)
    patients_hospital.round(study)
    return patients_hospital


DISGUISES: dict[str, Callable[[Path], Data]] = {
    "copied": lambda root: folder_of(root, ALL),
    "files renamed": lambda root: folder_of(root, ALL, file="scan"),
    "patients renamed": lambda root: folder_of(root, ALL, called="study-7-"),
    "half of them and new ones": lambda root: folder_of(root, (*ALL[:4], *OTHERS[:4]), file="scan"),
    "one of them": lambda root: folder_of(root, (ALL[0], *OTHERS), file="scan"),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_same_patients_under_another_name_have_the_same_ledger(xrays: Hospital, name: str, tmp_path: Path) -> None:
    assert register(xrays, "more", DISGUISES[name](tmp_path / "copy")) == "xrays"
    assert ledgers(xrays) == ["xrays"]
    registration, study = xrays.node.register.get("more"), xrays.study("second")
    xrays.node.approve(study, registration, server="coordinator.example.org")
    site = site_of(xrays.node, study.study_id, registration)
    for number in (1, 2, 3, 4):
        xrays.round_of(site, number)
        assert xrays.ledger.epsilon() == together((1 + number) * STEPS)
    assert together(5 * STEPS) < BUDGET_OF_TWO < together(6 * STEPS)
    first = xrays.study()
    with watched() as seen, pytest.raises(PrivacyRefusal, match="privacy budget"):
        run_round(seen.site(xrays.site(first)), ask(first, 2), make_weights(first))
    assert seen.events == []
    assert_clean(xrays)


def test_other_patients_have_a_ledger_of_their_own(xrays: Hospital, tmp_path: Path) -> None:
    assert register(xrays, "others", folder_of(tmp_path / "others", OTHERS)) == "others"
    assert ledgers(xrays) == ["others", "xrays"]
    assert xrays.ledger.epsilon() == cost(STEPS)
    assert xrays.node.ledger(xrays.node.register.get("others")).epsilon() == 0.0


def test_patients_of_two_ledgers_together_are_refused(xrays: Hospital, tmp_path: Path) -> None:
    register(xrays, "others", folder_of(tmp_path / "others", OTHERS))
    with pytest.raises(PrivacyRefusal, match="different ledgers") as caught:
        register(xrays, "both", folder_of(tmp_path / "both", (ALL[0], OTHERS[0])))
    assert_one_line(caught.value)
    assert [one.name for one in xrays.node.register.all()] == ["xrays", "others"]
    assert ledgers(xrays) == ["others", "xrays"]


def test_name_of_a_cohort_is_not_given_to_other_data(xrays: Hospital, tmp_path: Path) -> None:
    with pytest.raises(PrivacyRefusal, match="other data"):
        register(xrays, "xrays", folder_of(tmp_path / "others", OTHERS))
    assert xrays.ledger.epsilon() == cost(STEPS)


def test_patients_who_were_not_registered_are_left_out(
    xrays: Hospital, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The coordinator cannot tell that somebody came; the hospital's log says so, and its check asks for more."""
    registration = xrays.node.register.get("xrays")
    before = site_of(xrays.node, xrays.study().study_id, registration).read_records()
    assert caplog.messages == []
    folder_of(tmp_path / "xrays", (*ALL, OTHERS[0]))  # one who was not registered came among them
    site = xrays.site(xrays.study())
    assert site.read_records().stored[PIXELS].equal(before.stored[PIXELS])
    assert caplog.messages == ["cohort 'xrays' holds records that were not registered: they are left out"]
    reply, _ = run_round(site, ask(site.study, 2), make_weights(site.study))
    assert reply.round == 2
    assert xrays.ledger.epsilon() == cost(2 * STEPS)
    assert_clean(xrays)
    with pytest.raises(DataError, match="not registered") as caught:
        xrays.node.check_cohort(registration)
    assert_one_line(caught.value)
    assert not [name for name in (*ALL, *OTHERS, "image-") if name in str(caught.value)]


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_lost_ledger_is_never_made_anew(xrays: Hospital, how: str, tmp_path: Path) -> None:
    study, registration = xrays.study(), xrays.node.register.get("xrays")
    site, data = xrays.site(study), registration.data
    xrays.path.unlink()
    if how == "emptied":
        xrays.path.touch()
    attempts: list[Callable[[], object]] = [
        lambda: register(xrays, "xrays", data),
        lambda: register(xrays, "copy", folder_of(tmp_path / "copy", ALL, file="scan")),
        lambda: xrays.node.cost(study, registration, "coordinator.example.org"),
        lambda: xrays.approve(study),
        lambda: xrays.node.reject(study, registration, "no"),
        xrays.node.statements,
        lambda: run_round(seen.site(site), ask(study, 2), make_weights(study)),
    ]
    with watched() as seen:
        for attempt in attempts:
            with pytest.raises(SiloganError, match="is missing" if how == "deleted" else "holds no entry") as caught:
                attempt()
            assert_one_line(caught.value)
            assert xrays.path.exists() == (how == "emptied")
    assert seen.events == []
    assert [one.name for one in xrays.node.register.all()] == ["xrays"]
