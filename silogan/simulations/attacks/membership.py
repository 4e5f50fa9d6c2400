"""Membership inference on a finished run: can a holder of its generator distinguish training images from others?

Two attacks score each image of the training split (members) and of the test split (others): the distance to the nearest
synthetic image, which needs no more than the released generator (Chen et al., 2020, "GAN-Leaks", section 4), and the
logit of the averaged discriminator, which the coordinator holds (Hayes et al., 2019, "LOGAN", section 4.1). They are
measurements, not bounds: an attack that fails proves nothing.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from silogan.client.data import Records, read
from silogan.common.config.scenario import Scenario
from silogan.common.errors import VerificationError
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.models.weights import networks
from silogan.common.progress import begin
from silogan.common.seeding import seeded_generator
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import Study
from silogan.server.evaluation.classifier import features, train_classifier
from silogan.server.release.generator import ReleasedGenerator, load_generator, together
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.attacks.empirical import refuse_without_privacy
from silogan.simulations.attacks.roc import Estimate, Flags, Floats, area_under_curve, bootstrap, true_positive_rate
from silogan.simulations.live import live_view
from silogan.simulations.simulate import simulate

MOST_SCORED = 5000
"""Images of each split, at most, that are scored: chosen at random, by a fixed seed."""

_SEED = 0
_BATCH = 512

Attack = Callable[[Records], Tensor]
"""float[N], large where a record seems to have been trained on."""


@dataclass(frozen=True)
class AttackResult:
    """The success of an attack.

    Attributes:
        auc: area under the ROC curve, 0.5 for chance.
        true_positive_rate: share of members found at 1 % false positives, 0.01 for chance.
    """

    auc: Estimate
    true_positive_rate: Estimate


@dataclass(frozen=True)
class Membership:
    """The result of membership inference.

    Attributes:
        attacks: by name.
    """

    attacks: dict[str, AttackResult]

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values, fit for `json.dumps`."""
        return {name: asdict(result) for name, result in self.attacks.items()}


def infer_of_scenario(scenario: Scenario, console: Console | None = None) -> Membership:
    """Simulates a scenario as it is, in a folder that is deleted, and attacks what it leaves.

    Raises:
        PrivacyRefusal: the scenario is without privacy.
        SiloganError: the run failed.
    """
    refuse_without_privacy(scenario)
    # Nothing of the evaluation's figures is used.
    evaluation = scenario.evaluation.model_copy(update={"enabled": False})
    with tempfile.TemporaryDirectory(prefix="silogan-audit-") as folder:
        simulate(scenario.model_copy(update={"evaluation": evaluation}), Path(folder), console=console)
        with live_view(console or Console(quiet=True)):
            begin("inferring membership")
            return infer(Path(folder))


def infer(run_dir: Path) -> Membership:
    """Attacks a finished run.

    Raises:
        ConfigError, DataError, VerificationError: it is not a finished run, or its data cannot be found.
        PrivacyRefusal: it was without privacy.

    Privacy:
        The figures come from real images, without noise: they are outside the guarantee, as those of `silogan evaluate`
        are, and for data whose owner agrees to that. No count of images is in them.
    """
    study, generator = Study.load(run_dir), load_generator(run_dir / GENERATOR_FILE)
    data = read(study.scenario.data)
    members, others = _some(data.train), _some(data.test)
    attacks: dict[str, Attack] = {
        "nearest synthetic image": _nearest_synthetic(study, generator),
        "discriminator": _discriminator(study, run_dir),
    }
    flags = (torch.arange(len(members) + len(others)) < len(members)).numpy()
    scores = {name: torch.cat((attack(members), attack(others))).double().numpy() for name, attack in attacks.items()}
    return Membership({name: _measured(values, flags) for name, values in scores.items()})


def _measured(scores: Floats, members: Flags) -> AttackResult:
    return AttackResult(bootstrap(area_under_curve, scores, members), bootstrap(true_positive_rate, scores, members))


def _some(records: Records) -> Records:
    if len(records) <= MOST_SCORED:
        return records
    return records.select(torch.randperm(len(records), generator=seeded_generator(_SEED, "scored"))[:MOST_SCORED])


def _nearest_synthetic(study: Study, generator: ReleasedGenerator) -> Attack:
    """Minus the distance to the nearest synthetic image.

    In the features of a classifier that learnt from the synthetic images alone, as an attacker's would: features that
    learnt from the training split would themselves tell who is in it. As they are encoded where they are no images or
    have no class.
    """
    settings = study.scenario.evaluation
    synthetic, labels = together(generator.draw(settings.samples, seeded_generator(_SEED, "membership")))

    if labels is None or PIXELS not in synthetic:

        def points(stored: Stored) -> Tensor:
            return study.schema.encode(stored).flatten(1)

    else:
        count = study.schema.num_classes
        network = train_classifier(
            synthetic[PIXELS], labels, num_classes=count, epochs=settings.epochs, seed=_SEED, device="cpu"
        ).network

        def points(stored: Stored) -> Tensor:
            return features(network, stored[PIXELS])

    reference = points(synthetic)

    def attack(records: Records) -> Tensor:
        parts = points(records.stored).split(_BATCH)
        return -torch.cat([torch.cdist(part, reference).min(dim=1).values for part in parts])

    return attack


def _discriminator(study: Study, run_dir: Path) -> Attack:
    """The logit that the averaged discriminator of the last checkpoint gives an image and its label."""
    checkpoint = Checkpoint.latest(run_dir)
    if checkpoint is None:
        raise VerificationError("run folder", "has no checkpoint", "give a finished run")
    network = networks(study.scenario.model, study.drawn, checkpoint.weights).discriminator
    network.eval()

    @torch.inference_mode()
    def attack(records: Records) -> Tensor:
        parts = [records.select(part) for part in torch.arange(len(records)).split(_BATCH)]
        return torch.cat([network(study.schema.encode(part.stored), part.labels) for part in parts])

    return attack
