"""Row 6: what a hospital refuses, and in which words, told the coordinator of single patients.

On 97d0510 a round in which the one malignant patient had withdrawn was answered with "class folder 'malignant' is
missing or has no images". Now patients who come and go change nothing of what leaves but the noisy arrays, and where
the node cannot answer it sends the same bytes, whatever the reason is.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict
from PIL import Image

from silogan.client.node.hospital import Hospital
from silogan.client.node.preflight import preflight
from silogan.client.state import SiteState
from silogan.common.errors import Code
from silogan.common.wire.messages import Reply, unpack
from silogan.common.wire.refusals import refusal_from_record, refusal_record
from tests.attacks.nodes import Ward, make_ward, on_the_wire, weights_for
from tests.plans import phase_and_round

FIRST_MALIGNANT, FIRST_BENIGN = "train/malignant/0000.png", "train/benign/0000.png"
Change = Callable[[Ward], None]


def nothing(_: Ward) -> None:
    pass


def the_one_malignant_patient_withdrew(ward: Ward) -> None:
    ward.withdraw(FIRST_MALIGNANT)


def a_benign_patient_withdrew(ward: Ward) -> None:
    ward.withdraw(FIRST_BENIGN)


def everybody_withdrew(ward: Ward) -> None:
    for file, _ in ward.rows():
        if file.startswith("train"):
            ward.withdraw(file)


def an_image_is_gone_but_not_its_line(ward: Ward) -> None:
    (ward.root / FIRST_MALIGNANT).unlink()


def a_class_folder_is_gone(ward: Ward) -> None:
    shutil.rmtree(ward.root / "train/malignant")


def a_patient_came(ward: Ward) -> None:
    shutil.copy(ward.root / FIRST_BENIGN, ward.root / "train/malignant/new.png")
    ward.write_rows([*ward.rows(), ("train/malignant/new.png", "a new patient")])


def a_patient_has_another_image(ward: Ward) -> None:
    shutil.copy(ward.root / FIRST_BENIGN, ward.root / "train/malignant/new.png")
    ward.write_rows([*ward.rows(), ("train/malignant/new.png", "train-0-0")])


ANSWERED: list[Change] = [
    nothing,
    the_one_malignant_patient_withdrew,
    a_benign_patient_withdrew,
    everybody_withdrew,
    an_image_is_gone_but_not_its_line,
    a_class_folder_is_gone,
    a_patient_came,
    a_patient_has_another_image,
]


@pytest.mark.parametrize("change", ANSWERED, ids=lambda change: change.__name__)
@pytest.mark.parametrize("number", [0, 1], ids=["warm start", "round"])
def test_patients_who_come_and_go_change_nothing_of_what_a_reply_is(
    tmp_path: Path, change: Change, number: int
) -> None:
    warm_start = {"noise_multiplier": 2.0, "frequencies": 2, "steps": 2} if number == 0 else None
    ward = make_ward(tmp_path, {"benign": 20, "malignant": 1}, warm_start=warm_start)
    change(ward)
    answer = ward.answer(number)
    assert refusal_from_record(answer) is None
    reply, weights = Reply.from_record(answer)
    assert (reply.site, reply.phase, reply.round) == ("bergen", *phase_and_round(number))
    assert reply.ledger_head == ward.node.ledger(ward.registration).head()
    if number:
        expected = {name: tuple(tensor.shape) for name, tensor in weights_for(ward.study).items()}
        assert {name: tuple(array.shape) for name, array in weights.items()} == expected
    assert all(bool(tensor.isfinite().all()) for tensor in unpack(weights).values())


def a_corrupt_image(ward: Ward) -> None:
    (ward.root / FIRST_MALIGNANT).write_bytes(b"x")


def an_image_of_another_size(ward: Ward) -> None:
    Image.new("L", (16, 16)).save(ward.root / FIRST_MALIGNANT)


def a_file_that_is_no_image(ward: Ward) -> None:
    (ward.root / "train/malignant/letter.txt").write_text("Dear Mrs Doe")


def an_image_without_a_line(ward: Ward) -> None:
    ward.write_rows([row for row in ward.rows() if row[0] != FIRST_MALIGNANT])


def a_patient_in_both_splits(ward: Ward) -> None:
    ward.write_rows([(file, "train-0-0" if file == "test/benign/0000.png" else name) for file, name in ward.rows()])


def no_manifest(ward: Ward) -> None:
    ward.manifest.unlink()


def no_images_at_all(ward: Ward) -> None:
    shutil.rmtree(ward.root)


UNAVAILABLE: list[Change] = [
    a_corrupt_image,
    an_image_of_another_size,
    a_file_that_is_no_image,
    an_image_without_a_line,
    a_patient_in_both_splits,
    no_manifest,
    no_images_at_all,
]
ALWAYS = on_the_wire(refusal_record("bergen", Code.UNAVAILABLE))


@pytest.mark.parametrize("change", UNAVAILABLE, ids=lambda change: change.__name__)
def test_data_that_cannot_be_read_is_refused_in_the_same_bytes(
    tmp_path: Path, change: Change, caplog: pytest.LogCaptureFixture
) -> None:
    ward = make_ward(tmp_path)
    change(ward)
    assert on_the_wire(ward.answer()) == ALWAYS
    assert [line.split(":")[0] for line in caplog.messages] == ["bergen refuses (unavailable)"], "its own log says why"


FAULTS: dict[str, Exception] = {
    "a full disk": OSError(28, "No space left on device"),
    "no right to read": PermissionError(13, "Permission denied", "/data/DOE_JANE.png"),
    "no memory": MemoryError("cannot allocate 43 images"),
    "a fault in the code": ValueError("class 'malignant' of DOE_JANE"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_the_machine_is_refused_in_the_same_bytes(
    tmp_path: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise fault

    ward = make_ward(tmp_path)
    monkeypatch.setattr(SiteState, "save", fail)
    assert on_the_wire(ward.answer()) == ALWAYS
    assert "DOE_JANE" not in caplog.text


def test_what_the_hospital_decided_is_told_before_its_data_is_read(tmp_path: Path) -> None:
    """Each of these codes is the same whatever the hospital's patients are: the data cannot even be read."""
    ward = make_ward(tmp_path)
    shutil.rmtree(ward.root)
    hospital, good = Hospital(ward.node.folder), ward.ask()

    def code(record: RecordDict) -> Code:
        found = refusal_from_record(hospital.answer(record))
        assert found is not None
        return found[1]

    def changed(**header: Any) -> RecordDict:
        record = ward.ask()
        record["header"].update(header)
        return record

    assert code(RecordDict()) is Code.MESSAGE
    assert code(changed(lr_factor=2.0)) is Code.MESSAGE
    assert code(ward.ask(weights={})) is Code.MESSAGE
    assert code(changed(study_id="0" * 64)) is Code.NOT_APPROVED
    assert code(changed(plan_id="0" * 64)) is Code.PLAN
    assert code(changed(round=5)) is Code.PLAN
    assert code(changed(known_head="0" * 64)) is Code.LEDGER
    policy = ward.node.folder / "policy.yaml"
    text = policy.read_text(encoding="utf-8")
    policy.write_text(text.replace("max_steps: ", "max_steps: 0.5 # "), encoding="utf-8")
    assert code(good) is Code.POLICY
    policy.write_text(text.replace("epsilon: 9.0", "epsilon: 0.1"), encoding="utf-8")
    assert code(good) is Code.BUDGET
    policy.write_text(text, encoding="utf-8")
    ward.node.reject(ward.study, ward.registration, "no longer")
    assert code(good) is Code.NOT_APPROVED


def test_the_check_still_asks_to_register_who_came(tmp_path: Path) -> None:
    ward = make_ward(tmp_path)
    a_patient_came(ward)
    [data] = [check for check in preflight(ward.node.folder) if check.name == "data 'xrays'"]
    assert not data.ok
    assert "holds records that were not registered" in data.finding
    assert "new patient" not in data.finding + data.hint
