"""A hospital on its own disk, and what may be asked of it and done to it.

The steps cost what the accountants are quickest with: σ = 10 and every record in each batch.
"""

import multiprocessing
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from silogan.client.data import Records
from silogan.client.ledger.audit import audit
from silogan.client.ledger.ledger import Ledger
from silogan.client.ledger.policy import template
from silogan.client.node.hospital import site_of
from silogan.client.node.node import Node
from silogan.client.round import Site, run_round
from silogan.client.training.trainer import SiteTrainer
from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import PrivacyRefusal, SiloganError
from silogan.common.modality.image_options import Digits
from silogan.common.models.networks import build, initialise
from silogan.common.models.weights import weights_of
from silogan.common.privacy.accounting import Mechanism, epsilon, epsilon_filtered, filter_order
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.messages import Instruction, Reply, Weights
from silogan.common.wire.study import SiteDeclaration, Study
from tests.plans import phase_and_round

SERVER, SITE = "coordinator.example.org", "bergen"
DELTA, SIGMA, RATE = 1e-4, 10.0, 1.0
STEPS, ROUNDS, BUDGET = 2, 4, 8.0
BUDGET_OF_TWO = 1.2
"""A budget that pays for five rounds of two studies together."""
DECLARED_SIZE = 100
DIGITS = Digits(test_fraction=0.9)


def cost(steps: int) -> float:
    """ε of so many steps of the study."""
    return epsilon([Mechanism(SIGMA, RATE, steps)], DELTA)


def budget_for(rounds: int) -> float:
    """A budget that pays for so many rounds and for half of another one."""
    return (cost(rounds * STEPS) + cost((rounds + 1) * STEPS)) / 2


def together(steps: int) -> float:
    """The same where they are of several studies."""
    return epsilon_filtered([Mechanism(SIGMA, RATE, steps)], DELTA, filter_order(BUDGET_OF_TWO, DELTA))


def policy_text(**changes: Any) -> str:
    """The policy that `silogan node init` writes, after the hospital's engineer has edited it."""
    values: dict[str, Any] = yaml.safe_load(template(epsilon=BUDGET, delta=DELTA, unit="record"))
    return yaml.safe_dump({**values, "max_sample_rate": 1.0, "servers": [SERVER], **changes})


def ask(study: Study, number: int = 1, **changes: Any) -> Instruction:
    """What a coordinator sends for a round of the study."""
    return replace(Instruction(study.study_id, study.plan.plan_id, *phase_and_round(number)), **changes)


def make_weights(study: Study) -> Weights:
    """What a coordinator begins with."""
    gan = build(study.scenario.model, study.schema)
    initialise(gan, torch.Generator().manual_seed(0))
    return weights_of(gan)


@dataclass
class Hospital:
    """A node, and the cohort that its studies are about."""

    node: Node
    cohort: str

    @property
    def path(self) -> Path:
        """The cohort's ledger."""
        return self.node.folder / "ledgers" / f"{self.cohort}.sqlite"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.path, self.node.key)

    def kinds(self) -> list[str]:
        """What was done since the ledger was opened."""
        return [entry.content["kind"] for entry in self.ledger.entries()][1:]

    def write_policy(self, **changes: Any) -> None:
        (self.node.folder / "policy.yaml").write_text(policy_text(**changes), encoding="utf-8")

    def study(self, name: str = "study", *, seed: int | None = None, rounds: int = ROUNDS, **privacy: Any) -> Study:
        """A study in memory, as a coordinator would propose it."""
        registration = self.node.register.get(self.cohort)
        training = {"rounds": rounds, "local_steps": STEPS, "sample_rate": RATE, "generator_batch_size": 4}
        budget = {"epsilon": BUDGET, "delta": DELTA, "noise_multiplier": SIGMA}
        scenario = parse_scenario(
            {
                "name": name,
                "seed": seed,
                "model": {"latent_dim": 4, "width": 2},
                "training": {**training, "d_steps_per_g_step": 2, "device": "cpu"},
                "privacy": {**budget, **privacy},
            }
        )
        roster = (SiteDeclaration(registration.site, registration.declared_size),)
        return Study(scenario, registration.schema, make_plan(scenario, registration.unit), roster)

    def approve(self, study: Study, **options: Any) -> None:
        self.node.approve(study, self.node.register.get(self.cohort), server=SERVER, **options)

    def site(self, study: Study) -> Site:
        return site_of(self.node, study.study_id, self.node.register.get(self.cohort))

    def round(self, study: Study, number: int = 1, **changes: Any) -> Reply:
        """One round of an approved study."""
        return self.round_of(self.site(study), number, **changes)

    @staticmethod
    def round_of(site: Site, number: int = 1, **changes: Any) -> Reply:
        """One round as the site's own software does it, be it approved or not."""
        return run_round(site, ask(site.study, number, **changes), make_weights(site.study))[0]

    def run_folder(self, study: Study, folder: Path, *, head: str, rounds: int) -> Path:
        """What a coordinator would know of the hospital, beside its key and a copy of its ledger."""
        # Imported here: only the tests that run the command line need the server's side.
        from silogan.server.rounds.checkpoint import Checkpoint  # noqa: PLC0415

        for name in ("ledgers", "checkpoints"):
            (folder / name).mkdir(parents=True)
        study.save(folder)
        weights = make_weights(study)
        Checkpoint(study.study_id, rounds, weights, weights, ledger_heads={SITE: head}).save(folder)
        (folder / "ledgers" / f"{SITE}.sqlite").write_bytes(self.path.read_bytes())
        key = folder / "ledgers" / f"{SITE}.key"
        key.touch(mode=0o600)
        key.write_bytes((self.node.folder / "site.key").read_bytes())
        return folder


# --- watching --------------------------------------------------------------------------------------------------------


@dataclass
class Watched:
    """What happened meanwhile: "read" the data, or "trained" on it."""

    events: list[str] = field(default_factory=list[str])

    def site(self, site: Site) -> Site:
        """The same site; reading its images is an event."""

        def read() -> Records:
            self.events.append("read")
            return site.read_records()

        return replace(site, read_records=read)


@contextmanager
def watched() -> Iterator[Watched]:
    """Notes each training of any site."""
    seen, run = Watched(), SiteTrainer.run

    def trained(trainer: SiteTrainer, steps: int, lr_factor: float) -> None:
        seen.events.append("trained")
        run(trainer, steps, lr_factor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SiteTrainer, "run", trained)
        yield seen


def assert_one_line(error: SiloganError) -> None:
    assert "\n" not in str(error)
    assert error.thing
    assert error.problem
    assert error.hint


def assert_refused(
    hospital: Hospital,
    request: Callable[[Watched], object],
    error: type[SiloganError] = PrivacyRefusal,
    *,
    match: str | None = None,
    written: bool = True,
) -> None:
    """The request fails in one line before data is read; nothing is charged, and the refusal is on record."""
    before = len(hospital.ledger.entries()) if written else 0
    with watched() as seen, pytest.raises(error, match=match) as caught:
        request(seen)
    assert seen.events == []
    assert_one_line(caught.value)
    if written:
        added = [entry.content for entry in hospital.ledger.entries()[before:]]
        assert [content["kind"] for content in added if content["kind"] != "policy"] == ["refuse"]
        assert added[-1]["reason"] == str(caught.value)
        assert_clean(hospital)


def assert_clean(hospital: Hospital) -> None:
    """An auditor who has the site's public key finds nothing."""
    assert audit(hospital.path, public_key=hospital.node.key.public).findings == ()


# --- other processes -------------------------------------------------------------------------------------------------

forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def in_processes(*works: Callable[[], int]) -> list[int]:
    """Runs each in a forked process, all at once; their exit codes, negative for the signal that ended one."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(len(works))

    def run(work: Callable[[], int]) -> None:
        start.wait()
        os._exit(work())

    processes = [context.Process(target=run, args=(work,)) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode if process.exitcode is not None else 255 for process in processes]


# --- tampering -------------------------------------------------------------------------------------------------------


def tamper(path: Path, *statements: str) -> None:
    """What somebody with the file can do: first the triggers go."""
    db = sqlite3.connect(path)
    for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
