"""Row 10: a frozen parameter beside a trained one. On 97d0510 its clipped sum came through without noise."""

import torch

from silogan.client.mechanism import Patients, Randomness, Terms
from silogan.client.training.steps import PrivateStep
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.modality.image_options import Dcgan
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import build

SCHEMA = ImageSchema(8, 1, ("a", "b"))


def test_a_frozen_parameter_stays_and_the_others_take_their_noise() -> None:
    torch.manual_seed(0)
    discriminator = build(Dcgan(latent_dim=4, width=8), SCHEMA).discriminator
    discriminator.shared.bias.requires_grad_(False)
    terms = Terms(sample_rate=1.0, clip_norm=1.0, noise_multiplier=100.0, records_per_patient=1, block=16)
    records = {PIXELS: torch.zeros(3, 1, 8, 8, dtype=torch.uint8)}, torch.zeros(3, dtype=torch.int64)
    step = PrivateStep(
        discriminator,
        torch.optim.SGD(discriminator.parameters(), lr=1.0),
        Patients(*records, None, encode=SCHEMA.encode, terms=terms, randomness=Randomness.secure()),
        clip_norm=1.0,
        expected_batch=1.0,
        at_once=16,
        precision=torch.autocast("cpu", torch.bfloat16, enabled=False),
    )
    before = {name: parameter.detach().clone() for name, parameter in discriminator.named_parameters()}
    step.take(LOSSES["nonsaturating"], torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64))
    for name, parameter in discriminator.named_parameters():
        moved = (parameter.detach() - before[name]).abs().max()
        assert (moved == 0) if name == "shared.bias" else (moved > 1), name
