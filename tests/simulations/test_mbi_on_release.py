"""What the benchmark hands to mbi, and what it makes of the rows that come back; mbi itself is not installed here."""

from pathlib import Path

import numpy as np
import pytest
import torch

from silogan.server.fitting.mixture import singles_of
from silogan.simulations.benchmarks import mbi_on_release
from silogan.simulations.benchmarks._mbi_fit import Release
from silogan.simulations.benchmarks.mbi_on_release import environment, in_cells, write_release
from tests.server.fitting.test_mixture import SCHEMA, counted, rows

pytestmark = pytest.mark.usefixtures("one_thread")


def test_counts_travel_whole_and_sums_of_pairs_make_them_better_known(tmp_path: Path) -> None:
    found, exact = counted(100.0, with_singles=False), counted(0.0, with_singles=False)
    write_release(tmp_path / "release.npz", SCHEMA, found)
    with np.load(tmp_path / "release.npz") as arrays:
        told = Release({name: arrays[name] for name in arrays.files})
    assert (told.classes, told.columns, told.sizes) == (2, 3, [8, 3, 3])
    singles, variance = singles_of(SCHEMA, found)
    everything = {(0, 1), (0, 2), (1, 2)}
    counts, own = told.alone(1, everything)  # no pair is left beside those that a model has itself
    np.testing.assert_allclose(counts, singles[:, 8:11])
    np.testing.assert_allclose(own, variance[8:11])
    better, known = told.alone(1, set())
    assert (known < 0.7 * own).all()
    off = (better - exact.tables.singles[:, 8:11].numpy()) ** 2 / known
    assert off.mean() == pytest.approx(1, abs=0.7)
    np.testing.assert_allclose(told.pair(2, 0), told.pair(0, 2).transpose(0, 2, 1))
    assert told.total == pytest.approx(float(singles.sum() / 3))


def test_rows_lie_in_the_groups_that_were_drawn() -> None:
    found = counted(1.0)
    groups = torch.stack([torch.arange(300) % size for size in (8, 3, 3)], dim=1)
    batch = SCHEMA.encode(in_cells(SCHEMA, found, groups))
    cells = torch.stack([batch[:, block].argmax(dim=1) + block.start for block in SCHEMA.blocks], dim=1)
    starts = found.groups[[block.start for block in SCHEMA.blocks]]
    assert torch.equal(found.groups[cells] - starts, groups)


def test_cells_of_a_group_are_as_frequent_as_they_were_counted() -> None:
    found = counted(1.0)
    x = SCHEMA.blocks[0]
    (first,) = (found.groups[x] == 1).nonzero()[:1, 0].tolist()
    groups = torch.tensor([[1, 0, 0]]).expand(20_000, 3)
    drawn = SCHEMA.encode(in_cells(SCHEMA, found, groups))[:, x].mean(dim=0)
    real = rows()[0][:, x][:, found.groups[x] == 1].sum(dim=0)
    assert float((drawn[first : first + len(real)] - real / real.sum()).abs().max()) < 0.02


def test_where_mbi_cannot_be_installed_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venv.create", lambda *_, **__: None)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/bin/false")
    with pytest.raises(SystemExit, match=f"cannot install {mbi_on_release.MBI}; connect to a package index"):
        environment(tmp_path)
