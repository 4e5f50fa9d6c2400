"""One of four hospitals sends poison to a real federation: it is put in quarantine, the others' result is theirs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, Message

from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.wire.messages import Instruction, Reply, Weights, unpack
from silogan.common.wire.run_folder import QUARANTINE_FILE
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import read_events
from silogan.server.rounds.quarantine import Quarantine
from silogan.simulations.engines import inprocess
from silogan.simulations.prepare import prepare

SITES = 4
POISONED = 3  # the index of site-4
SCENARIO: dict[str, Any] = {
    "name": "poisoned",
    "seed": 5,
    "data": {"source": "digits"},
    "sites": {"count": SITES},
    "model": {"latent_dim": 8, "width": 8},
    "training": {"rounds": 4, "local_steps": 4, "sample_rate": 0.05, "d_steps_per_g_step": 2, "device": "cpu"},
    "privacy": {"epsilon": 50.0, "delta": 1e-4, "noise_multiplier": 1.0},
    "federation": {"min_cosine": 0.0},
    "evaluation": {"enabled": False},
}
Poison = Callable[[int, Weights, Weights], Weights]
"""The round, the weights that were sent out and those that came of them -> what the site sends."""


def poison(number: int, sent: Weights, trained: Weights) -> Weights:
    """Not a number; what was sent out; an update turned round."""
    if number == 1:
        return {name: tensor * torch.nan for name, tensor in trained.items()}
    if number == 2:
        return sent
    return {name: 2 * sent[name] - tensor for name, tensor in trained.items()}


def away(*_: object) -> Weights:
    raise ConnectionError


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, scenario: Scenario, dishonest: Poison) -> Checkpoint:
    """Runs the study in this process; site-4 trains as the others do and then replies as `dishonest` says."""
    app = inprocess.client_app

    def client(message: Message, context: Context) -> Message:
        reply = app(message, context)
        if context.node_config["partition-id"] != POISONED:
            return reply
        instruction, sent = Instruction.from_record(message.content)
        header, trained = Reply.from_record(reply.content)
        weights = dishonest(instruction.round, unpack(sent), unpack(trained))
        return Message(header.to_record(weights), reply_to=message)

    prepare(scenario, folder)
    with monkeypatch.context() as patch:
        patch.setattr(inprocess, "client_app", client)
        inprocess.run(folder, num_sites=SITES, workers=2)
    checkpoint = Checkpoint.latest(folder)
    assert checkpoint is not None
    return checkpoint


def test_a_poisoned_site_ends_in_quarantine_and_the_others_average_is_theirs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = parse_scenario(SCENARIO)
    poisoned = run(tmp_path / "poisoned", monkeypatch, scenario, poison)
    without = run(tmp_path / "without", monkeypatch, scenario, away)

    events = read_events(tmp_path / "poisoned")
    assert [event["sites_replied"] for event in events] == [3, 3, 3, 3]
    whys = [[entry["why"] for entry in event["sites_refused"]] for event in events]
    for [why], words in zip(whys[:3], ("is not finite", "repeats weights", "points away from the other"), strict=True):
        assert words in why
    assert whys[3] == []
    assert [event["quarantined"] for event in events] == [[], [], ["site-4"], ["site-4"]]
    assert Quarantine(tmp_path / "poisoned" / QUARANTINE_FILE, after=3).violations() == {"site-4": 3}
    assert not (tmp_path / "without" / QUARANTINE_FILE).exists()

    assert poisoned.round == without.round == 4
    for ours, theirs in ((poisoned.weights, without.weights), (poisoned.ema, without.ema)):
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_nobody_offends_among_honest_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch, parse_scenario(SCENARIO), lambda _, __, trained: trained)
    assert [event["sites_replied"] for event in read_events(tmp_path)] == [4, 4, 4, 4]
    assert not (tmp_path / QUARANTINE_FILE).exists()
