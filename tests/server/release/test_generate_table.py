"""Rows of a table from a finished run: they satisfy the schema and every condition, and files are whole or absent."""

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from torch import Tensor

from silogan.client.data import read
from silogan.common.errors import ConfigError, UsageError
from silogan.common.modality import Stored
from silogan.common.modality.table import Category, TableSchema
from silogan.common.modality.table_grid import grid_of
from silogan.common.modality.table_options import Mixture, Table
from silogan.common.models.networks import Drawn
from silogan.common.models.networks.mixture_sampler import MixtureSampler
from silogan.common.models.weights import generator_weights, under
from silogan.common.privacy.plan import SEEDED
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.release.generate import generate
from silogan.server.release.generator import load_generator, save_generator, together
from silogan.server.release.where import parse_where
from tests.server.release import tables
from tests.server.release.tables import CODES, COLUMNS, DRUGS, IMPOSSIBLE, category, finished, released, schema

ROWS = 100_000


@pytest.fixture
def run(study: Study, run_dir: Path) -> Path:
    return finished(study, run_dir)


def draw(run_dir: Path, out: Path, **changes: object) -> str:
    settings = {"count": 500, "file_format": None, "labels": None, "seed": 3, **changes}
    return str(generate(run_dir, out=out, **settings))  # pyright: ignore[reportArgumentType]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def violations(records: Stored) -> int:
    """Values that the schema does not know, and combinations that it calls impossible."""
    found = 0
    for column in COLUMNS:
        values = records[column.name].numpy()
        known = values[~np.isnan(values)]
        found += 0 if column.optional else len(values) - len(known)
        if isinstance(column, Category):
            found += int((~np.isin(known, np.arange(len(column.values)))).sum())
            continue
        found += int(((known < column.low) | (known > column.high)).sum())
        step = column.resolution or (1.0 if column.date else 0)
        if step:
            steps = (known - column.low) / step
            found += int((np.abs(steps - np.rint(steps)) > 1e-9).sum())
    known = {column.name: column.values for column in COLUMNS if isinstance(column, Category)}
    for combination in IMPOSSIBLE:
        met = [records[name].numpy() == known[name].index(value) for name, value in combination]
        found += int(np.all(met, axis=0).sum())
    return found


def test_every_row_satisfies_the_schema() -> None:
    assert violations(together(released().draw(ROWS, torch.Generator().manual_seed(0))).records) == 0
    without = released(schema(impossible=False))
    assert violations(together(without.draw(ROWS, torch.Generator().manual_seed(0))).records) > 0.01 * ROWS


@pytest.mark.parametrize(
    "text",
    [
        "sex = F and age > 60 and chol >= 200",
        "age in (21, 55, 90) and stage is not missing",
        "chol is missing and oldpeak <= -0.5",
        "bmi > 29.9995 and bmi < 30.0015",
        "born >= 1960-01-01 and born < 1960-02-01 and num = healthy",
        "platelets > 0 and platelets != 7 and platelets < 300",
    ],
)
def test_every_row_meets_the_condition(text: str) -> None:
    where, generator = parse_where(text, schema()), released()
    drawn = together(generator.draw(ROWS, torch.Generator().manual_seed(0), where=where))
    assert drawn.labels is not None
    assert where.holds(schema(), drawn.records, drawn.labels).all()
    assert violations(drawn.records) == 0


def test_rows_under_a_condition_are_like_those_that_are_left_of_all() -> None:
    where, generator = parse_where("sex = F and age > 60 and chol >= 200", schema()), released()
    everybody = together(generator.draw(10 * ROWS, torch.Generator().manual_seed(1)))
    assert everybody.labels is not None
    met = where.holds(schema(), everybody.records, everybody.labels)
    drawn = together(generator.draw(ROWS, torch.Generator().manual_seed(2), where=where))
    assert drawn.labels is not None
    left, smallest = int(met.sum()), 25
    assert left > 20_000
    pairs = {column.name: (everybody.records[column.name][met], drawn.records[column.name]) for column in COLUMNS}
    for name, (filtered, direct) in [*pairs.items(), ("num", (everybody.labels[met], drawn.labels))]:
        if name == "num":
            counts = [torch.bincount(part, minlength=2).numpy() for part in (filtered, direct)]
        else:
            grid = grid_of(schema().column(name))
            bars = min(grid.count, 20)
            placed = [grid.steps(part.numpy()) * bars // grid.count for part in (filtered, direct)]
            counts = [np.bincount(part, minlength=bars + 1) for part in placed]
        kept = (counts[0] + counts[1]) > smallest
        a, b = counts[0][kept], counts[1][kept]
        chi_squared = ((a * np.sqrt(ROWS / left) - b * np.sqrt(left / ROWS)) ** 2 / (a + b)).sum()
        freedom = max(1, kept.sum() - 1)
        assert chi_squared < freedom + 5 * np.sqrt(2 * freedom), name


def test_classes_are_as_frequent_as_they_were_fitted_where_nobody_asks() -> None:
    generator = released(schema(impossible=False))
    network = generator.network
    fitted = network.get_buffer("chances").double() @ network.get_buffer("classes").double()
    drawn = together(generator.draw(ROWS, torch.Generator().manual_seed(0)))
    assert drawn.labels is not None
    assert abs(float((drawn.labels == 1).double().mean()) - float(fitted[1])) < 5 * 0.5 / np.sqrt(ROWS)
    assert abs(float(fitted[1]) - 0.5) > 0.02  # not evenly spread by chance


def test_rows_do_not_depend_on_how_many_follow() -> None:
    generator = released()
    few, many = (
        together(generator.draw(count, torch.Generator().manual_seed(5))).records for count in (70_000, 140_000)
    )
    for name, column in few.items():
        assert torch.equal(column[:65_536].nan_to_num(-1e9), many[name][:65_536].nan_to_num(-1e9))


def test_memory_does_not_grow_with_the_rows(run: Path, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        draw(run, tmp_path / f"{count}.csv", count=count)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # what is imported
    assert peak(500_000) < 1.1 * peak(140_000)


def test_a_csv_is_read_back_by_others(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "rows.csv"
    assert draw(run, out, count=5000) == f"5000 synthetic table rows in {out} ({SEEDED})"
    assert out.read_bytes().startswith(b"age,sex,kin,stage,chol,oldpeak,bmi,born,platelets,num\n")
    rows = rows_of(out)
    assert len(rows) == 5000
    assert {row["sex"] for row in rows} == {"F", "M"}
    assert {row["kin"] for row in rows} == set(tables.KIN)
    assert {row["num"] for row in rows} == {"healthy", "ill, or worse"}
    assert {row["stage"] for row in rows} == {"", *tables.STAGES}
    assert all(row["age"] == str(int(row["age"])) for row in rows)
    assert all(row["oldpeak"] == f"{float(row['oldpeak']):.1f}" != "-0.0" for row in rows)
    assert all(row["bmi"] == f"{float(row['bmi']):.3f}" for row in rows)
    assert all(date(1930, 1, 1) <= date.fromisoformat(row["born"]) <= date(1989, 12, 31) for row in rows)
    assert all(row["platelets"] == "" or 0 <= int(row["platelets"]) <= 1_000_000 for row in rows)
    about = json.loads((tmp_path / "new" / "rows.csv.about.json").read_text(encoding="utf-8"))
    assert (about["SiloGAN"], about["study"]) == (f"synthetic; {SEEDED}", load_generator(run / GENERATOR_FILE).study_id)


def test_a_csv_holds_the_rows_that_are_drawn(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "rows.csv", count=2000)
    text = (tmp_path / "rows.csv").read_text(encoding="utf-8")
    again = io.StringIO()
    writer = csv.writer(again, lineterminator="\n")
    writer.writerows(csv.reader(io.StringIO(text), strict=True))
    assert again.getvalue() == text


def test_rows_under_a_condition_say_so(run: Path, tmp_path: Path) -> None:
    said = draw(run, tmp_path / "rows.csv", where="age > 60\n and 'sex' = F")
    assert said.endswith(f"({SEEDED}; drawn where age > 60 and 'sex' = F)")
    about = json.loads((tmp_path / "rows.csv.about.json").read_text(encoding="utf-8"))
    assert "drawn where age > 60 and 'sex' = F" in about["SiloGAN"]
    rows = rows_of(tmp_path / "rows.csv")
    assert all(int(row["age"]) > 60 and row["sex"] == "F" for row in rows)


def test_labels_restrict_the_classes(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "a.csv", labels=("healthy",))
    assert {row["num"] for row in rows_of(tmp_path / "a.csv")} == {"healthy"}
    draw(run, tmp_path / "b.csv", labels=("healthy",), where="sex = F and num in (healthy, 'ill, or worse')")
    assert {(row["num"], row["sex"]) for row in rows_of(tmp_path / "b.csv")} == {("healthy", "F")}
    with pytest.raises(UsageError, match="is met by no row of this generator"):
        draw(run, tmp_path / "c.csv", labels=("healthy",), where="num = 'ill, or worse'")
    with pytest.raises(UsageError, match=r"^--labels: unknown class 'healhty'; did you mean 'healthy'\?$"):
        draw(run, tmp_path / "c.csv", labels=("healhty",))


def test_a_condition_that_only_impossible_rows_meet_is_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="draws hardly any row here that the schema calls possible; ask for less"):
        draw(run, tmp_path / "deep" / "rows.csv", where="sex = F and kin = husband", count=100)
    assert not (tmp_path / "deep").exists()


def test_a_seed_draws_the_same_file_again(run: Path, tmp_path: Path) -> None:
    def content(name: str, seed: int | None) -> bytes:
        draw(run, tmp_path / name, seed=seed)
        return (tmp_path / name).read_bytes()

    assert content("a.csv", 3) == content("b.csv", 3)
    assert content("c.csv", 4) != content("d.csv", 3)
    assert content("e.csv", None) != content("f.csv", None)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, MemoryError, OSError])
def test_an_interrupted_run_leaves_no_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    whole, drawn = MixtureSampler.draw, iter((True, True, False))

    def broken(self: MixtureSampler, count: int, rng: torch.Generator, labels: Tensor | None = None) -> Drawn:
        if count > 10_000 and not next(drawn):
            raise fault
        return whole(self, count, rng, labels)

    monkeypatch.setattr(MixtureSampler, "draw", broken)
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError if fault is OSError else fault):
        draw(run, tmp_path / "out" / "rows.csv", count=200_000)
    assert not list((tmp_path / "out").iterdir())


def test_nothing_is_written_over(run: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv.about.json").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"has a file beside it already, rows\.csv\.about\.json; choose a new place"):
        draw(run, tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv.about.json").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "rows.csv").exists()


def test_rows_have_formats_of_their_own(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--format npz: is not available for table rows; use csv, parquet$"):
        draw(run, tmp_path / "rows", file_format="npz")


def test_images_have_no_conditions(study: Study, run_dir: Path, tmp_path: Path) -> None:
    save_generator(study, generator_weights(initial_weights(study)), run_dir / GENERATOR_FILE)
    with pytest.raises(UsageError, match=r"^--where: is not available for images; leave it out, or use --labels$"):
        draw(run_dir, tmp_path / "out", where="age > 60")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_bar_is_for_terminals_alone(run: Path, tmp_path: Path, is_terminal: bool) -> None:
    said = io.StringIO()
    draw(run, tmp_path / "rows.csv", console=Console(file=said, force_terminal=is_terminal, width=100))
    assert ("table rows" in said.getvalue()) == is_terminal


def test_rows_are_drawn_as_they_are_written() -> None:
    parts: Iterator[Drawn] = released().draw(10**12, torch.Generator())
    assert len(next(parts).records["age"]) == 65_536


def test_labels_may_come_from_the_classifier_of_the_release(study: Study, run_dir: Path, tmp_path: Path) -> None:
    network = tables.mixture(schema())
    assert network.bayes is not None
    network.bayes.offsets.copy_(torch.tensor([0.0, 50.0]))
    scenario = study.scenario.model_copy(update={"model": Mixture(components=16)})
    weights = under("generator", dict(network.state_dict()))
    save_generator(Study(scenario, schema(), study.plan, study.sites), weights, run_dir / GENERATOR_FILE)
    draw(run_dir, tmp_path / "asked.csv")
    draw(run_dir, tmp_path / "found.csv", by_classifier=True)
    asked, found = rows_of(tmp_path / "asked.csv"), rows_of(tmp_path / "found.csv")
    assert {row.pop("num") for row in asked} == {"healthy", "ill, or worse"}
    assert {row.pop("num") for row in found} == {"ill, or worse"}
    assert asked == found


def test_rows_with_codes_are_read_as_they_were_written(study: Study, run_dir: Path, tmp_path: Path) -> None:
    of = schema(category("sex", ("F", "M")), code_sets=(CODES, DRUGS))
    (tmp_path / "rows").mkdir()
    draw(finished(study, run_dir, of), tmp_path / "rows" / "a.csv", count=400, where="dx contains I10")
    written = rows_of(tmp_path / "rows" / "a.csv")
    assert len(written) == 400
    assert all("I10" in row["dx"].split("|") and row["dx"].count("|") < CODES.most for row in written)
    codes = {one.name: {"type": "codes", "values": list(one.values), "most": one.most} for one in (CODES, DRUGS)}
    codes["drugs"]["separator"] = DRUGS.separator
    described = {
        "label": {"column": "num", "classes": list(of.classes)},
        "columns": {"sex": {"type": "binary", "values": ["F", "M"]}, **codes},
    }
    (tmp_path / "columns.yaml").write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
    found = read(Table(root=tmp_path / "rows", columns=tmp_path / "columns.yaml"), may_be_empty=True)
    assert isinstance(found.schema, TableSchema)
    assert found.schema.code_sets == of.code_sets
    counts = sum(part.stored["dx"].sum(dim=0) for part in (found.train, found.test))
    expected = [sum(code in row["dx"].split("|") for row in written) for code in CODES.values]
    assert counts.tolist() == expected  # pyright: ignore[reportAttributeAccessIssue]
