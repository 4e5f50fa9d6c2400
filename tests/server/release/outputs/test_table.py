"""Files of rows: types of the schema in Parquet, texts of every column in CSV, marks in both."""

import csv
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from silogan.common.errors import UsageError
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Number
from silogan.common.models.networks import Drawn
from silogan.server.release.generator import ReleasedGenerator, together
from silogan.server.release.outputs import OUTPUTS, table_text
from silogan.server.release.outputs.table_text import RowText
from tests.server.release.tables import CODES, COLUMNS, DRUGS, category, columns_of, mixture, released, schema

FORMATS = OUTPUTS["table"].formats


def text_of(generator: ReleasedGenerator, drawn: Drawn) -> str:
    made = RowText(generator.schema)  # pyright: ignore[reportArgumentType]
    return (made.header + b"".join(made.lines(drawn))).decode()


def drawn_from(generator: ReleasedGenerator, count: int = 3000) -> Drawn:
    return together(generator.draw(count, torch.Generator().manual_seed(0)))


def test_texts_are_the_values() -> None:
    drawn = drawn_from(released())
    rows = list(csv.DictReader(io.StringIO(text_of(released(), drawn)), strict=True))
    for name in ("age", "chol", "oldpeak", "bmi", "platelets"):
        read = np.array([float(row[name] or "nan") for row in rows])
        assert np.array_equal(read, drawn.records[name].numpy(), equal_nan=True)
    days = np.array([row["born"] for row in rows], "datetime64[D]").astype(np.float64)
    assert np.array_equal(days, drawn.records["born"].numpy())


def test_odd_names_survive() -> None:
    names = ('say "no"', "a,b", " x ", "=1+1", "Größe 東京", "'")
    of = schema(category('odd, "name"', names), category("other", names, optional=True))
    generator = released(of)
    rows = list(csv.reader(io.StringIO(text_of(generator, drawn_from(generator))), strict=True))
    assert rows[0] == ['odd, "name"', "other", "num"]
    assert {row[0] for row in rows[1:]} == set(names)
    assert {row[1] for row in rows[1:]} == {*names, ""}


def test_a_line_without_any_text_is_still_a_row() -> None:
    of = replace(schema(Number("number", "x", 0, 1, 1.0, optional=True)), label="", label_spellings=())
    drawn = Drawn({"x": torch.tensor([0.0, float("nan"), 1.0], dtype=torch.float64)}, torch.zeros(3, dtype=torch.int64))
    text = text_of(ReleasedGenerator(mixture(of), of, (), "s"), drawn)
    assert list(csv.reader(io.StringIO(text))) == [["x"], ["0"], [""], ["1"]]


def test_wide_tables_are_written_in_smaller_parts() -> None:
    wide = schema(*(category(f"c{number}", ("x" * 100, "y")) for number in range(256)))
    generator = released(wide)
    drawn = drawn_from(generator, 2000)
    parts = list(RowText(wide).lines(drawn))
    assert len(parts) > 1
    assert sum(part.count(b"\n") for part in parts) == 2000


def test_parquet_has_the_schema_s_types(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    generator = released()
    drawn = drawn_from(generator)
    FORMATS["parquet"](tmp_path / "rows.parquet", iter([drawn, drawn]), generator.about(0))
    table = parquet.read_table(tmp_path / "rows.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    names = "dictionary<values=string, indices=int32, ordered=0>"
    assert types == {
        **{"age": "int64", "sex": names, "kin": names, "stage": names, "chol": "int64", "oldpeak": "double"},
        **{"bmi": "double", "born": "date32[day]", "platelets": "int64", "num": names},
    }
    assert table.schema.metadata[b"SiloGAN"] == b"synthetic; seeded"
    assert table.schema.metadata[b"study"] == b"ab12"
    rows = list(csv.DictReader(io.StringIO(text_of(generator, drawn)), strict=True))
    assert table.num_rows == 2 * len(rows)
    for name, kind in types.items():
        found = ["" if value is None else value for value in table[name].to_pylist()[: len(rows)]]
        written = [row[name] for row in rows]
        if kind == "double":
            assert found == [float(value) for value in written]
        else:
            assert [str(value) for value in found] == written


def test_without_pyarrow_parquet_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = r"^--format parquet: needs pyarrow, which is not installed; pip install 'silogan\[parquet\]', or use csv$"
    with pytest.raises(UsageError, match=message):
        FORMATS["parquet"](tmp_path / "rows.parquet", iter([]), released().about(0))
    assert not list(tmp_path.iterdir())


def test_a_table_holds_what_its_columns_hold() -> None:
    assert set(columns_of(drawn_from(released(), 1).records)) == {column.name for column in COLUMNS}


def test_texts_that_are_looked_up_are_those_that_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = drawn_from(released())
    usual = text_of(released(), drawn)
    monkeypatch.setattr(table_text, "TABLED", 7)
    made = RowText(schema())
    for _ in range(25):  # the first texts are made one by one; there are 71 ages, and 48,001 values of bmi
        again = b"".join(made.lines(drawn)).decode()
        assert made.header.decode() + again == usual


CODED = schema(category("sex", ("F", "M")), code_sets=(CODES, DRUGS))


def codes_of(drawn: Drawn, codes: CodeSet) -> list[list[str]]:
    return [[codes.values[place] for place in row.nonzero()[:, 0]] for row in drawn.records[codes.name]]


def test_sets_of_codes_are_written_in_one_cell() -> None:
    generator = released(CODED)
    drawn = drawn_from(generator)
    rows = list(csv.DictReader(io.StringIO(text_of(generator, drawn)), strict=True))
    assert list(rows[0]) == ["sex", "dx", "drugs", "num"]
    for codes in (CODES, DRUGS):
        written = [row[codes.name] for row in rows]
        assert written == [codes.separator.join(names) for names in codes_of(drawn, codes)]
        assert {text.count(codes.separator) for text in written} >= {0, 1}
        assert "" in written


def test_a_code_set_may_end_the_row_and_its_separator_be_a_quote() -> None:
    codes = CodeSet("codes", "dx", ("a", "b"), 2, separator='"')
    of = replace(schema(category("sex", ("F", "M")), code_sets=(codes,)), label="", label_spellings=())
    drawn = drawn_from(released(of))
    rows = list(csv.reader(io.StringIO(text_of(released(of), drawn)), strict=True))
    assert [row[1] for row in rows[1:]] == ['"'.join(names) for names in codes_of(drawn, codes)]


def test_parquet_has_lists_of_codes(tmp_path: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    generator = released(CODED)
    drawn = drawn_from(generator)
    FORMATS["parquet"](tmp_path / "rows.parquet", iter([drawn]), generator.about(0))
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert str(table.schema.field("dx").type).startswith("list<")
    for codes in (CODES, DRUGS):
        assert table[codes.name].to_pylist() == codes_of(drawn, codes)
