import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, MessageType, RecordDict
from flwr.common.serde import recorddict_to_proto
from flwr.supercore.task_identity import TaskIdentity

import silogan.client.answer
import silogan.client.simulated
import silogan.common.device
from silogan.client.app import app
from silogan.client.data import DataSet, Records
from silogan.client.simulated import open_ledgers, simulated_site
from silogan.client.training.trainer import SiteTrainer
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
from silogan.common.modality import Data
from silogan.common.modality.image import PIXELS
from silogan.common.progress import Told, read_told
from silogan.common.wire.messages import Instruction, Reply, Weights, pack, unpack
from silogan.common.wire.refusals import refusal_from_record
from silogan.common.wire.run_folder import PARTITION_FILE, PROGRESS_FILE
from silogan.common.wire.study import SiteDeclaration, Study
from tests.plans import phase_and_round

PATIENT = "patient-4711"
MakeStudy = Callable[..., Study]


@pytest.fixture(autouse=True)
def _as_on_a_grid(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    silogan.client.simulated._shared_records.cache_clear()
    yield
    silogan.client.simulated._shared_records.cache_clear()


@pytest.fixture
def study(make_study: MakeStudy, tmp_path: Path) -> Study:
    """Two hospitals whose images lie in a folder that is named after a patient."""
    classes = ["benign", "malignant"]
    study = make_study(
        data={"source": "folder", "root": str(tmp_path / PATIENT), "classes": classes}, sites={"count": 2}
    )
    return replace(study, sites=(SiteDeclaration("north", 40), SiteDeclaration("south", 40)))


@pytest.fixture
def run_dir(study: Study, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "ledgers").mkdir(parents=True)
    study.save(folder)
    open_ledgers(study, folder)
    np.savez(folder / PARTITION_FILE, site_0=np.arange(20), site_1=np.arange(20, 43))
    return folder


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch, study: Study, images: Records) -> list[Data]:
    """Lets the data be read; every time it is, is noted."""
    reads: list[Data] = []

    def read(data: Data) -> DataSet:
        reads.append(data)
        return DataSet(study.schema, images, images)

    monkeypatch.setattr(silogan.client.simulated, "read", read)
    return reads


def message_for(study: Study, weights: Weights, number: int = 1) -> Message:
    instruction = Instruction(study.study_id, study.plan.plan_id, *phase_and_round(number))
    return Message(instruction.to_record(pack(weights)), 1, MessageType.TRAIN)


def context_of(run_dir: Path, index: int = 0) -> Context:
    return Context(1, 1, {"partition-id": index}, RecordDict(), {"run-dir": str(run_dir)})


def refusal_of(message: Message) -> tuple[str, Code]:
    assert not message.has_error()
    refusal = refusal_from_record(message.content)
    assert refusal is not None
    return refusal


def bytes_of(message: Message) -> bytes:
    """What a message's content is on the wire."""
    return recorddict_to_proto(message.content).SerializeToString(deterministic=True)


# --- the round -------------------------------------------------------------------------------------------------------


def test_both_sites_answer_one_shared_message(
    study: Study, run_dir: Path, make_weights: Callable[..., Weights], readable: list[Data]
) -> None:
    message = message_for(study, make_weights(study))
    asked = bytes_of(message)
    replies = [app(message, context_of(run_dir, index)) for index in (0, 1)]
    for name, reply in zip(("north", "south"), replies, strict=True):
        header, weights = Reply.from_record(reply.content)
        assert (header.site, header.round) == (name, 1)
        assert unpack(weights).keys() == make_weights(study).keys()
        assert (run_dir / "ledgers" / f"{name}.sqlite").exists()
    assert bytes_of(message) == asked, "a site changed the message that the others are still to read"
    assert bytes_of(replies[0]) != bytes_of(replies[1])
    assert len(readable) == 1, "the data is held once for all sites of a process"


@pytest.mark.usefixtures("readable")
def test_a_site_tells_its_steps_to_whoever_watches_the_run(
    study: Study, run_dir: Path, make_weights: Callable[..., Weights]
) -> None:
    app(message_for(study, make_weights(study)), context_of(run_dir, 0))
    assert not (run_dir / PROGRESS_FILE).exists()
    (run_dir / PROGRESS_FILE).touch()
    app(message_for(study, make_weights(study)), context_of(run_dir, 1))
    told, _ = read_told(run_dir / PROGRESS_FILE, 0)
    steps = study.plan.training.steps_per_round
    assert {(one.who, one.of) for one in told} == {("site-1", steps)}, "which says nothing of how many records it has"
    assert told[-1] == Told("", "", steps, steps, 1.0, "site-1")


@pytest.mark.parametrize(("cores", "threads"), [(8, 4), (3, 1), (1, 1)])
def test_sites_share_the_cores(
    study: Study,
    run_dir: Path,
    make_weights: Callable[..., Weights],
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    threads: int,
) -> None:
    monkeypatch.setattr(silogan.common.device, "available_cores", lambda: cores)
    app(message_for(study, make_weights(study)), context_of(run_dir, 0))
    assert torch.get_num_threads() == threads


def test_site_of_a_simulation_reads_its_own_images_only(
    study: Study, run_dir: Path, images: Records, readable: list[Data]
) -> None:
    north, south = (simulated_site(study, run_dir, index) for index in (0, 1))
    assert (north.name, south.name) == ("north", "south")
    assert (north.declared_size, north.study) == (40, study)
    assert north.ledger_path != south.ledger_path
    assert north.state_folder != south.state_folder
    assert readable == []
    assert north.read_records().stored[PIXELS].equal(images.stored[PIXELS][:20])
    assert south.read_records().labels.equal(images.labels[20:])


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError, Code.UNAVAILABLE),
        (ConfigError, Code.UNAVAILABLE),
        (DataError, Code.UNAVAILABLE),
        (PrivacyRefusal, Code.PLAN),
        (VerificationError, Code.LEDGER),
        (FederationError, Code.UNAVAILABLE),
    ],
)
def test_error_that_a_user_can_mend_becomes_a_code_and_its_words_stay_in_the_log(
    study: Study,
    run_dir: Path,
    make_weights: Callable[..., Weights],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[SiloganError],
    code: Code,
) -> None:
    def fail(*args: Any) -> None:
        raise error("the thing", "is wrong", "mend it")

    monkeypatch.setattr(silogan.client.answer, "run_round", fail)
    answer = app(message_for(study, make_weights(study)), context_of(run_dir, 1))
    assert refusal_of(answer) == ("south", code)
    assert b"wrong" not in bytes_of(answer)
    assert caplog.messages == [f"south refuses ({code}): the thing: is wrong; mend it"]


def test_refusal_for_privacy_travels(study: Study, run_dir: Path, make_weights: Callable[..., Weights]) -> None:
    answer = app(message_for(study, make_weights(study), number=5), context_of(run_dir))
    assert refusal_of(answer) == ("north", Code.PLAN)


class ThirdPartyError(Exception):
    """An error of some library, with data in its text."""


LEAKS: list[Callable[[], BaseException]] = [
    lambda: ValueError(f"cannot decode /data/{PATIENT}.png"),
    lambda: KeyError(PATIENT),
    lambda: RuntimeError(PATIENT, {"label": PATIENT}),
    lambda: ThirdPartyError(f"{PATIENT}: 43 images"),
    lambda: UnicodeDecodeError("utf-8", PATIENT.encode(), 0, 1, PATIENT),
    lambda: ExceptionGroup(PATIENT, [ValueError(PATIENT)]),
    lambda: sqlite3.OperationalError(PATIENT),
    lambda: OSError(PATIENT),
    lambda: OSError(28, PATIENT),
    lambda: OSError(28, "No space left on device", f"/data/{PATIENT}.png"),
    lambda: OSError(PATIENT, PATIENT),
    lambda: FileNotFoundError(2, f"no {PATIENT}", f"/data/{PATIENT}.png"),
    lambda: PermissionError(13, "Permission denied", f"/data/{PATIENT}.png"),
]


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: repr(leak()))
@pytest.mark.parametrize("where", ["read", "train"])
def test_text_of_an_unforeseen_error_does_not_leave(
    study: Study,
    run_dir: Path,
    make_weights: Callable[..., Weights],
    readable: list[Data],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
    leak: Callable[[], Exception],
) -> None:
    def fail(*args: Any) -> Any:
        try:
            raise ValueError(PATIENT)
        except ValueError as cause:
            raise leak() from cause

    if where == "read":
        monkeypatch.setattr(silogan.client.simulated, "read", fail)
    else:
        monkeypatch.setattr(SiteTrainer, "run", fail)
    reply = app(message_for(study, make_weights(study)), context_of(run_dir))
    assert refusal_of(reply) == ("north", Code.UNAVAILABLE)
    assert PATIENT.encode() not in bytes_of(reply)
    [line] = caplog.messages
    assert PATIENT not in line
    assert type(leak()).__name__ in line
    assert "\n" not in line


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + PATIENT.encode()], ids=["empty", "corrupt"])
@pytest.mark.parametrize("suffix", [".png", ".dcm", ".nii.gz"])
def test_name_and_content_of_an_unreadable_image_do_not_leave(
    study: Study, run_dir: Path, make_weights: Callable[..., Weights], content: bytes, suffix: str
) -> None:
    root = study.scenario.data.root
    assert root is not None
    for split in ("train", "test"):
        for name in ("benign", "malignant"):
            (root / split / name).mkdir(parents=True)
            (root / split / name / f"{PATIENT}{suffix}").write_bytes(content)
    reply = app(message_for(study, make_weights(study)), context_of(run_dir))
    assert refusal_of(reply) == ("north", Code.UNAVAILABLE)
    assert PATIENT.encode() not in bytes_of(reply)


@pytest.mark.parametrize("content", [RecordDict(), None], ids=["empty", "weights only"])
def test_malformed_message_is_refused(
    study: Study, run_dir: Path, make_weights: Callable[..., Weights], content: RecordDict | None
) -> None:
    record = RecordDict({"weights": pack(make_weights(study))}) if content is None else content
    answer = app(Message(record, 1, MessageType.TRAIN), context_of(run_dir))
    assert refusal_of(answer) == ("site-0", Code.MESSAGE)  # who it is depends on the study, which is not known


@pytest.mark.parametrize(
    ("node_config", "folder"),
    [({}, "run"), ({"partition-id": 9}, "run"), ({"partition-id": "x"}, "run"), ({"partition-id": 0}, "missing")],
    ids=["no site", "no such site", "not a number", "no run"],
)
def test_site_that_is_not_set_up_is_a_refusal(
    study: Study,
    run_dir: Path,
    make_weights: Callable[..., Weights],
    node_config: dict[str, Any],
    folder: str,
) -> None:
    context = Context(1, 1, node_config, RecordDict(), {"run-dir": str(run_dir.parent / folder)})
    site, code = refusal_of(app(message_for(study, make_weights(study)), context))
    assert site.startswith("site-")
    assert code is Code.UNAVAILABLE
