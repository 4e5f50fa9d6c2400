"""The losses against their textbook formulas, where they are large, and in the direction of their gradients."""

import numpy as np
import pytest
import torch

from silogan.common.models.losses import LOSSES

LOGITS = np.array([-3.0, -1.0, -0.25, 0.0, 0.5, 1.0, 4.0])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


TEXTBOOK = {
    "minimax": (
        lambda x: -np.log(sigmoid(x)),
        lambda x: -np.log(1 - sigmoid(x)),
        lambda x: np.log(1 - sigmoid(x)),
    ),
    "nonsaturating": (
        lambda x: -np.log(sigmoid(x)),
        lambda x: -np.log(1 - sigmoid(x)),
        lambda x: -np.log(sigmoid(x)),
    ),
    "hinge": (lambda x: np.maximum(0, 1 - x), lambda x: np.maximum(0, 1 + x), lambda x: -x),
    "least_squares": (lambda x: (x - 1) ** 2 / 2, lambda x: x**2 / 2, lambda x: (x - 1) ** 2 / 2),
    "wasserstein": (lambda x: -x, lambda x: x, lambda x: -x),
}


def test_every_registered_loss_has_a_textbook_formula() -> None:
    assert TEXTBOOK.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", TEXTBOOK)
def test_values_are_those_of_the_textbook(name: str) -> None:
    loss = LOSSES[name]
    for ours, formula in zip((loss.real, loss.fake, loss.generator), TEXTBOOK[name], strict=True):
        np.testing.assert_allclose(ours(torch.from_numpy(LOGITS)).numpy(), formula(LOGITS), rtol=1e-12)
        np.testing.assert_allclose(ours(torch.from_numpy(LOGITS).float()).numpy(), formula(LOGITS), rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_finite_with_finite_gradients_at_extreme_logits(name: str) -> None:
    loss = LOSSES[name]
    for part in (loss.real, loss.fake, loss.generator):
        logits = torch.tensor([-1e4, 1e4], requires_grad=True)
        values = part(logits)
        values.sum().backward()
        assert values.shape == (2,)
        assert values.isfinite().all()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_discriminator_pulls_real_up_and_fake_down_and_the_generator_pulls_up(name: str) -> None:
    loss = LOSSES[name]
    for part, sign in ((loss.real, -1), (loss.fake, 1), (loss.generator, -1)):
        logits = torch.tensor([0.25, 0.5], requires_grad=True)
        (gradient,) = torch.autograd.grad(part(logits).sum(), logits)
        assert (gradient.sign() == sign).all()


def test_only_the_nonsaturating_generator_learns_from_a_sure_discriminator() -> None:
    logits = torch.tensor([-20.0], requires_grad=True)
    (saturated,) = torch.autograd.grad(LOSSES["minimax"].generator(logits).sum(), logits)
    (strong,) = torch.autograd.grad(LOSSES["nonsaturating"].generator(logits).sum(), logits)
    assert saturated.abs().item() < 1e-8
    assert strong.item() == pytest.approx(-1.0)


@pytest.mark.parametrize("name", LOSSES)
def test_real_images_alone_teach_what_classes_are(name: str) -> None:
    """Of answers with a class's logit beside, real ones cost -log p of their class as well, and others nothing."""
    loss, logits, of_class = LOSSES[name], torch.tensor([-0.5, 2.0]), torch.tensor([0.0, 3.0])
    answers = torch.stack((logits, of_class), dim=1)
    torch.testing.assert_close(loss.real(answers), loss.real(logits) - of_class.sigmoid().log())
    torch.testing.assert_close(loss.fake(answers), loss.fake(logits))
    torch.testing.assert_close(loss.generator(answers), loss.generator(logits))
