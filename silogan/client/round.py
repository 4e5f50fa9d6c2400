"""One round at one site: check the plan, reserve, train, settle, reply."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from silogan.client.data import Records
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.ledger import Charge, Ledger
from silogan.client.ledger.policy import Policy
from silogan.client.mechanism import Patients, Randomness, Terms
from silogan.client.state import RoundState, SiteState, request_key
from silogan.client.training.isolation import check_isolation, check_statistic
from silogan.client.training.steps import PrivateStep, Step, block_size, largest_block
from silogan.client.training.trainer import SiteTrainer, discriminator_optimizer, passes
from silogan.client.training.unprotected import PlainStep, UnprotectedPatients
from silogan.common.config.scenario import Training
from silogan.common.device import choose_device
from silogan.common.errors import (
    SAME_VERSION,
    Code,
    DataError,
    FederationError,
    PrivacyRefusal,
    SiloganError,
    VerificationError,
)
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import GAN, check_private
from silogan.common.models.schedule import learning_rate_factor
from silogan.common.models.weights import Misfit, Weights, networks, weights_of
from silogan.common.privacy.plan import Phase
from silogan.common.privacy.statistics import Statistic, asked_for
from silogan.common.registry import lookup
from silogan.common.seeding import derive_key, random_generator
from silogan.common.wire.messages import STATISTICS, Instruction, Reply
from silogan.common.wire.refusals import without_reason
from silogan.common.wire.study import Study

ROW_VALUES = 2**25
"""Values in the rows of a statistic at one time, 256 MiB: second moments of many frequencies have long rows."""

MICRO_BATCH = {"cpu": 320, "cuda": 2048}
"""Records that are in a pass at one time, by type of device: enough to keep it busy, few enough for its caches."""


@dataclass(frozen=True)
class Site:
    """A hospital, as its own software sees it.

    Attributes:
        name: its name in the study's roster.
        study: what it takes part in.
        declared_size: size of its cohort, in units of privacy, as it made it public.
        read_records: reads its training records; called only after the ledger has agreed.
        ledger_path: its ledger's file.
        key_path: the key that signs it.
        read_policy: reads the site's own policy; called before each round, since the hospital may change it.
        state_folder: where it keeps its state between rounds.
        check_data: raises where its data cannot be opened, without a look at a record; called before the ledger is
            asked to pay for a round.
    """

    name: str
    study: Study
    declared_size: int
    read_records: Callable[[], Records]
    ledger_path: Path
    key_path: Path
    read_policy: Callable[[], Policy]
    state_folder: Path
    check_data: Callable[[], None] = lambda: None

    @property
    def expected_batch(self) -> float:
        """B = q · declared size: the public divisor of the private gradient."""
        return self.study.plan.training.sample_rate * self.declared_size

    def open_ledger(self) -> Ledger | None:
        """The site's ledger; None without privacy."""
        return Ledger(self.ledger_path, SiteKey.load(self.key_path)) if self.study.plan.private else None


class _Outcome(NamedTuple):
    """The outcome of a round; `state` stays at the site."""

    steps: int
    weights: Weights
    state: dict[str, Any]


def run_round(site: Site, instruction: Instruction, weights: Weights) -> tuple[Reply, Weights]:
    """Answers one instruction of the server: one round of a phase of the plan, by the phase's kind (`ANSWERS`).

    Raises:
        PrivacyRefusal: another study or plan than the site has approved, a policy that forbids it or cannot be read, or
            a budget that does not pay for the round. Nothing was read.
        FederationError: the weights do not fit the study. Nothing was read.
        DataError: the site's data or state is unusable. The reservation stays charged.
        VerificationError: the ledger was changed, or lacks entries that it has held. Nothing was read.

    Privacy:
        Before any record is read the ledger holds a durable charge for the whole round, and the round's outcome is on
        the disk before it is settled and sent. What can fail without a look at a record is tried before the charge:
        whether files can be opened, and whether the outcome can be written. What returns is post-processing of the
        plan's mechanism. An error raised while the data is in memory has the same code as any other fault of the
        machine.
    """
    ledger = site.open_ledger()
    _refuse_if(_disagreement(site.study, instruction), instruction, ledger)
    key = request_key(site.name, instruction, weights)
    states = SiteState(site.state_folder)
    done = states.load(instruction.phase, instruction.round)
    if done is not None and done.request_key == key:
        return _settled(done, ledger, states), done.weights
    # what can be found wrong without the data is found before the budget is charged
    work = ANSWERS[_phase(site.study, instruction).kind](site, instruction, weights, states)
    reservation = 0
    if ledger is not None:
        _refuse_if(_missing_history(ledger, {instruction.known_head, *states.heads()}), instruction, ledger)
        policy = _policy(site, instruction, ledger)
        plan, study_id, replay_key = site.study.plan, site.study.study_id, key if site.study.plan.seeded else ""
        charge = Charge.of(plan, instruction.phase, instruction.round, study_id, replay_key)
        reservation = ledger.reserve(charge, policy, partial(_check_machine, site, states))
    with without_reason():
        steps, new_weights, state = work()
    reply = Reply(site.name, instruction.phase, instruction.round, "")
    done = RoundState(key, reply, new_weights, state, reservation, steps)
    states.save(done)  # first: a crash after the ledger has settled would otherwise lose the round
    return _settled(done, ledger, states), new_weights


def _check_machine(site: Site, states: SiteState) -> None:
    """What can fail of a round without a look at a record; after all that the hospital decided, which is told first."""
    with without_reason():
        site.check_data()
        states.check()


def _settled(done: RoundState, ledger: Ledger | None, states: SiteState) -> Reply:
    """The reply of a round that is on the disk, once the ledger has settled it; the same whenever it is asked for."""
    if ledger is None or done.reply.ledger_head:
        return done.reply
    head = ledger.settle(done.reservation, done.steps)
    states.settled(done.reply, head)
    return replace(done.reply, ledger_head=head)


_Work = Callable[[], _Outcome]
"""What a round will do; no data is read before it is called."""


def _training(site: Site, instruction: Instruction, weights: Weights, states: SiteState) -> _Work:
    """Prepares a phase of training from the weights that were sent."""
    device = choose_device(site.study.scenario.training.device)
    gan, before = _load(site.study, weights), states.load(instruction.phase, instruction.round - 1)
    for network in gan:
        network.to(device)
    if site.study.plan.private:
        terms = _training_terms(site, device)
        training, shape, views = site.study.scenario.training, site.study.schema.shape, terms.records_per_patient
        loss, precision = lookup(LOSSES, training.loss, "training.loss"), passes(device, training)
        check_isolation(gan.discriminator, loss, shape, block=terms.block, views=views, precision=precision)
    kept = before.trainer if before is not None and not instruction.fresh else {}
    return lambda: _train(site, instruction, gan, device, kept)


def _statistics(site: Site, instruction: Instruction, weights: Weights, states: SiteState) -> _Work:  # noqa: ARG001
    """Prepares a phase of statistics: weights are what it is taken around, if anything, and no state is kept."""
    study = site.study
    try:
        statistic = asked_for(instruction.phase, study.scenario, study.schema, weights)
    except ValueError as error:
        raise _misfit(str(error), SAME_VERSION) from None
    phase = _phase(study, instruction)
    block = largest_block(phase.records_per_patient, min(MICRO_BATCH["cpu"], max(1, ROW_VALUES // statistic.width)))
    if study.plan.private:
        check_statistic(statistic, study.schema.shape, block * phase.records_per_patient)
    return lambda: _release_statistics(site, instruction, statistic, block)


ANSWERS: dict[str, Callable[[Site, Instruction, Weights, SiteState], _Work]] = {
    "statistics": _statistics,
    "training": _training,
}
"""How a site answers, by the kind of phase."""


def _phase(study: Study, instruction: Instruction) -> Phase:
    phase = study.plan.find(instruction.phase)
    if phase is None:
        raise PrivacyRefusal("privacy plan", f"has no phase '{instruction.phase}'", "stop here")
    return phase


def _train(site: Site, instruction: Instruction, gan: GAN, device: torch.device, kept: dict[str, Any]) -> _Outcome:
    training = site.study.scenario.training
    slower = training.model_copy(update={"lr_generator": training.lr_generator * instruction.lr_factor})
    trainer = new_trainer(site, instruction.round, gan, device, slower)
    if kept:
        trainer.load_state(kept)
    steps = site.study.plan.training.steps_per_round
    trainer.run(steps, learning_rate_factor(training, instruction.round))
    weights = {name: tensor.cpu() for name, tensor in weights_of(gan).items()}
    return _Outcome(steps, weights, trainer.state())


def _release_statistics(site: Site, asked: Instruction, statistic: Statistic, block: int) -> _Outcome:
    """Noisy moments of the site's classes, on the CPU."""
    study, phase = site.study, _phase(site.study, asked)
    randomness, cpu = _randomness(site, phase, asked.round), torch.device("cpu")
    if study.plan.private:
        patients = _patients(site, cpu, _terms(phase, block), randomness)
        released = patients.noisy_statistic(statistic.placed, statistic.slots, statistic.width)
    else:
        released = _unprotected(site, phase, cpu, randomness).statistic(statistic)
    return _Outcome(1, {STATISTICS: released.float()}, {})


def _refuse_if(reason: SiloganError | None, instruction: Instruction, ledger: Ledger | None) -> None:
    """Records a refusal and raises it, if there is one."""
    if reason is None:
        return
    if ledger is not None:
        ledger.refuse(instruction.study_id, instruction.plan_id, instruction.round, reason, instruction.phase)
    raise reason


def _policy(site: Site, instruction: Instruction, ledger: Ledger) -> Policy:
    """The hospital's policy as it is now; without one, nothing is allowed."""
    try:
        return site.read_policy()
    except PrivacyRefusal as refusal:
        _refuse_if(refusal, instruction, ledger)
        raise


def _missing_history(ledger: Ledger, known: set[str]) -> VerificationError | None:
    """The problem if the ledger lacks an entry that the server, or the site's own state, has seen in it."""
    if known - {""} <= {entry.hash for entry in ledger.entries()}:
        return None
    problem = "lacks entries that it held before: it is an older copy"
    return VerificationError("ledger", problem, "restore the newest copy, then audit it")


def _disagreement(study: Study, instruction: Instruction) -> PrivacyRefusal | None:
    if instruction.study_id != study.study_id or instruction.plan_id != study.plan.plan_id:
        hint = "have the hospital review the new plan"
        return PrivacyRefusal("privacy plan", "differs from the one this site knows", hint)
    phase = study.plan.find(instruction.phase)
    most = phase.last_round if phase else 0  # the spare rounds are for interrupted ones of these
    if instruction.round > most:
        asked = f"round {instruction.round} of {instruction.phase}"
        return PrivacyRefusal(asked, f"is not among the study's {most}", "stop here")
    return None


def _load(study: Study, weights: Weights) -> GAN:
    """Networks that hold the incoming weights."""
    try:
        gan = networks(study.scenario.model, study.schema, weights)
    except Misfit as error:
        raise _misfit(str(error), "run the same version of silogan on both sides") from None
    for part, network in gan._asdict().items():
        if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
            raise _misfit(f"are not finite in the {part}", "resume from an older checkpoint")
    if study.plan.private:
        check_private(gan.discriminator)
    return gan


def _misfit(problem: str, hint: str) -> FederationError:
    return FederationError("incoming weights", problem, hint, code=Code.MESSAGE)


def new_trainer(site: Site, number: int, gan: GAN, device: torch.device, training: Training) -> SiteTrainer:
    """What trains the networks, which are on `device`, in a round. Reads the site's records."""
    optimizer = discriminator_optimizer(gan.discriminator, training)
    return SiteTrainer(
        gan,
        optimizer,
        _step(site, number, gan, optimizer, device),
        fakes_per_step=max(1, round(site.expected_batch)),
        training=training,
        num_classes=site.study.schema.num_classes,
        public=random_generator(site.study.scenario.seed, site.name, number, "public", device=device),
    )


def _step(site: Site, number: int, gan: GAN, optimizer: Optimizer, device: torch.device) -> Step:
    """The discriminator's steps: private, unless the study is a comparison without privacy."""
    plan, training, expected = site.study.plan, site.study.scenario.training, site.expected_batch
    phase, precision = plan.training, passes(device, training)
    randomness = _randomness(site, phase, number)
    if not plan.private:
        patients = _unprotected(site, phase, device, randomness)
        return PlainStep(gan.discriminator, optimizer, patients, expected, precision)
    patients, at_once = _patients(site, device, _training_terms(site, device), randomness), _at_once(training, device)
    sums = {"clip_norm": phase.clip_norm, "expected_batch": expected}
    return PrivateStep(gan.discriminator, optimizer, patients, **sums, at_once=at_once, precision=precision)


def _training_terms(site: Site, device: torch.device) -> Terms:
    phase, training = site.study.plan.training, site.study.scenario.training
    views, most = phase.records_per_patient, _at_once(training, device)
    if training.micro_batch is None:
        return _terms(phase, block_size(site.expected_batch, phase.sample_rate, views, most))
    return _terms(phase, largest_block(views, most))


def _terms(phase: Phase, block: int) -> Terms:
    """Those of a phase's noisy sums, of which so many units are worked on at one time."""
    return Terms(phase.sample_rate, phase.clip_norm, phase.noise_multiplier, phase.records_per_patient, block)


def _at_once(training: Training, device: torch.device) -> int:
    return training.micro_batch or MICRO_BATCH.get(device.type, MICRO_BATCH["cpu"])


def _patients(site: Site, device: torch.device, terms: Terms, randomness: Randomness) -> Patients:
    """The door to the site's patients; after this the records are reachable only through it."""
    records = site.read_records().to(device)
    codes = None
    if site.study.plan.unit == "patient":
        if records.patients is None:
            raise DataError("records", "name no patients", "give the patients, or approve a record-level plan")
        codes = records.patients.cpu()
    try:
        encode = site.study.schema.encode
        return Patients(records.stored, records.labels, codes, encode=encode, terms=terms, randomness=randomness)
    except ValueError as error:
        raise DataError("cohort", f"holds {error}", "split it") from None


def _unprotected(site: Site, phase: Phase, device: torch.device, randomness: Randomness) -> UnprotectedPatients:
    study, records = site.study, site.read_records().to(device)
    return UnprotectedPatients(records, study.schema.encode, study.plan.unit, phase, randomness)


def _randomness(site: Site, phase: Phase, number: int) -> Randomness:
    """The randomness of one round of a phase, different for every round."""
    seed, unique = site.study.scenario.seed, site.study.plan.number(phase.name, number)
    return Randomness.secure() if seed is None else Randomness(derive_key(seed, site.name, unique, "private"))
