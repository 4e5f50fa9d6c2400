import pytest

from silogan.client.data import read
from silogan.common.errors import ConfigError
from silogan.common.modality.table import Number
from silogan.common.modality.table_options import BreastCancer


def test_rows_lie_within_the_public_ranges_and_are_split_by_class() -> None:
    found = read(BreastCancer())
    assert (found.schema.label, found.schema.classes) == ("diagnosis", ("benign", "malignant"))
    assert (len(found.train), len(found.test)) == (455, 114)
    assert found.train.labels.bincount().tolist() == [285, 170]
    assert found.site_names is None
    columns = found.schema.columns
    assert len(columns) == 30
    for column in columns:
        assert isinstance(column, Number)
        for part in (found.train, found.test):
            values = part.stored[column.name]
            assert not values.isnan().any()
            assert column.low <= values.min()
            assert values.max() < column.high


def test_malignant_nuclei_are_larger() -> None:
    """Columns and labels stand in the right order."""
    train = read(BreastCancer()).train
    for name in ("mean radius", "worst area", "mean concave points"):
        values = train.stored[name]
        assert values[train.labels == 1].mean() > values[train.labels == 0].mean()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data\.classes: differs"):
        read(BreastCancer(classes=("ill", "well")))
    with pytest.raises(ConfigError, match=r"^data\.test_fraction: 0\.0001 leaves a split"):
        read(BreastCancer(test_fraction=1e-4))
