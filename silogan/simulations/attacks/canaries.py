"""Canary patients: each is inserted by a coin, and an auditor guesses from what leaves which ones are in.

A canary has a class of its own, which nobody else has. In an audit's networks (`simulations/attacks/canary_network.py`)
its gradient is then one number's, and in the statistics of a warm start it has a part of the vector to itself: many
hundreds of thousands of canaries share a run and do not disturb each other. So many are needed since guesses about few
canaries prove little (`simulations/attacks/one_run.py`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from silogan.client.data import Records
from silogan.client.round import Site
from silogan.common.config.scenario import Scenario, Training
from silogan.common.errors import ConfigError
from silogan.common.modality import Schema
from silogan.common.modality.image_options import Gaussians
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_options import Mixture
from silogan.common.models.schedule import learning_rate_factor
from silogan.common.models.weights import Weights, weights_of
from silogan.common.privacy.plan import CELLS, MOMENTS, PAIRS, Phase, PrivacyPlan
from silogan.common.privacy.statistics import MOST_VALUES, spectrum_of
from silogan.common.privacy.statistics.centred import CENTRES, CUTS, LEVELS, RADIUS
from silogan.common.privacy.statistics.pairs import GROUPS
from silogan.common.seeding import random_generator
from silogan.common.wire.messages import STATISTICS, Reply
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.fitting.release import statistic
from silogan.simulations.attacks.canary_network import ROWS, auditors_weights
from silogan.simulations.attacks.canary_network import Canaries as Networks
from silogan.simulations.attacks.one_run import Flags, Floats

MOST = 1_000_000
"""Records of all canaries of an audit, at most: half of them are in, and a hospital may have 2¹⁹ units. With twice as
many canaries ε is shown to be at least about 0.2 more."""

CANARY_STEPS = 40_000_000
"""Canaries times private steps, at most: minutes on two cores."""

FEWEST = 1_000

AT_ONCE = 1 << 22
"""Values of the records that are in a pass at one time: every pass costs a gradient for all rows."""


@dataclass(frozen=True, eq=False)
class Canaries:
    """The canaries of one audit.

    Attributes:
        records: one a canary; its label is the canary's own class.
        inserted: bool[m], whom the coin put into the hospital's data.
    """

    records: Records
    inserted: Flags

    @property
    def first_class(self) -> int:
        """Label of the first canary; the others follow."""
        return int(self.records.labels[0])

    def __len__(self) -> int:
        return len(self.inserted)


@dataclass(frozen=True)
class Release:
    """What an auditor in the server's place knows of one round: everything sent and received.

    Attributes:
        study: what the site was asked for.
        sent: weights of the instruction.
        reply: header of the reply.
        weights: weights of the reply; in a phase of statistics, these.
    """

    study: Study
    sent: Weights
    reply: Reply
    weights: Weights

    @property
    def phase(self) -> Phase:
        """The phase that the round is of."""
        return next(phase for phase in self.study.plan.phases if phase.name == self.reply.phase)


Score = Callable[[Release, Canaries], Floats]
"""float64[m] of one round, large where a canary seems to be in; rounds are added up."""


def affordable(study: Study, records_per_canary: int = 1) -> int:
    """How many canaries an audit can afford: in private steps, in statistics that can be held, and in records.

    Args:
        study: of an `audited` scenario, without canaries.
        records_per_canary: how many records each has.

    Raises:
        ConfigError: so few that they would show next to nothing.
    """
    steps = study.plan.steps
    if CANARY_STEPS // steps < FEWEST:
        hint = f"audit a scenario of at most {CANARY_STEPS // FEWEST} steps"
        raise ConfigError("training.rounds x training.local_steps", f"is {steps}, too many to audit", hint)
    count = min([MOST // records_per_canary, CANARY_STEPS // steps, *_held(study)])
    if count < FEWEST:
        hint = "audit fewer columns, classes or records of a canary"
        raise ConfigError("scenario", "has room for too few canaries to be audited", hint)
    return count


def _held(study: Study) -> Iterator[int]:
    """For how many canaries each statistic of a plan can be held."""
    classes = study.schema.num_classes
    for phase in study.plan.phases:
        if not phase.takes_batches:
            size = statistic(study, phase.name, sent_with(study, phase)).size
            yield MOST_VALUES * classes // size - classes


def audited(scenario: Scenario) -> Scenario:
    """The scenario as it is audited: its mechanism, on the networks of an audit, with randomness that nobody knows.

    Statistics of images look at one frequency, in which a white image has as long a part as any image has in all.
    """
    changed: dict[str, object] = {"seed": None}
    if isinstance(scenario.model, Gaussians):
        changed["model"] = scenario.model.model_copy(update={"frequencies": 1})
    elif isinstance(scenario.model, Mixture):
        changed["model"] = scenario.model.model_copy(update={"by_class": True})
    else:
        changed["model"] = Networks()
    if scenario.training.warm_start is not None:
        warm_start = scenario.training.warm_start.model_copy(update={"frequencies": 1})
        changed["training"] = scenario.training.model_copy(update={"warm_start": warm_start})
    return scenario.model_copy(update=changed)


def draw(schema: Schema, count: int, seed: int | None) -> Canaries:
    """`count` canaries, and their coins. Their images are white, which no statistic of a warm start exceeds.

    Args:
        schema: of the hospitals' own records; the canaries' labels follow its classes.
        count: m.
        seed: of the coins; the operating system's randomness if None.
    """
    white = schema.decode(torch.ones(1, *schema.shape))
    stored = {name: part.repeat(count, *[1] * (part.dim() - 1)) for name, part in white.items()}
    labels = torch.arange(schema.num_classes, schema.num_classes + count)
    inserted = torch.rand(count, generator=random_generator(seed, "coins")) < 0.5
    return Canaries(Records(stored, labels), inserted.numpy())


def with_canaries(site: Site, canaries: Canaries, records_per_canary: int = 1) -> Site:
    """The same hospital with the inserted canaries among its patients, in a study with a class for each canary.

    The plan and the declared size, which are public, stay as they are.

    Args:
        site: the hospital, in a study of an `audited` scenario.
        canaries: who may be inserted.
        records_per_canary: how many times the hospital holds a canary's record, at least 1.
    """

    def read_records() -> Records:
        own = site.read_records()
        chosen = np.flatnonzero(canaries.inserted).repeat(records_per_canary)
        added = canaries.records.select(chosen)
        patients = None
        if own.patients is not None:
            patients = torch.cat((own.patients, int(own.patients.max()) + 1 + torch.from_numpy(chosen)))
        stored = {name: torch.cat((part, added.stored[name])) for name, part in own.stored.items()}
        return Records(stored, torch.cat((own.labels, added.labels)), patients=patients)

    return replace(site, study=_study(site, canaries), read_records=read_records)


def sent_with(study: Study, phase: Phase) -> Weights:
    """What the auditor, in the server's place, sends in each round of a phase: that which shows most of a canary."""
    if phase.takes_batches:
        return weights_of(auditors_weights(study.schema, phase.clip_norm))
    if phase.name == PAIRS and isinstance(study.schema, TableSchema):
        return {GROUPS: torch.zeros(study.schema.cells)}  # one group a column: a canary is told by its class
    if phase.name not in (MOMENTS, CELLS):
        return {}
    classes, cuts = study.schema.num_classes, 0
    if phase.name == CELLS and isinstance(study.scenario.model, Gaussians):
        cuts = (study.scenario.model.cells or 1).bit_length() - 1
    d = spectrum_of(study.scenario, study.schema).dimensions
    sent = {CENTRES: torch.zeros(classes, d), RADIUS: torch.ones(())}  # a white image is as far off as the radius
    return sent | ({CUTS: torch.ones(classes, cuts, d), LEVELS: torch.zeros(classes, cuts)} if cuts else {})


def evidence(release: Release, canaries: Canaries) -> Floats:
    """The evidence that each canary is in: a `Score`, the logarithm of a likelihood ratio up to constants.

    A release in which a canary that is in adds 1 to noise of standard deviation σ weighs 1/σ²: the sum over all
    releases, of whatever phase, is the best test that there is of one Gaussian sequence against another (Neyman and
    Pearson, 1933).
    """
    if not release.phase.takes_batches:
        return _along_own_part(release, canaries)
    moved = (release.weights[ROWS] - release.sent[ROWS])[canaries.first_class :, 0].double().numpy()
    return moved / _movement(release)


def evidence_of_statistics(release: Release, canaries: Canaries) -> Floats:
    """`evidence` of statistics alone: a fault there would be diluted by rounds that are as they should be."""
    return np.zeros(len(canaries)) if release.phase.takes_batches else evidence(release, canaries)


def scores_of(plan: PrivacyPlan) -> tuple[Score, ...]:
    """The scores that an auditor of a plan uses."""
    all_alike = len({phase.kind for phase in plan.phases}) == 1
    return (evidence,) if all_alike else (evidence, evidence_of_statistics)


def _movement(release: Release) -> float:
    """How far a row moves for a likelihood ratio of 1."""
    phase, training = release.phase, release.study.scenario.training
    if training.discriminator_adam == "server":  # plain steps: the noisy sums themselves, over B
        batch = phase.sample_rate * release.study.sites[0].declared_size
        return training.lr_discriminator / batch * phase.clip_norm * phase.noise_multiplier**2
    # Adam divides by the root of the second moment, which is about σC/B
    return _rate(training, release.reply.round) * phase.noise_multiplier


def _rate(training: Training, number: int) -> float:
    return training.lr_discriminator * learning_rate_factor(training, number)


def _along_own_part(release: Release, canaries: Canaries) -> Floats:
    """Each canary's part of the noisy statistics, along what the canary would add to it, over σ²."""
    study, two = release.study, canaries.records.select(np.arange(2))
    released = statistic(study, release.phase.name, release.sent)
    (first, second), rows = released.placed(study.schema.encode(two.stored), two.labels)
    parts = release.weights[STATISTICS].double().view(released.slots, -1)[int(first) :: int(second - first)]
    found: Tensor = parts @ (rows[0] / rows[0].norm())
    return found.numpy() / release.phase.noise_multiplier**2


def _study(site: Site, canaries: Canaries) -> Study:
    study = site.study
    classes = (*study.schema.classes, *(f"canary-{number}" for number in range(len(canaries))))
    schema = study.schema.with_classes(classes)
    micro_batch = max(1, AT_ONCE // math.prod(schema.shape))
    training = study.scenario.training.model_copy(update={"micro_batch": micro_batch})
    scenario = study.scenario.model_copy(update={"training": training})
    return Study(scenario, schema, study.plan, (SiteDeclaration(site.name, site.declared_size),))
