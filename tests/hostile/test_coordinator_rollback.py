"""A coordinator that goes back by a round: hospitals answer from their disks, and nothing is charged or drawn again."""

import sqlite3
from pathlib import Path

import pytest
import torch

from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import PrivacyRefusal, VerificationError
from silogan.common.wire.run_folder import CHECKPOINT_FOLDER, EVENTS_FILE
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import read_events
from silogan.simulations.engines.inprocess import run
from silogan.simulations.prepare import prepare

SITES = 2
SCENARIO = {
    "name": "tiny",
    "seed": None,  # a hospital's randomness: a round that is computed again would come out otherwise
    "data": {"source": "digits"},
    "sites": {"count": SITES},
    "model": {"family": "dcgan", "latent_dim": 8, "width": 8},
    "training": {"rounds": 3, "local_steps": 2, "sample_rate": 0.05, "device": "cpu"},
    "privacy": {"epsilon": 50, "delta": 1e-4, "noise_multiplier": 1.0},
    "evaluation": {"enabled": False},
}
pytestmark = pytest.mark.usefixtures("threads_kept")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run of three rounds to its end."""
    folder = tmp_path / "run"
    prepare(parse_scenario(SCENARIO), folder)
    train(folder)
    return folder


def train(folder: Path) -> None:
    run(folder, num_sites=SITES, workers=SITES)


def checkpoint(folder: Path, number: int) -> Path:
    return folder / CHECKPOINT_FOLDER / f"round-{number:06d}.safetensors"


def entries(folder: Path, kind: str = "reserve") -> list[int]:
    """How many entries of a kind each site's ledger holds."""
    counts: list[int] = []
    for path in sorted((folder / "ledgers").glob("*.sqlite")):
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            question = "SELECT count(*) FROM entries WHERE json_extract(body, '$.kind') = ?"
            counts.append(database.execute(question, (kind,)).fetchone()[0])
        finally:
            database.close()
    return counts


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = Checkpoint.latest(folder)
    assert found is not None
    assert found.round == 3
    return {name: tensor.clone() for name, tensor in found.weights.items()}  # the file is mapped, and changes


@pytest.mark.parametrize("damage", ["damaged", "missing"])
def test_the_round_before_leads_to_the_same_weights_at_no_cost(finished: Path, damage: str) -> None:
    before, spent = weights(finished), entries(finished)
    assert spent == [3] * SITES
    if damage == "damaged":
        checkpoint(finished, 3).write_bytes(checkpoint(finished, 3).read_bytes()[:-1] + b"\x00")
    else:
        checkpoint(finished, 3).unlink()
    train(finished)
    after = weights(finished)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [event["round"] for event in read_events(finished)] == [1, 2, 3]
    assert (entries(finished), entries(finished, "settle")) == (spent, spent)


def test_without_a_checkpoint_nobody_is_asked(finished: Path) -> None:
    for number in (2, 3):
        checkpoint(finished, number).unlink()
    with pytest.raises(VerificationError, match="hospitals answer each round only once"):
        train(finished)
    assert entries(finished) == [3] * SITES


def test_a_coordinator_that_forgets_everything_is_refused(finished: Path) -> None:
    """Checkpoints and events are gone: it begins with fresh weights, for which no hospital answers round 1 again."""
    for number in (2, 3):
        checkpoint(finished, number).unlink()
    (finished / EVENTS_FILE).unlink()
    with pytest.raises(PrivacyRefusal):
        train(finished)
    assert entries(finished) == [3] * SITES
    assert entries(finished, "refuse") != [0] * SITES
