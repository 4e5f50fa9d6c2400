import csv
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from silogan.client.data import read
from silogan.client.describe.commands import data
from silogan.client.describe.draft import FIRST_LINE, draft, look
from silogan.common.errors import ConfigError, DataError, UsageError
from silogan.common.modality.table_file import read_description
from silogan.common.modality.table_options import Table

ROOT = Path(__file__).parents[3]


def write(folder: Path, header: list[str], rows: list[list[str]]) -> Path:
    path = folder / "ward.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_types_are_guessed(tmp_path: Path) -> None:
    header = ["patient_id", "age", "weight", "sex", "stage", "seen", "note", "ward", "empty", "dose"]
    rows = [
        [
            f"p{n}",
            str(20 + n),
            f"{50 + n / 8:.2f}",
            "FM"[n % 2],
            str(n % 3),
            f"20{10 + n % 9}-03-09",
            f"text {n}",
            "A",
            "",
            "0.5",
        ]
        for n in range(60)
    ]
    rows[3][1] = "NA"
    text = draft(write(tmp_path, header, rows))
    assert text.splitlines()[0] == FIRST_LINE
    assert "not private" in FIRST_LINE.lower()
    assert "# left out: note (different texts" in text
    assert "# left out: empty (no values)" in text
    assert yaml.safe_load(text) == {
        "patient": "patient_id",
        "missing": ["NA"],
        "columns": {
            "age": {"type": "integer", "min": 20, "max": 80, "optional": True},
            "weight": {"type": "numeric", "min": 50.0, "max": 57.5, "resolution": 0.01},
            "sex": {"type": "binary", "values": ["F", "M"]},
            "stage": {"type": "ordinal", "values": [0, 1, 2]},
            "seen": {"type": "date", "min": "2010-01-01", "max": "2018-12-31"},
            "ward": {"type": "categorical", "values": ["A"]},
            "dose": {"type": "ordinal", "values": ["0.5"]},
        },
    }


NUMBERS = st.one_of(
    st.integers(-(10**9), 10**9).map(str),
    st.integers(-(10**6), 10**6).map(lambda n: f"{n / 1000:.3f}"),
    st.floats(-1e9, 1e9).map("{:.6f}".format),
)
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)


@given(st.data())
def test_a_draft_describes_its_own_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever is in the file, the draft is a description by which it can be read."""
    folder = tmp_path_factory.mktemp("draft")
    names = data.draw(
        st.lists(TEXTS.filter(lambda text: text.strip() != ""), min_size=1, max_size=4, unique_by=str.strip)
    )
    kinds = [data.draw(st.sampled_from([NUMBERS, TEXTS, st.dates().map(str), NUMBERS | st.just("?")])) for _ in names]
    count = data.draw(st.sampled_from([1, 3, 50]))
    columns = [data.draw(st.lists(kind, min_size=count, max_size=count)) for kind in kinds]
    path = write(folder, names, [list(row) for row in zip(*columns, strict=True)])
    try:
        text = draft(path)
    except DataError:  # such as a name of blanks that only csv knows
        return
    described = folder / "columns.yaml"
    described.write_text(text, encoding="utf-8")
    if yaml.safe_load(text)["columns"]:
        found = read(Table(root=path, columns=described), may_be_empty=True)
        assert set(found.train.stored) == set(yaml.safe_load(text)["columns"])
        assert len(found.train) + len(found.test) == count


def test_ranges_are_rounded_outwards(tmp_path: Path) -> None:
    rows = [[str(29 + n), f"{-0.3 + n / 7:.7f}"] for n in range(39)]
    found = yaml.safe_load(draft(write(tmp_path, ["age", "depression"], rows)))["columns"]
    assert found["age"] == {"type": "integer", "min": 25, "max": 70}
    assert found["depression"] == {"type": "numeric", "min": -0.5, "max": 5.5}
    assert not math.isclose(found["depression"]["max"], -0.3 + 38 / 7)


def test_parquet_and_several_files_are_drafted_as_one_csv_file(tmp_path: Path) -> None:
    one = write(tmp_path, ["age", "sex", "only"], [["29", "F", "1"], ["61", "M", "2"]])
    two = tmp_path / "oslo.parquet"
    pq.write_table(pa.table({"sex": ["F", None], "age": [44, 78]}), two)
    found = yaml.safe_load(look([one, two]).written())["columns"]
    assert found == {
        "age": {"type": "ordinal", "values": [29, 44, 61, 78]},
        "sex": {"type": "binary", "values": ["F", "M"], "optional": True},
    }
    assert yaml.safe_load(draft(two))["columns"]["age"] == {"type": "binary", "values": [44, 78]}
    pq.write_table(pa.table({"other": [1]}), two)
    with pytest.raises(DataError, match="has no column that the others have"):
        look([one, two])


def test_a_label_has_the_values_of_its_column_as_classes(tmp_path: Path) -> None:
    rows = [[str(n % 2), f"ward-{n % 3}", f"{n}", f"{n + 0.5}", ""] for n in range(50)]
    rows[0][4] = "x"
    seen = look([write(tmp_path, ["outcome", "hospital", "mrn", "dose", "rare"], rows)])
    assert (seen.label, seen.site, seen.patient) == ("outcome", "hospital", "mrn")
    found = yaml.safe_load(seen.written("outcome", "hospital"))
    assert found["label"] == {"column": "outcome", "classes": [0, 1]}
    assert (found["patient"], found["site"], list(found["columns"])) == ("mrn", "hospital", ["dose", "rare"])
    for label, problem in (("outcom", "did you mean 'outcome'"), ("dose", "no classes"), ("rare", "missing in some")):
        with pytest.raises(UsageError, match=problem):
            seen.written(label)


def run(*words: str) -> str:
    done = CliRunner().invoke(data, list(words), env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_description_is_shown_as_a_table_or_json() -> None:
    path = ROOT / "simulations/scenarios/tables/heart.yaml"
    text = run("describe", str(path))
    assert "18 to 99 years" in text
    assert "-3 to 7 mm, in steps of 0.1" in text
    assert "allowed, 0" in text
    assert "column 'num' says the class: healthy, diseased" in text
    assert json.loads(run("describe", str(path), "--json")) == read_description(path).to_plain()


def test_a_draft_is_printed_and_nothing_written(tmp_path: Path) -> None:
    path = write(tmp_path, ["age"], [["30"], ["31"]])
    assert run("describe", str(path), "--draft") == draft(path)
    assert [item.name for item in tmp_path.iterdir()] == ["ward.csv"]


def test_wrong_use_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, ["age"], [["30"]])
    with pytest.raises(UsageError, match="does not fit --draft"):
        run("describe", str(path), "--draft", "--json")
    with pytest.raises(ConfigError, match=r"silogan data describe FILE.csv --draft$"):
        run("describe", str(path))
    with pytest.raises(DataError, match=r"^table 'none': is not a file"):
        run("describe", str(tmp_path / "none.csv"), "--draft")
    path.write_text("")
    with pytest.raises(DataError, match=r"^table 'ward': has no header"):
        run("describe", str(path), "--draft")
    path.write_text("age,age\n1,2\n")
    with pytest.raises(DataError, match=r"^column 'age' of table 'ward': is there twice"):
        run("describe", str(path), "--draft")
