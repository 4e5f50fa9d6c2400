"""What a record adds is measured on the product's own sum."""

import pytest
import torch

from silogan.client.mechanism.clip import SLACK
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Dcgan
from silogan.common.models.networks import GAN, build, initialise
from silogan.simulations.attacks.contribution import ProductContribution

SCHEMA = ImageSchema(8, 1, ("a", "b", "c"))


@pytest.mark.parametrize("views", [1, 3])
def test_contribution_is_the_clipped_gradient_s_length(views: int) -> None:
    gan: GAN = build(Dcgan(width=4), SCHEMA)
    initialise(gan, torch.Generator().manual_seed(1))
    images, labels = torch.rand(views, 1, 8, 8, generator=torch.Generator().manual_seed(2)), torch.arange(views)
    logits = gan.discriminator(images, labels)
    gradients = torch.autograd.grad(torch.relu(1 - logits).mean(), list(gan.discriminator.parameters()))
    norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    before = [parameter.detach().clone() for parameter in gan.discriminator.parameters()]
    large, small = (ProductContribution(SCHEMA, "hinge", clip_norm) for clip_norm in (norm * 4, norm / 4))
    assert large(gan.discriminator, images, labels) == pytest.approx(0.25, rel=1e-3)
    assert small(gan.discriminator, images, labels) == pytest.approx(1 - SLACK, rel=1e-3)
    for old, parameter in zip(before, gan.discriminator.parameters(), strict=True):
        assert torch.equal(old, parameter)
