"""A checkpoint is whole or refused, and holds all that is needed to go on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from silogan.common.errors import VerificationError
from silogan.common.wire.run_folder import CHECKPOINT_FOLDER
from silogan.server.fitting.release import Released
from silogan.server.rounds.checkpoint import Checkpoint

WEIGHTS = {"generator.w": torch.arange(6.0).reshape(2, 3), "discriminator.b": torch.tensor([-0.0, 1e-40])}
CHECKPOINT = Checkpoint(
    study_id="study",
    round=7,
    weights=WEIGHTS,
    ema={"generator.w": torch.full((2, 3), 0.1)},
    training_seconds=12.5,
    event={"event": "round", "round": 7, "epsilon": {"min": 1.5, "max": 1.5}, "why": "Süd"},
    ledger_heads={"north": "ab" * 32, "south": ""},
)


def files(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / CHECKPOINT_FOLDER).iterdir())


def newest(run_dir: Path) -> Path:
    return run_dir / CHECKPOINT_FOLDER / files(run_dir)[-1]


def test_it_is_read_back_as_it_was_saved(run_dir: Path) -> None:
    CHECKPOINT.save(run_dir)
    read = Checkpoint.latest(run_dir)
    assert read is not None
    for saved, found in ((CHECKPOINT.weights, read.weights), (CHECKPOINT.ema, read.ema)):
        assert found.keys() == saved.keys()
        assert all(found[name].numpy().tobytes() == saved[name].numpy().tobytes() for name in saved)
    assert replace(read, weights={}, ema={}) == replace(CHECKPOINT, weights={}, ema={})


def test_what_hospitals_released_is_kept_apart_where_it_was(run_dir: Path) -> None:
    together = Released(torch.tensor([1.0, 2.0]).double(), 3)
    apart = Released(torch.tensor([3.0]).double(), 2, {"st. olav": torch.tensor([1.0]), "oslo": torch.tensor([2.0])})
    replace(CHECKPOINT, released={"singles": together, "pairs": apart}).save(run_dir)
    read = Checkpoint.latest(run_dir)
    assert read is not None
    assert read.released.keys() == {"singles", "pairs"}
    assert (read.released["singles"].sites, read.released["singles"].apart) == (3, {})
    assert read.released["pairs"].apart == apart.apart
    assert read.weights.keys() == WEIGHTS.keys()


def test_a_run_without_one_has_none(run_dir: Path, tmp_path: Path) -> None:
    assert Checkpoint.latest(run_dir) is None
    assert Checkpoint.latest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("tensor", [torch.arange(6.0), torch.arange(6.0).reshape(3, 2).T], ids=["plain", "transposed"])
def test_average_and_weights_may_be_the_same_tensors_in_any_layout(run_dir: Path, tensor: torch.Tensor) -> None:
    shared = {"generator.w": tensor}
    replace(CHECKPOINT, weights=shared, ema=shared).save(run_dir)
    read = Checkpoint.latest(run_dir)
    assert read is not None
    assert torch.equal(read.weights["generator.w"], shared["generator.w"])
    assert torch.equal(read.ema["generator.w"], shared["generator.w"])


def test_the_last_two_are_kept(run_dir: Path) -> None:
    for number in (8, 9, 10, 11):
        replace(CHECKPOINT, round=number).save(run_dir)
    assert files(run_dir) == ["round-000010.safetensors", "round-000011.safetensors"]
    read = Checkpoint.latest(run_dir)
    assert read is not None
    assert read.round == 11


def test_a_failing_disk_costs_neither_the_old_ones_nor_leaves_half_a_file(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        replace(CHECKPOINT, round=number).save(run_dir)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        replace(CHECKPOINT, round=3).save(run_dir)
    assert files(run_dir) == ["round-000001.safetensors", "round-000002.safetensors"]
    read = Checkpoint.latest(run_dir)
    assert read is not None
    assert read.round == 2


def test_what_a_killed_writer_left_is_no_checkpoint(run_dir: Path) -> None:
    CHECKPOINT.save(run_dir)
    (run_dir / CHECKPOINT_FOLDER / ".round-000008.safetensors.123.tmp").write_bytes(b"half")
    read = Checkpoint.latest(run_dir)
    assert read is not None
    assert read.round == 7


HEADER = {"study_id": "study", "round": 7, "training_seconds": 0.0, "event": {}, "ledger_heads": {}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"\xff" * 100,
        save(WEIGHTS),
        save(WEIGHTS, metadata={"silogan": "{"}),
        save(WEIGHTS, metadata={"silogan": "[]"}),
        save(WEIGHTS, metadata={"silogan": "null"}),
        save(WEIGHTS, metadata={"silogan": json.dumps({**HEADER, "extra": 1})}),
        save(WEIGHTS, metadata={"silogan": json.dumps({"round": 7})}),
        save(WEIGHTS, metadata={"silogan": json.dumps(HEADER)})[:-1],
        save(WEIGHTS, metadata={"silogan": json.dumps(HEADER)})[:40],
    ],
    ids=lambda content: f"{len(content)} bytes",
)
def test_a_damaged_one_is_named_and_can_be_deleted(run_dir: Path, content: bytes) -> None:
    for number in (6, 7):
        replace(CHECKPOINT, round=number).save(run_dir)
    newest(run_dir).write_bytes(content)
    with pytest.raises(VerificationError) as caught:
        Checkpoint.latest(run_dir)
    assert str(caught.value) == (
        "checkpoint 'round-000007.safetensors': is damaged; delete it to continue from the previous one"
    )
    newest(run_dir).unlink()
    read = Checkpoint.latest(run_dir)
    assert read is not None
    assert read.round == 6


def test_a_folder_in_its_place_is_named(run_dir: Path) -> None:
    (run_dir / CHECKPOINT_FOLDER / "round-000009.safetensors").mkdir()
    with pytest.raises(VerificationError, match="round-000009"):
        Checkpoint.latest(run_dir)
