"""The hospital as a last column of drawn rows, where a study asks for it."""

import pytest

from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import ConfigError
from silogan.common.modality.table import Category, Number, TableSchema
from silogan.common.modality.table_options import Mixture

SCHEMA = TableSchema(("a", "b"), (Number("number", "age", 0, 100, 1),), site="hospital")
APART = Mixture(by_hospital=True)


def test_the_hospital_is_the_last_column_and_takes_the_place_of_that_of_the_files() -> None:
    drawn = APART.drawn(SCHEMA, ("bergen", "oslo"))
    assert isinstance(drawn, TableSchema)
    assert [column.name for column in drawn.columns] == ["age", "hospital"]
    assert drawn.columns[1] == Category("category", "hospital", ("bergen", "oslo"), ((), ()))
    assert drawn.cells == SCHEMA.cells + 2
    assert APART.counted(drawn).columns == SCHEMA.columns
    assert Mixture().drawn(SCHEMA, ("bergen", "oslo")) is SCHEMA


@pytest.mark.parametrize(
    ("columns", "sites", "problem"),
    [
        ((Category("category", "hospital", ("x",), ((),)),), ("bergen",), "names column 'hospital' twice"),
        (SCHEMA.columns, tuple(f"site-{place}" for place in range(513)), "at most 512 items"),
    ],
)
def test_a_table_that_has_no_place_for_it_is_refused(
    columns: tuple[Category | Number, ...], sites: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"^model.by_hospital: makes a table that cannot be .*{problem}") as raised:
        APART.drawn(TableSchema(("a",), columns), sites)
    assert "\n" not in str(raised.value)


def test_images_have_no_hospital() -> None:
    with pytest.raises(ConfigError, match=r"^model\.by_hospital: "):
        parse_scenario({"name": "x", "model": {"family": "gaussians", "by_hospital": True}, "training": {"rounds": 0}})
