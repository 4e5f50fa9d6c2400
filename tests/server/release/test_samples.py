"""Sample grids: always of the same latent vectors, marked."""

import io
from collections.abc import Callable

import pytest
from PIL import Image

from silogan.common.modality.image import ImageSchema
from silogan.common.models.weights import generator_weights
from silogan.common.privacy.plan import NO_PRIVACY, SEEDED
from silogan.common.wire.messages import Weights
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.release.generator import release
from silogan.server.release.samples import sample_grid


def fresh_generator(study: Study) -> Weights:
    return generator_weights(initial_weights(study))


def text(png: bytes) -> dict[str, str]:
    with Image.open(io.BytesIO(png)) as image:
        return image.text


def test_the_same_weights_give_the_same_grid_and_others_another(study: Study) -> None:
    weights = fresh_generator(study)
    grid = sample_grid(release(study, weights))
    assert sample_grid(release(study, weights)) == grid
    changed = {name: tensor * 50 for name, tensor in weights.items()}
    assert sample_grid(release(study, changed)) != grid


@pytest.mark.parametrize(
    ("seed", "private", "mark"),
    [
        (None, True, "synthetic"),
        (1, True, f"synthetic; {SEEDED}"),
        (1, False, f"synthetic; {NO_PRIVACY}; {SEEDED}"),
    ],
)
def test_a_grid_carries_its_marks(make_study: Callable[..., Study], seed: int | None, private: bool, mark: str) -> None:
    study = make_study(seed=seed, privacy={"enabled": private})
    png = sample_grid(release(study, fresh_generator(study)))
    assert text(png) == {"SiloGAN": mark, "study": study.study_id}


def test_a_generator_without_labels_fills_a_square(make_study: Callable[..., Study]) -> None:
    study = make_study(model={"family": "article"}, schema=ImageSchema(64, 3, ("healthy", "ill")))
    with Image.open(io.BytesIO(sample_grid(release(study, fresh_generator(study))))) as image:
        assert image.mode == "RGB"
        assert image.width == image.height
