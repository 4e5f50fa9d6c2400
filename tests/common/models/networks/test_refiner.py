"""What refines images: nothing at first, and then only what its own layers add."""

import pytest
import torch

from silogan.common.config.scenario import parse_model
from silogan.common.errors import ConfigError
from silogan.common.modality.image import ImageSchema
from silogan.common.models.networks import build, initialise
from silogan.common.models.networks.gaussians import ClassGaussians, RefinedGaussians
from silogan.common.models.networks.refiner import Refiner

SCHEMA = ImageSchema(8, 1, ("0", "1"))


def generator() -> RefinedGaussians:
    gan = build(parse_model({"family": "gaussians", "frequencies": 4, "critic": 16}), SCHEMA)
    initialise(gan, torch.Generator().manual_seed(0))
    assert isinstance(gan.generator, RefinedGaussians)
    gan.generator.roots.copy_(torch.eye(16) / 10)
    return gan.generator


def test_it_begins_with_what_is_drawn_and_changes_once_it_is_trained() -> None:
    refined, z, labels = generator(), torch.randn(6, 16), torch.tensor([0, 1, 0, 1, 1, 1])
    plain = ClassGaussians(SCHEMA, 4, 1)
    plain.load_state_dict({name: value for name, value in refined.state_dict().items() if "refiner" not in name})
    assert torch.equal(refined(z, labels), plain(z, labels))
    refined(z, labels).square().sum().backward()
    slopes = {name: parameter.grad for name, parameter in refined.named_parameters()}
    assert slopes.keys() == {name for name in slopes if name.startswith("refiner.")}
    assert slopes["refiner.leave.weight"] is not None
    assert slopes["refiner.leave.weight"].any()


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (9, 3)])
def test_images_keep_their_shape_and_range(size: int, channels: int) -> None:
    refiner = Refiner(channels, 2, 4)
    torch.nn.init.ones_(refiner.leave.weight)
    images = torch.rand(3, channels, size, size)
    found = refiner(images, torch.tensor([0, 1, 1]))
    assert found.shape == images.shape
    assert found.abs().max() <= 1
    assert not torch.equal(found, images)


def test_what_the_class_is_matters() -> None:
    refiner, image = Refiner(1, 2, 4), torch.rand(1, 1, 8, 8)
    torch.nn.init.normal_(refiner.leave.weight, std=0.01)
    assert not torch.equal(refiner(image, torch.tensor([0])), refiner(image, torch.tensor([1])))


def test_there_is_no_critic_where_no_images_are_drawn() -> None:
    model = parse_model({"family": "gaussians", "frequencies": 4, "critic": 16, "draws": False})
    with pytest.raises(ConfigError, match=r"^training\.refine: leaves a release from which no images can be drawn; "):
        build(model, SCHEMA)
