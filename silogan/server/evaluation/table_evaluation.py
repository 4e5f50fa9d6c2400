"""Evaluation of synthetic table rows: how useful they are, how close to real rows, and what they may give away.

All of it looks at real rows and adds no noise, so it stands outside the privacy guarantee: it is for real rows whose
owner agrees to that, such as a public benchmark's. Hospitals alone are measured in simulations only.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from silogan.common.errors import DataError
from silogan.common.modality.table import TableSchema
from silogan.common.models.networks import classified
from silogan.common.progress import begin_part, track
from silogan.server.evaluation.base import Comparison
from silogan.server.evaluation.risks import risks
from silogan.server.evaluation.table_classifiers import CLASSIFIERS, chances_by
from silogan.server.evaluation.table_codes import codes
from silogan.server.evaluation.table_coverage import coverage
from silogan.server.evaluation.table_distances import association, joint, summary, total_variation
from silogan.server.evaluation.table_groups import by_cell, by_mass, by_width, label_name
from silogan.server.evaluation.table_pictures import MOST_CELLS, marginals, pairs, roc
from silogan.server.evaluation.table_rows import Floats, Rows, rows_of
from silogan.server.evaluation.table_scores import Scores, scores_of
from silogan.server.evaluation.table_subgroups import subgroups
from silogan.server.evaluation.table_violations import violations

MOST_COMPARED = 10_000
"""Rows of each kind, at most, whose distances are measured: drawn at random."""

MOST_HOSPITALS = 20
"""Hospitals that are measured alone, at most: the first ones."""

MOST_GROUPS = 8
"""Into which a number is cut, at most, for distances of pairs of columns."""

RELEASED = "tree-augmented naive Bayes"
"""What `Comparison.classify` is called among the classifiers of the release."""

_Chances = Floats | str
"""Chances float64[N, classes] of the test rows, or why there are none."""


def evaluate(asked: Comparison) -> dict[str, Any]:
    """Measures synthetic rows against real ones; the same arguments give the same result.

    Of the settings `real_ceiling` says whether to train on real rows too, and `risks` whether to attack.

    Returns:
        `utility`, the scores of logistic regression, as of other kinds of records; and `table`, all there is to say of
        tables, as its parts describe it. A figure that cannot be measured is None and has a reason.

    Raises:
        DataError: rows or labels are missing, malformed or do not match each other.
    """
    schema = asked.schema
    if not isinstance(schema, TableSchema):
        raise DataError("rows", "are not of a table", "evaluate them as what they are")
    synthetic = None
    if asked.synthetic is not None:
        synthetic = rows_of(schema, asked.synthetic, asked.labels, "synthetic rows")
    train = rows_of(schema, asked.train.records, asked.train.labels, "real training rows")
    test = rows_of(schema, asked.test.records, asked.test.labels, "real test rows")

    taught = _taught(asked, schema, synthetic, train)
    chances = {name: _learnt(name, schema, taught, test, asked.seed) for name in CLASSIFIERS}
    baselines = _baselines(asked)
    table: dict[str, Any] = {
        "scores": [
            {"learnt_from": of, **{name: asdict(_scored(by[of], test)) for name, by in chances.items()}}
            for of in taught
        ],
        "baselines": {name: asdict(scores_of(found, test.known_labels)) for name, found in baselines.items()},
        "hospitals": 0 if asked.train.sites is None else len(asked.train.sites.unique()),
    }
    best = _by_both(chances)
    table |= {"subgroups": subgroups(schema, train, test, best), "roc": roc(best, test.known_labels)}
    table |= _closeness(schema, synthetic, train, test, asked.seed)
    table |= _risks(asked, schema, synthetic, train, test)
    utility, reason = _utility(chances["logistic"], baselines.get(RELEASED), test)
    found = {"utility": utility, "fidelity": None, "fidelity_reason": "tables have distances instead", "table": table}
    return found if reason is None else {**found, "utility_reason": reason}


def _taught(asked: Comparison, schema: TableSchema, synthetic: Rows | None, train: Rows) -> dict[str, Rows]:
    """What classifiers learn from: `synthetic` and `real` rows, and those of each hospital as `hospital NAME`."""
    found = {} if synthetic is None or schema.num_classes < 2 else {"synthetic": synthetic}
    if not asked.settings.real_ceiling or schema.num_classes < 2:
        return found
    found["real"] = train
    if asked.train.sites is not None:
        sites = asked.train.sites.cpu().numpy()
        for site in np.unique(sites)[:MOST_HOSPITALS]:
            found[f"hospital {asked.site_names[site]}"] = train.at(np.flatnonzero(sites == site))
    return found


def _learnt(name: str, schema: TableSchema, taught: Mapping[str, Rows], test: Rows, seed: int) -> dict[str, _Chances]:
    """What one kind of classifier finds, by what it learnt from."""
    begin_part(name)
    return {of: chances_by(name, schema, rows, test, seed) for of, rows in track(taught.items())}


def _baselines(asked: Comparison) -> dict[str, Floats]:
    """Log odds float64[N, classes] of each class against all others, by the release's own classifiers.

    Chances would be rounded to 1 where a class is all but certain, and which row is the likeliest could not be told.
    """
    found: dict[str, Floats] = {}
    for name, classify in (*asked.baselines.items(), (RELEASED, asked.classify)):
        logits = classified(classify, asked.schema, asked.test.records)
        if logits is not None:
            values = logits.double().cpu()
            labels = torch.arange(values.shape[1])
            others = [values.index_fill(1, label, -torch.inf).logsumexp(dim=1) for label in labels]
            found[name] = (values - torch.stack(others, dim=1)).numpy()
    return found


def _scored(found: _Chances, test: Rows) -> Scores:
    return Scores(reason=found) if isinstance(found, str) else scores_of(found, test.known_labels)


def _by_both(chances: Mapping[str, Mapping[str, _Chances]]) -> dict[str, Floats]:
    """The chances that each kind of classifier learnt from synthetic rows, and from all real ones."""
    found = {f"{name}_{of}": by[of] for name, by in chances.items() for of in ("synthetic", "real") if of in by}
    return {name: of for name, of in found.items() if not isinstance(of, str)}


def _utility(
    chances: Mapping[str, _Chances], released: Floats | None, test: Rows
) -> tuple[dict[str, float | None], str | None]:
    """The scores of logistic regression under names that end with what it learnt from, and why there are none."""
    nothing = Scores(reason="the rows have one class" if not chances else "there are no rows to learn from")
    found = {of: _scored(chances[of], test) if of in chances else nothing for of in ("synthetic", "real")}
    if released is not None:
        found["released"] = scores_of(released, test.known_labels)
    measures = ("accuracy", "balanced_accuracy", "auroc")
    utility = {f"{name}_{of}": getattr(scores, name) for of, scores in found.items() for name in measures}
    return utility, found["synthetic"].reason


def _closeness(schema: TableSchema, synthetic: Rows | None, train: Rows, test: Rows, seed: int) -> dict[str, Any]:
    """Distances with their noise floor, coverage, violations, codes, and pictures; None of each if there are none."""
    begin_part("distances")
    parts = ("violations", "distances", "coverage", "marginals", "pairs", "codes")
    if synthetic is None:
        return dict.fromkeys(parts)
    broken = violations(schema, synthetic)
    if synthetic.labels is None:
        train, test = replace(train, labels=None), replace(test, labels=None)
    samples = min(len(synthetic), len(train), MOST_COMPARED)
    drawn, known, held_out = synthetic.drawn(samples, seed), train.drawn(samples, seed), test.drawn(MOST_COMPARED, seed)

    cells, groups = by_cell(schema, train), by_mass(schema, train, MOST_GROUPS)
    names = [grouping.name for grouping in groups]
    one_way, one_way_floor = (
        np.array([abs(cell.shares(rows) - cell.shares(held_out)).sum() / 2 for cell in cells])
        for rows in (drawn, known)
    )
    shares, shares_floor, shares_test = (joint(rows, groups) for rows in (drawn, known, held_out))
    two_way, two_way_floor = (total_variation(of, shares_test, groups) for of in (shares, shares_floor))
    dependence = association(shares_test, groups)
    differs, differs_floor = (abs(association(of, groups) - dependence) for of in (shares, shares_floor))
    counted = [*schema.sensitive, label_name(schema)] if schema.sensitive else []
    return {
        "violations": broken,
        "distances": {
            "samples": samples,
            "test": len(held_out),
            "one_way": summary(one_way, one_way_floor, names),
            "two_way": summary(two_way, two_way_floor, names),
            "association": summary(differs, differs_floor, names),
        },
        "coverage": coverage({"synthetic": shares, "real": shares_floor}, shares_test, groups, counted),
        "marginals": marginals(by_width(schema, train, MOST_CELLS), drawn, held_out, one_way, one_way_floor),
        "pairs": pairs(groups, two_way),
        "codes": codes(schema, synthetic, train, test, seed) if schema.code_sets else None,
    }


def _risks(asked: Comparison, schema: TableSchema, synthetic: Rows | None, train: Rows, test: Rows) -> dict[str, Any]:
    if not asked.settings.risks:
        return {"risks": None, "risks_reason": "evaluation.risks is false"}
    if synthetic is None:
        return {"risks": None, "risks_reason": "there are no synthetic rows"}
    begin_part("risks")
    return {"risks": risks(schema, synthetic, train, test, asked.seed), "risks_reason": None}
