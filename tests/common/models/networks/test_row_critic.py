"""The critic of rows: it sees cells and class, one row at a time, and may be trained privately."""

import pytest
import torch
from torch import Tensor

from silogan.common.config.scenario import parse_model
from silogan.common.modality.breast_cancer import schema
from silogan.common.models.networks import GAN, build, check_private, initialise
from silogan.common.models.networks.row_critic import RowCritic
from silogan.common.models.networks.silent import Silent

SCHEMA = schema()


@pytest.fixture
def critic() -> RowCritic:
    gan = build(parse_model({"family": "mixture", "components": 2, "critic": 16}), SCHEMA)
    initialise(gan, torch.Generator().manual_seed(0))
    assert isinstance(gan.discriminator, RowCritic)
    return gan.discriminator


def rows(count: int) -> Tensor:
    return torch.rand(count, *SCHEMA.shape, generator=torch.Generator().manual_seed(1))


def test_a_mixture_has_a_critic_only_where_one_is_asked_for() -> None:
    assert isinstance(build(parse_model({"family": "mixture"}), SCHEMA).discriminator, Silent)


def test_it_may_be_trained_privately(critic: RowCritic) -> None:
    check_private(critic)
    labels = torch.tensor([0, 1, 1, 0])
    critic(rows(4), labels).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())
    assert critic(rows(0), labels[:0]).shape == (0,)


def test_it_sees_cells_and_class_and_not_where_in_a_cell_a_number_lies(critic: RowCritic) -> None:
    labels = torch.tensor([0, 1, 1, 0])
    answers = critic(rows(4), labels)
    moved = rows(4)
    moved[:, SCHEMA.cells :] = 0.5
    assert torch.equal(critic(moved, labels), answers)
    moved[:, 0] += 1
    assert not torch.isclose(critic(moved, labels), answers).any()
    assert not torch.isclose(critic(rows(4), 1 - labels), answers).any()
    with pytest.raises(ValueError, match="needs labels"):
        critic(rows(4), None)


def test_a_released_generator_needs_none_of_it() -> None:
    model = parse_model({"family": "mixture", "critic": 16})
    assert GAN(*build(model.released(), SCHEMA)).discriminator.state_dict() == {}
