"""Whether codes are as frequent in synthetic rows as in real ones, and occur together as often."""

from typing import Any

import numpy as np

from silogan.common.modality.table import TableSchema
from silogan.server.evaluation.table_rows import Bools, Floats, Rows

MOST_ROWS = 100_000
"""Rows of each kind, at most, whose codes are counted: drawn at random."""

MOST_SHOWN = 12
"""Codes whose frequencies are told one by one, at most: the most frequent ones in the test rows."""

FEWEST = 10
"""Test rows that have both codes of a pair, at least, for its lift to be compared."""

_HALF = 0.5  # a row more in each count, so that a pair that is not seen has a logarithm (Haldane, 1956)


def codes(schema: TableSchema, synthetic: Rows, train: Rows, test: Rows, seed: int) -> dict[str, Any]:
    """Codes of synthetic rows against those of real test rows, each figure beside that of as many real training rows.

    Args:
        schema: of all rows, with code sets.
        synthetic: rows.
        train: real ones.
        test: held-out real ones.
        seed: of the rows that are drawn.

    Returns:
        `samples` and `test`, the rows that were compared; `per_row`, the mean number of codes of `synthetic`, `train`
        and `test` rows; `frequencies`, the `mean` and `largest` difference of a code's share of the rows, `largest_at`,
        and `floor_mean` and `floor_largest`; `most_frequent`, the shares of some codes; and `lift`, the correlation of
        the logarithm of pairs' lifts, with `pairs`, its `floor` and the `reason` if there is none.
    """
    samples = min(len(synthetic), len(train), MOST_ROWS)
    kinds = {"synthetic": synthetic.drawn(samples, seed), "train": train.drawn(samples, seed)}
    kinds["test"] = test.drawn(MOST_ROWS, seed)
    counts = {name: _together(rows.codes) for name, rows in kinds.items()}
    shares = {name: np.diag(counts[name]) / len(rows) for name, rows in kinds.items()}
    names = [f"{one.name} {code}" for one in schema.code_sets for code in one.values]
    off, floor = (np.abs(shares[name] - shares["test"]) for name in ("synthetic", "train"))
    shown = np.argsort(-shares["test"], kind="stable")[:MOST_SHOWN]
    return {
        "samples": samples,
        "test": len(kinds["test"]),
        "per_row": {name: float(of.sum()) for name, of in shares.items()},
        "frequencies": {
            "mean": float(off.mean()),
            "largest": float(off.max()),
            "largest_at": names[off.argmax()],
            "floor_mean": float(floor.mean()),
            "floor_largest": float(floor.max()),
        },
        "most_frequent": [
            {"code": names[code], **{name: float(of[code]) for name, of in shares.items()}} for code in shown
        ],
        "lift": _lift(counts, {name: len(rows) for name, rows in kinds.items()}),
    }


def _together(present: Bools) -> Floats:
    """In how many rows bool[N, codes] each two codes are, float64[codes, codes]."""
    shown = present.astype(np.float32)
    return (shown.T @ shown).astype(np.float64)  # float32 counts exactly to 2^24


def _lift(counts: dict[str, Floats], rows: dict[str, int]) -> dict[str, Any]:
    first, second = np.triu_indices(len(counts["test"]), 1)
    common = counts["test"][first, second] >= FEWEST
    first, second = first[common], second[common]
    logs = {name: _log_lift(of, rows[name], first, second) for name, of in counts.items()}
    told = {"pairs": len(first), "correlation": None, "floor": None}
    if len(first) < 3 or any(np.ptp(of) < 1e-9 for of in logs.values()):
        return {**told, "reason": f"fewer than three pairs of codes are in {FEWEST} test rows, or all have one lift"}
    correlation, floor = (float(np.corrcoef(logs[name], logs["test"])[0, 1]) for name in ("synthetic", "train"))
    return {**told, "correlation": correlation, "floor": floor, "reason": None}


def _log_lift(counts: Floats, rows: int, first: Any, second: Any) -> Floats:
    """The logarithm of how many times as often as independent codes two codes are in a row, float64[pairs]."""
    single = np.diag(counts) + _HALF
    return np.log((counts[first, second] + _HALF) * (rows + _HALF) / single[first] / single[second])
