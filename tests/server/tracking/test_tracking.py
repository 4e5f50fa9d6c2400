"""What trackers get of a run, read back without them."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from silogan.cli import FormName
from silogan.common.errors import ConfigError, DataError
from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.wire.study import Study
from silogan.server.rounds.events import ANSWERED, ASKED, append_event, phase_event
from silogan.server.tracking import FORMS, track
from silogan.server.tracking.tensorboard import _checksum
from silogan.server.tracking.tracked import tracked

STARTED = 1_000_000.0
ROUND = {
    "event": "round",
    "rounds": 2,
    "seconds": 2.0,
    "sites_replied": 3,
    "sites_refused": [{"site": "north", "why": "secret"}],
    "quarantined": [],
    "epsilon": {"min": 0.5, "max": 1.5},
    "fake_accuracy": 0.25,
    "rolled_back": True,
}
NAMES = {"seconds", "sites_replied", "sites_refused", "quarantined", "epsilon.min", "epsilon.max", "fake_accuracy"}
PHASE = {"means.answered.seconds", "means.answered.sites_replied"}


@pytest.fixture
def run(study: Study, run_dir: Path) -> Path:
    """A run with a phase and two rounds, begun at `STARTED`."""
    study.save(run_dir)
    os.utime(run_dir / RUN_FILE, (STARTED, STARTED))
    append_event(run_dir, phase_event("means", ASKED, 0, 0.0))
    append_event(run_dir, phase_event("means", ANSWERED, 3, 4.0))
    for number in (1, 2):
        append_event(run_dir, ROUND | {"round": number})
    return run_dir


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message by their numbers."""
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(message):
        field, kind = divmod(varint(), 8)
        size = {0: 0, 1: 8, 5: 4}.get(kind)
        if size == 0:
            yield field, varint()
            continue
        size = varint() if size is None else size
        content = message[at : at + size]
        at += size
        yield field, content if kind == 2 else struct.unpack("<d" if kind == 1 else "<f", content)[0]


def events_in(folder: Path) -> list[dict[int, Any]]:
    """The events of TensorBoard's one file in a folder, with their checksums checked."""
    [path] = folder.iterdir()
    content, found = path.read_bytes(), []
    while content:
        length, sum_of_length, content = content[:8], content[8:12], content[12:]
        size = int.from_bytes(length, "little")
        event, sum_of_event, content = content[:size], content[size : size + 4], content[size + 4 :]
        assert (sum_of_length, sum_of_event) == (_checksum(length), _checksum(event))
        found.append(dict(fields(event)))
    return found


def test_metrics_are_the_numbers_of_the_events_at_their_time(run: Path) -> None:
    found = tracked(run)
    assert {metric.name for metric in found.metrics if metric.step == 0} == PHASE
    assert {metric.name for metric in found.metrics if metric.step == 2} == NAMES
    assert [m for m in found.metrics if m.name == "epsilon.max"] == [
        ("epsilon.max", 1, STARTED + 6, 1.5),
        ("epsilon.max", 2, STARTED + 8, 1.5),
    ]
    assert [m.value for m in found.metrics if m.name == "sites_refused"] == [1, 1]
    assert found.ended == STARTED + 8


def test_mlflow_has_an_experiment_for_the_study_and_a_file_for_each_metric(
    run: Path, study: Study, tmp_path: Path
) -> None:
    out = tmp_path / "mlruns"
    assert track(run, "mlflow", out).startswith("16 values of 9 metrics in ")
    [experiment] = out.iterdir()
    about = yaml.safe_load((experiment / "meta.yaml").read_text())
    assert (about["name"], about["experiment_id"]) == (study.scenario.name, experiment.name)
    [folder] = (path for path in experiment.iterdir() if path.is_dir())
    about = yaml.safe_load((folder / "meta.yaml").read_text())
    assert about["run_id"] == folder.name
    assert (about["start_time"], about["end_time"]) == (1000 * STARTED, 1000 * (STARTED + 8))
    assert {path.name for path in (folder / "metrics").iterdir()} == NAMES | PHASE
    assert (folder / "metrics" / "epsilon.max").read_text() == "1000006000 1.5 1\n1000008000 1.5 2\n"
    assert not any("secret" in path.read_text() for path in out.rglob("*") if path.is_file())


def test_tensorboard_has_a_file_of_events(run: Path, tmp_path: Path) -> None:
    track(run, "tensorboard", tmp_path / "logs")
    [folder] = (tmp_path / "logs").iterdir()
    first, *events = events_in(folder)
    assert first == {1: STARTED, 3: b"brain.Event:2"}
    found = [
        (value[1].decode(), event[2], event[1], value[2]) for event in events for value in [values_of(event)] if value
    ]
    expected = [(m.name.replace(".", "/"), m.step, m.time, m.value) for m in tracked(run).metrics]
    assert found == expected


def values_of(event: dict[int, Any]) -> dict[int, Any]:
    """The one value of an event's summary."""
    return dict(fields(dict(fields(event[5]))[1]))


def test_the_checksum_is_that_of_castagnoli() -> None:
    crc = (int.from_bytes(_checksum(b"123456789"), "little") - 0xA282EAD8) & 0xFFFFFFFF
    assert (crc << 15 | crc >> 17) & 0xFFFFFFFF == 0xE3069283  # the usual check value of CRC-32C


@pytest.mark.parametrize("form", FORMS)
def test_a_run_that_goes_on_is_written_over(run: Path, tmp_path: Path, form: str) -> None:
    track(run, form, tmp_path / "out")
    before = sorted((tmp_path / "out").rglob("*"))
    append_event(run, ROUND | {"round": 3})
    assert track(run, form, tmp_path / "out").startswith("23 values")
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_a_name_that_is_no_files_name_is_left_out(run: Path, tmp_path: Path) -> None:
    append_event(run, {"event": "round", "round": 3, "../../x": 1, "/x": 1, "": 1, "ok": 1, "a": {"..": 1, "b": 1}})
    append_event(run, phase_event("../y", ANSWERED, 3, 4.0))
    assert {metric.name for metric in tracked(run).metrics} == NAMES | PHASE | {"ok", "a.b"}


def test_the_command_line_offers_every_form() -> None:
    assert {form.value for form in FormName} == {*FORMS}


def test_what_is_wrong_is_told_in_one_line(study: Study, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'mlflow'"):
        track(run, "mlflo", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"has no readable run\.yaml"):
        track(tmp_path / "nothing", "mlflow", tmp_path / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    study.save(empty)
    with pytest.raises(DataError, match="has no events yet"):
        track(empty, "mlflow", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--out .*file: cannot be written"):
        track(run, "tensorboard", tmp_path / "file")
