"""What leaves a hospital, byte by byte: header and arrays of a reply, and which modules could put more there."""

import ast
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from silogan.client.node.hospital import Hospital
from silogan.common.privacy.statistics import Moments
from silogan.common.wire.envelope import fold
from silogan.common.wire.messages import STATISTICS, Reply, unpack
from tests.attacks.nodes import Ward, make_ward, on_the_wire, weights_for
from tests.plans import phase_and_round

ROOT = Path(__file__).resolve().parents[2] / "silogan"
WARM: dict[str, Any] = {"warm_start": {"noise_multiplier": 2.0, "frequencies": 2, "steps": 2}}


@dataclass(frozen=True)
class Kind:
    """A kind of reply: the training section that asks for it, the round, and the first names of what carries noise."""

    training: dict[str, Any]
    number: int
    noisy: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "warm start": Kind(WARM, 0, (STATISTICS,)),
    "Adam at the site": Kind({}, 1, ("discriminator.", "generator.")),
    "plain steps at the site": Kind({"discriminator_adam": "server"}, 1, ("discriminator.", "generator.")),
    "no generator at the site": Kind(
        {"discriminator_adam": "server", "server_generator_steps": 2}, 1, ("discriminator.",)
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


class Clock(datetime):
    """It is always the same time: the ledger's entries have theirs in them, and its head is a hash of them."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Clock":
        return cls(2026, 3, 3, 14, 2, tzinfo=tz)


def expected_arrays(ward: Ward, number: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every array that a reply may hold, from public values alone."""
    if number:
        sent = weights_for(ward.study).items()
        return {name: (str(tensor.numpy().dtype), tuple(tensor.shape)) for name, tensor in sent}
    settings = ward.study.scenario.training.warm_start
    assert settings is not None
    return {STATISTICS: ("float32", (Moments(ward.study.schema, settings).size,))}


@every_kind
def test_a_reply_holds_its_header_and_the_declared_arrays_and_no_byte_more(tmp_path: Path, kind: Kind) -> None:
    ward = make_ward(tmp_path, **kind.training)
    record = ward.answer(kind.number)
    assert set(record) == {"header", "weights"}
    header, weights = record["header"], record["weights"]
    assert isinstance(header, ConfigRecord)
    assert isinstance(weights, ArrayRecord)
    head = ward.node.ledger(ward.registration).head()
    phase, number = phase_and_round(kind.number)
    assert dict(header) == {"site": "bergen", "phase": phase, "round": number, "ledger_head": head}
    expected = expected_arrays(ward, kind.number)
    assert {name: (array.dtype, tuple(array.shape)) for name, array in weights.items()} == expected
    for array in weights.values():
        assert array.stype == "numpy.ndarray"
        values = array.numpy()
        assert array.data.endswith(values.tobytes())
        assert len(array.data) - values.nbytes == 128  # what `np.save` writes before them, of type and shape
    assert set(fold(record)) == set(record)


def test_no_field_can_be_added_to_a_reply_unseen() -> None:
    assert set(Reply.__dataclass_fields__) == {"site", "phase", "round", "ledger_head"}


@every_kind
def test_hospitals_that_differ_in_a_patient_differ_in_nothing_but_noisy_arrays(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node, copied: the same key, ledger, clock and randomness; in the copy's folder a patient is missing."""
    monkeypatch.setattr("silogan.client.ledger.ledger.datetime", Clock)
    monkeypatch.setattr("os.urandom", lambda size: bytes(range(size % 256)) if size < 256 else bytes(size))
    ward = make_ward(tmp_path, **kind.training)
    copy = tmp_path / "copy"
    shutil.copytree(ward.node.folder, copy)
    whole = ward.answer(kind.number)
    ward.withdraw("train/malignant/0000.png")
    without = Hospital(copy).answer(ward.ask(kind.number))
    assert dict(whole["header"]) == dict(without["header"])
    ours, theirs = arrays(whole), arrays(without)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert (ours[name].dtype, ours[name].shape) == (theirs[name].dtype, theirs[name].shape)
        if not name.startswith(kind.noisy):
            assert ours[name].tobytes() == theirs[name].tobytes(), f"{name} depends on a patient and carries no noise"
    assert len(on_the_wire(whole)) == len(on_the_wire(without))


def arrays(record: RecordDict) -> dict[str, np.ndarray[Any, Any]]:
    weights = record["weights"]
    assert isinstance(weights, ArrayRecord)
    return {name: tensor.numpy() for name, tensor in unpack(weights).items()}


# --- who may hold a patient's tensor, and who may speak to Flower ----------------------------------------------------

HOLDS_PATIENTS = {
    "client/node/hospital.py",  # keeps the images in memory
    "client/node/reading.py",  # reads and registers them
    "client/round.py",  # puts them behind the door
    "client/simulated.py",  # joins reader and round
    "client/training/unprotected.py",  # comparisons without privacy, in simulation
}
"""Modules outside `client/data` that import it. Whatever is added here is added to what a reviewer has to read."""
SPEAKS_FLOWER = {"client/node/hospital.py"}
"""Those of them that also see what leaves, which `client/answer.py` builds of a `Reply` or a `Code`."""


def modules(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (module, *(f"{module}.{alias.name}" for alias in names))
            case _:
                continue


def importing(prefix: str) -> set[str]:
    """Files of the hospital that import a package, given by its name."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "client").rglob("*.py")
        if any(name == prefix or name.startswith(f"{prefix}.") for name in modules(path))
    }


def test_few_modules_hold_patients_and_only_one_of_them_speaks_to_flower() -> None:
    holding = {path for path in importing("silogan.client.data") if not path.startswith("client/data/")}
    assert holding == HOLDS_PATIENTS
    assert holding & importing("flwr") == SPEAKS_FLOWER
    assert {path for path in importing("flwr") if path.startswith("client/data/")} == set()


def test_messages_and_server_import_nothing_that_holds_patients() -> None:
    files = [*(ROOT / "common").rglob("*.py"), *(ROOT / "server").rglob("*.py")]
    assert [path.name for path in files if any(name.startswith("silogan.client") for name in modules(path))] == []
