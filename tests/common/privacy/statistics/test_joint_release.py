"""An image and its row are one record of a release: bounded together, and read back together."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from silogan.common.modality.joint import JointSchema
from silogan.common.modality.joint_features import JointSpectrum, seen
from silogan.common.modality.table_file import read_description
from silogan.common.privacy.statistics import CentredMoments, Means
from silogan.common.privacy.statistics.base import LARGEST
from tests.joint import CLASSES, DESCRIPTION, joint_records

ROUNDING = 1e-6
LARGEST_FLOAT = torch.finfo(torch.float32).max


@pytest.fixture(scope="module", name="schema")
def _schema(tmp_path_factory: pytest.TempPathFactory) -> JointSchema:
    path: Path = tmp_path_factory.mktemp("joint") / "columns.yaml"
    path.write_text(DESCRIPTION, encoding="utf-8")
    return JointSchema(CLASSES, 8, 1, read_description(path).with_classes(CLASSES))


def spectrum_of(schema: JointSchema, share: float = 0.1) -> JointSpectrum:
    found = seen(schema, 4, share)
    assert isinstance(found, JointSpectrum)
    return found


def around(centres: Tensor, radius: float) -> dict[str, Tensor]:
    return {"centres": centres.float(), "radius": torch.tensor(radius, dtype=torch.float32)}


@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([1e-3, 0.1, 0.9]),
    scale=st.sampled_from([0.0, 1e-38, 1.0, 1e6, LARGEST_FLOAT]),
    radius=st.sampled_from([1e-45, 1e-38, 1e-3, 1.0, LARGEST_FLOAT]),
)
def test_no_record_adds_more_than_allowed_whatever_was_sent(
    schema: JointSchema, seed: int, share: float, scale: float, radius: float
) -> None:
    spectrum, rng = spectrum_of(schema, share), torch.Generator().manual_seed(seed)
    centres = (torch.rand(2, spectrum.dimensions, generator=rng) * 2 - 1) * scale
    stored, labels = joint_records(4, seed % 1000)
    for of in (Means(schema, spectrum), CentredMoments(schema, spectrum, around(centres, radius))):
        rows = of.rows(schema.encode(stored), labels)
        assert rows.isfinite().all()
        norms = rows.norm(dim=1)
        assert 0 < float(norms.min()) <= float(norms.max()) <= LARGEST + ROUNDING


def test_both_blocks_and_the_one_between_them_are_read_back(schema: JointSchema) -> None:
    spectrum, (stored, labels) = spectrum_of(schema), joint_records(600)
    of = CentredMoments(schema, spectrum, around(torch.zeros(2, spectrum.dimensions), 100.0))
    batch = schema.encode(stored)
    total = torch.zeros(2, of.width, dtype=torch.float64).index_add_(0, *of.placed(batch, labels))
    found = of.covariances(total.flatten(), 0.0)
    for label in range(2):
        f = spectrum.of(batch[labels == label]).double()
        torch.testing.assert_close(found.means[label], f.mean(dim=0), rtol=1e-4, atol=1e-6)
        spread = torch.cov((spectrum.weights * f).T, correction=0)
        torch.testing.assert_close(found.matrices[label], spread, rtol=1e-3, atol=1e-5)
        assert float(spread[16:, :16].abs().max()) > 1e-3  # the block between them is not empty
