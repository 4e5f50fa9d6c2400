"""Row 7: the size of a batch, read from what fakes gave. On 97d0510 one patient more or less was told 30 of 30 times.

Fakes shared passes with patients, and the last digit of an answer depends on how many records are in a pass. Weights
can be chosen that turn that digit into a decision. Now fakes and patients never share a pass, and passes with patients
have one shape.
"""

from itertools import pairwise

import torch
from torch import Tensor

from silogan.client.mechanism import Patients, Randomness, Terms
from silogan.client.mechanism.dpsgd import BookKeepingModule
from silogan.client.training.steps import PrivateStep
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.modality.image_options import Dcgan
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import build, initialise
from silogan.common.models.networks.base import Discriminator
from silogan.common.seeding import derive_key

LOSS = LOSSES["nonsaturating"]

SCHEMA = ImageSchema(8, 1, tuple("0123456789"))


def critic() -> Discriminator:
    gan = build(Dcgan(latent_dim=4, width=8), SCHEMA)
    initialise(gan, torch.Generator().manual_seed(3))
    return gan.discriminator


def door(count: int, *, rate: float = 1.0, seed: int = 0) -> Patients:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 1, 8, 8), generator=rng, dtype=torch.uint8)
    labels = torch.arange(count) % 10
    terms = Terms(sample_rate=rate, clip_norm=0.1, noise_multiplier=1e-9, records_per_patient=1, block=16)
    return Patients(
        {PIXELS: pixels},
        labels,
        None,
        encode=SCHEMA.encode,
        terms=terms,
        randomness=Randomness(derive_key(seed, "attack")),
    )


def answers_to_fakes(patients: int) -> Tensor:
    """What the discriminator says of fakes in a step beside so many patients: all that a site could tell of them."""
    discriminator = critic()
    step = PrivateStep(
        discriminator,
        torch.optim.SGD(discriminator.parameters(), lr=0.1),
        door(patients),
        clip_norm=0.1,
        expected_batch=100.0,
        at_once=64,
        precision=torch.autocast("cpu", torch.bfloat16, enabled=False),
    )
    fakes = torch.full((107, 1, 8, 8), 0.3)
    return step.take(LOSS, fakes, torch.zeros(107, dtype=torch.int64))


def test_answers_to_fakes_do_not_depend_on_the_number_of_patients() -> None:
    first, *others = (answers_to_fakes(count) for count in range(140, 149))
    assert all(torch.equal(first, other) for other in others)


def test_one_patient_more_moves_the_sum_by_c_even_where_the_last_digit_decides() -> None:
    discriminator = critic()
    with torch.no_grad():
        for parameter in discriminator.features.parameters():
            parameter.mul_(2.0**12)
        discriminator.by_class.weight.zero_()
    module = BookKeepingModule(discriminator)

    sums = [door(count).noisy_gradient(module, module, lambda answers: 1e6 * answers) for count in range(60, 70)]
    for fewer, more in pairwise(sums):
        # the order differs too, so that the sums differ by the new patient alone only if all others came out the same
        assert float((more - fewer).norm()) <= 0.1 * (1 + 1e-6)
