"""Graphs of codes: what they say is true of the rows that are drawn, noise is called noise, and files are valid."""

import csv
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import PrivacyRefusal, UsageError
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import TableSchema
from silogan.common.models.weights import Weights, under
from silogan.common.privacy.plan import PAIRS, make_plan
from silogan.common.privacy.statistics.pairs import Pairs
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.fitting.bayes import bayes_weights
from silogan.server.fitting.groups import groups_of
from silogan.server.fitting.mixture import Found, mixture_weights
from silogan.server.release.code_graph import CodeGraph, code_graph
from silogan.server.release.generator import ReleasedGenerator, release, save_generator, together
from silogan.server.release.outputs.graph import write_graph
from tests.server.release.tables import CODES, DRUGS, category, mixture, schema

pytestmark = pytest.mark.usefixtures("one_thread")

OF = schema(category("sex", ("F", "M")), code_sets=(CodeSet("codes", "dx", CODES.values, 5), DRUGS))
ROWS, SITES = 20_000, 2


def study_of(of: TableSchema, *, rows: int = ROWS, epsilon: float = 10.0, private: bool = True, **model: Any) -> Study:
    scenario = parse_scenario({
        "name": "codes",
        "seed": 0,
        "model": {"family": "mixture", "components": 16, "bins": 2, "by_class": False, "singles_share": 0.0, **model},
        "training": {"rounds": 0},
        "privacy": {"epsilon": epsilon, "delta": 1e-4, "enabled": private},
    })  # fmt: skip
    sites = tuple(SiteDeclaration(f"site-{number}", rows // SITES) for number in range(SITES))
    return Study(scenario, of, make_plan(scenario), sites)


def graph_of(of: TableSchema, **options: Any) -> CodeGraph:
    known = mixture(of)
    return code_graph(ReleasedGenerator(known, of, (), "s"), study_of(of, **options))


def fitted(codes: torch.Tensor, study: Study) -> Weights:
    """What the server makes of rows with these codes bool[N, codes], released as the study says."""
    of = study.schema
    assert isinstance(of, TableSchema)
    stored = {"sex": torch.zeros(len(codes)).double(), "dx": codes}
    model, phase = study.scenario.model, study.plan.find(PAIRS)
    assert phase is not None
    counted = {"by_class": False, "code_pairs": getattr(model, "code_pairs", None) is True}
    pairs = Pairs(of, {"groups": groups_of(of, 2, None)}, **counted)
    total = torch.zeros(1, pairs.width, dtype=torch.float64)
    total.index_add_(0, *pairs.placed(of.encode(stored), torch.zeros(len(codes), dtype=torch.int64)))
    noise = phase.noise_multiplier * SITES**0.5
    total += noise * torch.randn(total.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = Found(pairs.tables(total.flatten(), noise), False, pairs.groups, None)
    return {**mixture_weights(of, found, 16, 300, torch.Generator().manual_seed(2)), **bayes_weights(of, found, 2)}


def test_it_says_how_often_codes_are_drawn_together() -> None:
    found = graph_of(OF)
    drawn = together(ReleasedGenerator(mixture(OF), OF, (), "s").draw(200_000, torch.Generator().manual_seed(0)))
    rows = torch.cat((drawn.records["dx"], drawn.records["drugs"]), dim=1).double().numpy()
    assert [code for _, code in found.codes] == [*CODES.values, *DRUGS.values]
    assert np.abs(rows.mean(axis=0) - found.frequencies).max() < 5 * 0.5 / 200_000**0.5
    both = (rows[:, found.first] * rows[:, found.second]).mean(axis=0)
    assert np.abs(both - found.together).max() < 5 * 0.5 / 200_000**0.5
    assert len(both) == 21
    independent = found.frequencies[found.first] * found.frequencies[found.second]
    assert found.lift == pytest.approx(found.together / independent)
    assert np.abs(found.lift - 1).max() > 0.2


def test_what_is_above_the_noise_depends_on_rows_and_budget_and_on_what_was_counted() -> None:
    clear, faint = graph_of(OF, code_pairs=True), graph_of(OF, rows=200, epsilon=0.1, code_pairs=True)
    assert 10 < clear.above.sum() <= 21
    assert not faint.above.any()
    assert (faint.noise > 100 * clear.noise).all()
    assert not graph_of(OF, code_pairs=False).above.any()
    by_class = graph_of(OF, code_pairs=True, by_class=True)
    assert (by_class.noise > clear.noise).any()


def test_of_codes_that_have_nothing_to_do_with_each_other_no_edge_is_above_the_noise() -> None:
    """And where one code follows another, theirs is."""
    of = schema(category("sex", ("F", "M")), code_sets=(CodeSet("codes", "dx", tuple("abcdefgh"), 8),))
    study, rng = study_of(of, code_pairs=True), torch.Generator().manual_seed(0)
    codes = torch.rand(ROWS, 8, generator=rng) < 0.2
    alone = code_graph(release(study, fitted(codes, study)), study)
    assert not alone.above.any()
    codes[:, 5] = codes[:, 2] & (torch.rand(ROWS, generator=rng) < 0.7)
    found = code_graph(release(study, fitted(codes, study)), study)
    (edge,) = np.flatnonzero((found.first == 2) & (found.second == 5))
    assert found.above[edge]
    assert 2 < found.lift[edge] < 5.5
    assert found.above.sum() < 5


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished(tmp_path / "run", study_of(OF, code_pairs=True))


def finished(folder: Path, study: Study) -> Path:
    folder.mkdir()
    study.save(folder)
    assert isinstance(study.schema, TableSchema)
    weights = under("generator", dict(mixture(study.schema, bins=2, tree=False).state_dict()))
    save_generator(study, weights, folder / GENERATOR_FILE)
    return folder


GRAPHML = "{http://graphml.graphdrawing.org/xmlns}"


def test_graphml_is_what_its_schema_allows(run: Path, tmp_path: Path) -> None:
    said = str(write_graph(run, tmp_path / "new" / "codes.graphml"))
    found = graph_of(OF, code_pairs=True)
    assert (
        f"7 codes in {tmp_path / 'new' / 'codes.graphml'}; {found.above.sum()} of 21 pairs are above the noise" in said
    )
    root = ET.parse(tmp_path / "new" / "codes.graphml").getroot()  # noqa: S314  (our own file)
    assert root.tag == f"{GRAPHML}graphml"
    *keys, graph = root
    assert {key.tag for key in keys} == {f"{GRAPHML}key"}
    types = {key.attrib["id"]: (key.attrib["for"], key.attrib["attr.type"]) for key in keys}
    assert len(types) == len(keys)
    assert graph.attrib == {"id": "codes", "edgedefault": "undirected"}
    nodes, edges = graph.findall(f"{GRAPHML}node"), graph.findall(f"{GRAPHML}edge")
    assert len({node.attrib["id"] for node in nodes}) == len(nodes) == 7
    assert {end for edge in edges for end in edge.attrib.values()} == {node.attrib["id"] for node in nodes}
    for of, parts in (("graph", [graph]), ("node", nodes), ("edge", edges)):
        for part in parts:
            held = {one.attrib["key"]: one.text or "" for one in part.findall(f"{GRAPHML}data")}
            assert held.keys() == {name for name, (known, _) in types.items() if known == of}
            assert all(float(held[name]) >= 0 for name in held if types[name][1] == "double")
            assert all(held[name] in ("true", "false") for name in held if types[name][1] == "boolean")
    codes = [node.find(f"{GRAPHML}data[@key='code']") for node in nodes]
    assert [code.text for code in codes if code is not None] == [*CODES.values, *DRUGS.values]
    marks = {one.attrib["key"]: one.text for one in graph.findall(f"{GRAPHML}data")}
    assert marks["SiloGAN"] == "synthetic; seeded: not private against someone who knows the seed"


def test_networkx_reads_it(run: Path, tmp_path: Path) -> None:
    networkx: Any = pytest.importorskip("networkx")
    write_graph(run, tmp_path / "codes.graphml")
    read, found = networkx.read_graphml(tmp_path / "codes.graphml"), graph_of(OF, code_pairs=True)
    assert [data["code"] for _, data in read.nodes(data=True)] == [code for _, code in found.codes]
    edges = list(read.edges(data=True))
    assert len(edges) == len(found.first)
    assert [data["above_noise"] for *_, data in edges] == found.above.tolist()
    assert [data["lift"] for *_, data in edges] == pytest.approx(found.lift, rel=1e-5)


def test_csv_has_a_line_for_each_pair_and_a_note(run: Path, tmp_path: Path) -> None:
    write_graph(run, tmp_path / "codes.csv")
    with (tmp_path / "codes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    found = graph_of(OF, code_pairs=True)
    assert [(row["column_1"], row["code_1"]) for row in rows] == [found.codes[node] for node in found.first]
    assert [row["code_2"] for row in rows] == [found.codes[node][1] for node in found.second]
    assert [float(row["frequency_2"]) for row in rows] == pytest.approx(found.frequencies[found.second], rel=1e-5)
    assert [row["above_noise"] == "true" for row in rows] == found.above.tolist()
    note = json.loads((tmp_path / "codes.csv.about.json").read_text(encoding="utf-8"))
    assert note["SiloGAN"].startswith("synthetic; seeded")


def test_what_is_no_graph_is_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "old.csv").touch()
    with pytest.raises(UsageError, match="exists already; choose a new place"):
        write_graph(run, tmp_path / "old.csv")
    with pytest.raises(UsageError, match=r"has not the suffix of a graph; use .graphml or .csv"):
        write_graph(run, tmp_path / "codes.json")
    without = finished(tmp_path / "without", study_of(replace(OF, code_sets=())))
    with pytest.raises(UsageError, match="needs a run of a table with code sets"):
        write_graph(without, tmp_path / "codes.csv")
    open_to_all = finished(tmp_path / "open", study_of(OF, private=False))
    with pytest.raises(PrivacyRefusal, match="NON-PRIVATE"):
        write_graph(open_to_all, tmp_path / "codes.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.csv", "open", "run", "without"]
