"""Row 10, second half: images of a patient who had withdrawn stayed in the node's memory, and in training, for ever."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import RecordDict
from PIL import Image

from silogan.client.data.stamp import stamp
from silogan.client.node.hospital import Hospital
from silogan.client.node.reading import read_registered
from silogan.common.modality.image import PIXELS
from silogan.common.wire.messages import Reply
from silogan.common.wire.refusals import refusal_from_record
from tests.attacks.nodes import Ward, make_ward

FILE = "train/malignant/0000.png"


def pixels_of(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


def in_memory(hospital: Hospital) -> set[bytes]:
    """Every image that the node holds between two instructions."""
    return {image.numpy().tobytes() for held in hospital._held.values() for image in held.records.stored[PIXELS]}


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return make_ward(tmp_path)


@pytest.fixture
def hospital(ward: Ward) -> Hospital:
    """A node that has answered a round."""
    hospital = Hospital(ward.node.folder)
    assert refusal_from_record(hospital.answer(ward.ask(1))) is None
    return hospital


def test_a_withdrawn_patient_is_gone_with_the_next_round(ward: Ward, hospital: Hospital) -> None:
    picture = pixels_of(ward.root / FILE)
    assert picture in in_memory(hospital)
    assert len(in_memory(hospital)) == 40
    ward.withdraw(FILE)
    reply, _ = Reply.from_record(hospital.answer(ward.ask(2)))
    assert reply.round == 2
    assert picture not in in_memory(hospital)
    assert len(in_memory(hospital)) == 39


@pytest.mark.parametrize("asked", ["another study", "the round before"])
def test_it_is_gone_with_the_next_instruction_whatever_that_asks_for(
    ward: Ward, hospital: Hospital, asked: str
) -> None:
    record = ward.ask(1)
    if asked == "another study":
        record["header"].update({"study_id": "0" * 64})
    ward.withdraw(FILE)
    assert isinstance(hospital.answer(record), RecordDict)
    assert in_memory(hospital) == set()


def test_as_long_as_nothing_changes_the_data_is_read_once(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    def read(*args: object) -> object:
        reads.append(1)
        return read_registered(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("silogan.client.node.hospital.read_registered", read)
    hospital = Hospital(ward.node.folder)
    for number in (1, 2, 3):
        assert refusal_from_record(hospital.answer(ward.ask(number))) is None
    assert len(reads) == 1


def gone(ward: Ward) -> None:
    (ward.root / FILE).unlink()


def renamed(ward: Ward) -> None:
    (ward.root / FILE).rename(ward.root / "train/malignant/other.png")


def came(ward: Ward) -> None:
    shutil.copy(ward.root / FILE, ward.root / "train/benign/new.png")


def written_with_its_old_size_and_time(ward: Ward) -> None:
    path = ward.root / FILE
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_owner_in_the_manifest(ward: Ward) -> None:
    ward.write_rows([(file, name if file != FILE else "train-0-0") for file, name in ward.rows()])


CHANGES = [gone, renamed, came, written_with_its_old_size_and_time, another_owner_in_the_manifest]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_of_the_files_is_seen(ward: Ward, change: Callable[[Ward], None]) -> None:
    before = stamp(ward.registration.data)
    assert stamp(ward.registration.data) == before
    change(ward)
    assert stamp(ward.registration.data) != before
