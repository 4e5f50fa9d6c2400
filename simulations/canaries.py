"""Canary patients: a coin decides of each whether a hospital holds it, and an auditor tells from what leaves.

A canary has a class of its own, which nobody else has. In a projection discriminator its gradient for the row of that
class is then its own too, so that many thousands of canaries share a run and hardly disturb each other: one row a
canary, and its score is how far the row moved along the features of the canary's image, which the auditor computes
from weights that it sent. So many are needed since guesses about few canaries prove little (`simulations/one_run.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from client.data import Images, to_unit_range
from client.site import Site, gan_weights
from common.config import Scenario
from common.errors import ConfigError
from common.messages import Reply, Weights
from common.networks import GAN, build, initialise
from common.networks.dcgan import DCGANDiscriminator
from common.schema import ImageSchema
from common.seeding import random_generator
from common.study import SiteDeclaration, Study
from simulations.one_run import Flags, Floats

MOST = 300_000
"""Canaries of an audit: all-correct guesses about them show ε up to about 10.9."""

CANARY_STEPS = 12_000_000
"""Canaries times private steps, at most: minutes on two cores."""

FEWEST = 1_000
WIDTH = 1
"""Of the audited networks: a wider one holds no more evidence, and takes longer."""

AT_ONCE = 1 << 22
"""Pixels of the images that are in a pass at one time: every pass costs a gradient for all rows."""

_ROWS = "discriminator.by_class.weight"
_HEAD = ("discriminator.shared.weight", "discriminator.shared.bias", _ROWS)


@dataclass(frozen=True, eq=False)
class Canaries:
    """The canaries of one audit.

    Attributes:
        images: one image a canary; its label is the canary's own class.
        inserted: bool[m], whom the coin put into the hospital's data.
    """

    images: Images
    inserted: Flags

    @property
    def first_class(self) -> int:
        """Label of the first canary; the others follow."""
        return int(self.images.labels[0])

    def __len__(self) -> int:
        return len(self.inserted)


@dataclass(frozen=True)
class Release:
    """What an auditor in the server's place has of one round: all that was sent, and all that left.

    Attributes:
        study: what the site was asked for.
        sent: weights of the instruction.
        reply: header of the reply.
        weights: weights of the reply.
    """

    study: Study
    sent: Weights
    reply: Reply
    weights: Weights


Score = Callable[[Release, Canaries], Floats]
"""float64[m] of one round, large where a canary seems to be in; rounds are added up."""


def affordable(steps: int) -> int:
    """How many canaries an audit of so many private steps can afford.

    Raises:
        ConfigError: so few that they would show next to nothing.
    """
    count = min(MOST, CANARY_STEPS // steps)
    if count < FEWEST:
        mend = f"audit a scenario of at most {CANARY_STEPS // FEWEST} steps"
        raise ConfigError("training.rounds x training.local_steps", f"{steps} are too many to audit", mend)
    return count


def draw(schema: ImageSchema, count: int, seed: int | None) -> Canaries:
    """`count` canaries with images of black and white noise, whose features are large, and their coins.

    Args:
        schema: of the hospitals' own images; the canaries' labels follow its classes.
        count: m.
        seed: of images and coins, in simulation; the operating system's randomness if None.
    """
    rng = random_generator(seed, "canaries")
    shape = (count, schema.channels, schema.size, schema.size)
    pixels = torch.randint(2, shape, generator=rng, dtype=torch.uint8).mul_(255)
    labels = torch.arange(schema.num_classes, schema.num_classes + count)
    inserted = torch.rand(count, generator=random_generator(seed, "coins")) < 0.5
    return Canaries(Images(pixels, labels), inserted.numpy())


def with_canaries(site: Site, canaries: Canaries, images_per_patient: int = 1) -> Site:
    """The same hospital with the inserted canaries among its patients, in a study with narrow networks.

    The plan and the declared size, which are public, stay as they are.

    Args:
        site: the hospital.
        canaries: who may be inserted.
        images_per_patient: how many times the hospital holds a canary's image, at least 1.

    Raises:
        ConfigError: the discriminator has no row for each class.
    """
    study = _study(site, canaries)

    def read_images() -> Images:
        own = site.read_images()
        chosen = np.flatnonzero(canaries.inserted).repeat(images_per_patient)
        added = canaries.images.select(chosen)
        patients = None
        if own.patients is not None:
            patients = torch.cat((own.patients, int(own.patients.max()) + 1 + torch.from_numpy(chosen)))
        pixels, labels = torch.cat((own.pixels, added.pixels)), torch.cat((own.labels, added.labels))
        return Images(pixels, labels, patients=patients)

    return replace(site, study=study, read_images=read_images)


def auditors_weights(study: Study, seed: int | None) -> Weights:
    """First weights as a curious server would choose them: with an output of 0, nothing reaches the convolutions.

    A canary's gradient is then all in its row, and in the weights that the classes share.
    """
    gan = build(study.scenario.model, study.schema)
    initialise(gan, random_generator(seed, "auditor"))
    return {name: tensor.zero_() if name in _HEAD else tensor for name, tensor in gan_weights(gan).items()}


def row_movement(release: Release, canaries: Canaries) -> Floats:
    """How far each canary's row moved along the features of its image: a `Score`."""
    moved = (release.weights[_ROWS] - release.sent[_ROWS])[canaries.first_class :]
    features = _features(release, canaries.images.pixels)
    along = torch.linalg.vecdot(moved, features) / torch.linalg.vector_norm(features, dim=1).clamp(min=1e-12)
    return along.double().numpy()


def _study(site: Site, canaries: Canaries) -> Study:
    study = site.study
    classes = (*study.schema.classes, *(f"canary-{number}" for number in range(len(canaries))))
    schema = replace(study.schema, classes=classes)
    extended = Study(
        _narrowed(study.scenario, schema), schema, study.plan, (SiteDeclaration(site.name, site.declared_size),)
    )
    with torch.device("meta"):
        gan = build(extended.scenario.model, schema)
    if not isinstance(gan.discriminator, DCGANDiscriminator):
        problem = f"'{study.scenario.model.family}' has no row for each class to hold canaries"
        raise ConfigError("model.family", problem, "audit the same plan with 'dcgan'")
    return extended


def _narrowed(scenario: Scenario, schema: ImageSchema) -> Scenario:
    model = scenario.model.model_copy(update={"width": WIDTH})
    training = scenario.training.model_copy(update={"micro_batch": _micro_batch(schema)})
    return scenario.model_copy(update={"model": model, "training": training})


def _micro_batch(schema: ImageSchema) -> int:
    return max(1, AT_ONCE // (schema.channels * schema.size**2))


@torch.inference_mode()
def _features(release: Release, pixels: Tensor) -> Tensor:
    """float32[m, F] that the discriminator as it was sent has for images uint8[m, C, S, S]."""
    with torch.device("meta"):
        gan: GAN = build(release.study.scenario.model, release.study.schema)
    prefix = "discriminator."
    own = {name.removeprefix(prefix): value for name, value in release.sent.items() if name.startswith(prefix)}
    gan.discriminator.load_state_dict(own, assign=True)
    network: torch.nn.Module = gan.discriminator.get_submodule("features")
    return torch.cat([network(to_unit_range(part)) for part in pixels.split(_micro_batch(release.study.schema))])
