"""Layers that mix or remember patients, or have no rule for a patient's gradient, are refused by name."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from silogan.common.errors import ConfigError
from silogan.common.models.networks.base import Discriminator
from silogan.common.models.networks.supported import FIXED_LAYERS, check_private


class Wrapper(Discriminator):
    conditional = False

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.features(images)


class OwnParameter(Wrapper):
    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 1))
        self.scale = nn.Parameter(torch.ones(1))


class SubclassedLinear(nn.Linear):
    """Looks like a Linear, may compute anything."""


REFUSED = [
    (nn.BatchNorm2d(4), r"BatchNorm2d mixes patients of a batch; use GroupNorm"),
    (nn.BatchNorm1d(4), r"BatchNorm1d mixes patients"),
    (nn.SyncBatchNorm(4), r"SyncBatchNorm mixes patients"),
    (nn.BatchNorm2d(4, affine=False, track_running_stats=False), r"BatchNorm2d mixes patients"),
    (nn.InstanceNorm2d(4, track_running_stats=True), r"InstanceNorm2d keeps running statistics"),
    (nn.GRU(4, 4), r"GRU has no per-patient gradient; use Conv2d, "),
    (nn.Conv3d(1, 1, 1), r"Conv3d has no per-patient gradient"),
    (nn.PReLU(), r"PReLU has no per-patient gradient"),
    (nn.Bilinear(2, 2, 1), r"Bilinear has no per-patient gradient"),
    (SubclassedLinear(2, 2), r"SubclassedLinear has no per-patient gradient"),
    (parametrizations.spectral_norm(nn.Linear(2, 2)), r"has no per-patient gradient"),
    (nn.Embedding(3, 2, max_norm=1.0), r"Embedding rescales"),
    (nn.Embedding(3, 2, scale_grad_by_freq=True), r"Embedding rescales"),
    (nn.Embedding(3, 2, sparse=True), r"Embedding rescales"),
]


@pytest.mark.parametrize(("layer", "words"), REFUSED, ids=lambda value: type(value).__name__)
def test_a_layer_that_cannot_be_private_is_refused_with_its_path(layer: nn.Module, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^discriminator\.features\.1.*: .*{words}"):
        check_private(Wrapper(nn.Linear(2, 2), layer))


@pytest.mark.parametrize("layer", FIXED_LAYERS)
def test_a_fixed_layer_may_stand_before_others_and_has_nothing_to_learn(layer: type[nn.Module]) -> None:
    check_private(Wrapper(layer(2), nn.Linear(2, 1)))
    assert list(layer(2).parameters()) == []


def test_a_parameter_outside_a_leaf_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^discriminator: OwnParameter has no per-patient gradient"):
        check_private(OwnParameter())


def test_a_layer_used_under_two_names_is_refused() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r"^discriminator\.features\.2: shares its parameters with .*features\.0"):
        check_private(Wrapper(layer, nn.ReLU(), layer))


def test_tied_weights_are_refused() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    with pytest.raises(ConfigError, match="shares its parameters"):
        check_private(Wrapper(first, second))


def test_layers_with_a_rule_and_layers_without_parameters_pass() -> None:
    check_private(
        Wrapper(
            nn.Conv2d(1, 4, 3),
            nn.ConvTranspose2d(4, 4, 3),
            nn.GroupNorm(2, 4),
            nn.InstanceNorm2d(4, affine=True),
            nn.LeakyReLU(),
            nn.Dropout(),
            nn.AvgPool2d(2),
            nn.LayerNorm(4),
            nn.Linear(4, 1),
            nn.Embedding(3, 2),
        )
    )
