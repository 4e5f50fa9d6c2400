"""One site and one round of its work: check the plan, reserve, train, settle, reply."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from client.data import Records
from client.ledger.keys import SiteKey
from client.ledger.ledger import Charge, Ledger
from client.ledger.policy import Policy
from client.mechanism import Patients, Randomness, Terms
from client.state import RoundState, SiteState, request_key
from client.training.isolation import check_isolation
from client.training.steps import PrivateStep, Step, block_size, largest_block
from client.training.trainer import SiteTrainer, discriminator_optimizer, passes
from client.training.unprotected import PlainStep, UnprotectedPatients
from common.config.scenario import Training
from common.device import choose_device
from common.errors import Code, DataError, FederationError, PrivacyRefusal, SiloganError, VerificationError
from common.models.losses import LOSSES
from common.models.networks import GAN, check_private
from common.models.schedule import learning_rate_factor
from common.models.weights import Misfit, Weights, networks, weights_of
from common.privacy.statistics import Moments
from common.registry import lookup
from common.seeding import derive_key, random_generator
from common.wire.messages import STATISTICS, Instruction, Reply
from common.wire.refusals import without_reason
from common.wire.study import Study

MICRO_BATCH = {"cpu": 320, "cuda": 2048}
"""Records that are in a pass at one time, by type of device: enough to keep it busy, few enough for its caches."""


@dataclass(frozen=True)
class Site:
    """A hospital as its own software sees it.

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
        return self.study.plan.sample_rate * self.declared_size

    def open_ledger(self) -> Ledger | None:
        """The site's ledger; None without privacy."""
        return Ledger(self.ledger_path, SiteKey.load(self.key_path)) if self.study.plan.private else None


class _Outcome(NamedTuple):
    """What the work of a round came to; `state` stays at the site."""

    steps: int
    weights: Weights
    state: dict[str, Any]


def run_round(site: Site, instruction: Instruction, weights: Weights) -> tuple[Reply, Weights]:
    """Answers one instruction of the server; round 0 is the warm start, where the plan has one.

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
        plan's mechanism. An error that is raised where the data is at hand has the code of any other fault of the
        machine.
    """
    ledger = site.open_ledger()
    _refuse_if(_disagreement(site.study, instruction), instruction, ledger)
    key = request_key(site.name, instruction, weights)
    states = SiteState(site.state_folder)
    done = states.load(instruction.round)
    if done is not None and done.request_key == key:
        return _settled(done, ledger, states), done.weights
    # what can be found wrong without the data is found before the budget is charged
    work, before = _prepare(site, instruction, weights, states)
    reservation = 0
    if ledger is not None:
        _refuse_if(_missing_history(ledger, instruction.known_head, before), instruction, ledger)
        policy = _policy(site, instruction, ledger)
        charge, check = _charge(site.study, instruction.round, key), partial(_check_machine, site, states)
        reservation = ledger.reserve(charge, policy, check)
    with without_reason():
        steps, new_weights, state = work()
    done = RoundState(key, Reply(site.name, instruction.round, ""), new_weights, state, reservation, steps)
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
    states.settled(done.reply.round, head)
    return replace(done.reply, ledger_head=head)


def _prepare(
    site: Site, instruction: Instruction, weights: Weights, states: SiteState
) -> tuple[Callable[[], _Outcome], RoundState | None]:
    """What the round will do, and the state before it. No data is read yet."""
    number = instruction.round
    device = choose_device(site.study.scenario.training.device)
    if number == 0:
        if weights:
            raise _misfit("are of no use before the first round", "run the same version of silogan on both sides")
        return lambda: _release_statistics(site), None
    gan, before = _load(site.study, weights), states.load(number - 1)
    for network in gan:
        network.to(device)
    if site.study.plan.private:
        terms = _terms(site, device)
        check_isolation(
            gan.discriminator,
            lookup(LOSSES, site.study.scenario.training.loss, "training.loss"),
            site.study.schema.shape,
            block=terms.block,
            views=terms.records_per_patient,
            precision=passes(device, site.study.scenario.training),
        )
    kept = before.trainer if before is not None and not instruction.fresh else {}
    return lambda: _train(site, instruction, gan, device, kept), before


def _charge(study: Study, number: int, key: str) -> Charge:
    replay_key = key if study.plan.seeded else ""
    if number == 0:
        return Charge.for_warm_start(study.plan, study.study_id, replay_key)
    return Charge.for_round(study.plan, study.study_id, number, replay_key)


def _train(site: Site, instruction: Instruction, gan: GAN, device: torch.device, kept: dict[str, Any]) -> _Outcome:
    training = site.study.scenario.training
    slower = training.model_copy(update={"lr_generator": training.lr_generator * instruction.lr_factor})
    trainer = new_trainer(site, instruction.round, gan, device, slower)
    if kept:
        trainer.load_state(kept)
    steps = site.study.plan.steps_per_round
    trainer.run(steps, learning_rate_factor(training, instruction.round))
    weights = {name: tensor.cpu() for name, tensor in weights_of(gan).items()}
    return _Outcome(steps, weights, trainer.state())


def _release_statistics(site: Site) -> _Outcome:
    """The warm start: noisy moments of the site's classes, on the CPU."""
    plan, settings = site.study.plan, site.study.scenario.training.warm_start
    if settings is None or plan.warm_start_noise_multiplier is None:  # a plan with one has settings
        raise PrivacyRefusal("round 0", "is not among the plan's", "stop here")
    cpu, moments = torch.device("cpu"), Moments(site.study.schema, settings)
    if plan.private:
        terms = Terms(
            sample_rate=1.0,
            clip_norm=1.0,
            noise_multiplier=plan.warm_start_noise_multiplier,
            records_per_patient=plan.records_per_patient,
            block=largest_block(plan.records_per_patient, MICRO_BATCH["cpu"]),
        )
        released = _patients(site, 0, cpu, terms).noisy_statistic(moments.rows, moments.slots, moments.width)
    else:
        released = _unprotected(site, 0, cpu).statistic(moments)
    return _Outcome(1, {STATISTICS: released.float()}, {})


def _refuse_if(reason: SiloganError | None, instruction: Instruction, ledger: Ledger | None) -> None:
    """Writes a refusal down and raises it, if there is one."""
    if reason is None:
        return
    if ledger is not None:
        ledger.refuse(instruction.study_id, instruction.plan_id, instruction.round, reason)
    raise reason


def _policy(site: Site, instruction: Instruction, ledger: Ledger) -> Policy:
    """The hospital's policy as it is now; without one, nothing is allowed."""
    try:
        return site.read_policy()
    except PrivacyRefusal as refusal:
        _refuse_if(refusal, instruction, ledger)
        raise


def _missing_history(ledger: Ledger, known_head: str, before: RoundState | None) -> VerificationError | None:
    """What is wrong if the ledger lacks an entry that the server, or the site's own state, has seen in it."""
    known = {known_head, before.reply.ledger_head if before else ""} - {""}
    if known <= {entry.hash for entry in ledger.entries()}:
        return None
    problem = "lacks entries that it has held: it is an older copy"
    return VerificationError("ledger", problem, "restore the newest copy, then audit it")


def _disagreement(study: Study, instruction: Instruction) -> PrivacyRefusal | None:
    if instruction.study_id != study.study_id or instruction.plan_id != study.plan.plan_id:
        return PrivacyRefusal(
            "privacy plan", "differs from the one this site knows", "have the hospital review the new plan"
        )
    first = 0 if study.plan.warm_start_noise_multiplier is not None else 1
    last = study.scenario.training.rounds  # the plan's spare rounds are for interrupted ones of these
    if not first <= instruction.round <= last:
        return PrivacyRefusal(f"round {instruction.round}", f"is not among the study's {last}", "stop here")
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
    if not plan.private:
        patients = _unprotected(site, number, device)
        return PlainStep(gan.discriminator, optimizer, patients, expected, passes(device, training))
    return PrivateStep(
        gan.discriminator,
        optimizer,
        _patients(site, number, device, _terms(site, device)),
        clip_norm=plan.clip_norm,
        expected_batch=expected,
        at_once=_at_once(training, device),
        precision=passes(device, training),
    )


def _terms(site: Site, device: torch.device) -> Terms:
    """Those of the plan's private steps."""
    plan, training = site.study.plan, site.study.scenario.training
    views, most = plan.records_per_patient, _at_once(training, device)
    if training.micro_batch is None:
        block = block_size(site.expected_batch, plan.sample_rate, views, most)
    else:
        block = largest_block(views, most)
    return Terms(
        sample_rate=plan.sample_rate,
        clip_norm=plan.clip_norm,
        noise_multiplier=plan.noise_multiplier,
        records_per_patient=views,
        block=block,
    )


def _at_once(training: Training, device: torch.device) -> int:
    return training.micro_batch or MICRO_BATCH.get(device.type, MICRO_BATCH["cpu"])


def _patients(site: Site, number: int, device: torch.device, terms: Terms) -> Patients:
    """The door to the site's patients; from here on its records are behind it."""
    records = site.read_records().to(device)
    codes = None
    if site.study.plan.unit == "patient":
        if records.patients is None:
            raise DataError("records", "do not say whose they are", "give the patients, or approve a record-level plan")
        codes = records.patients.cpu()
    try:
        return Patients(
            records.stored,
            records.labels,
            codes,
            encode=site.study.schema.encode,
            terms=terms,
            randomness=_randomness(site, number),
        )
    except ValueError as error:
        raise DataError("cohort", f"holds {error}", "split it") from None


def _unprotected(site: Site, number: int, device: torch.device) -> UnprotectedPatients:
    study, records = site.study, site.read_records().to(device)
    return UnprotectedPatients(records, study.schema.encode, study.plan, _randomness(site, number))


def _randomness(site: Site, number: int) -> Randomness:
    seed = site.study.scenario.seed
    return Randomness.secure() if seed is None else Randomness(derive_key(seed, site.name, number, "private"))
