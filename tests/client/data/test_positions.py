"""Positions of one site's images in a shared data set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silogan.client.data.positions import load_positions, site_key
from silogan.common.errors import DataError


def save(path: Path, parts: list[Any]) -> None:
    arrays: dict[str, Any] = {site_key(site): part for site, part in enumerate(parts)}
    np.savez(path, **arrays)


def test_one_site_is_read_without_the_others(tmp_path: Path) -> None:
    path = tmp_path / "parts.npz"
    parts = [np.arange(0, 100, 2), np.arange(1, 100, 2)]
    save(path, parts)
    content = bytearray(path.read_bytes())
    content[300] ^= 1  # in the first site's values
    path.write_bytes(content)
    assert np.array_equal(load_positions(path, 1), parts[1])
    with pytest.raises(DataError, match="cannot be read or is corrupt"):
        load_positions(path, 0)


def test_bad_partition_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "parts.npz"
    with pytest.raises(DataError, match="does not exist"):
        load_positions(path, 0)
    save(path, [np.array([0])])
    for index in (1, -1):
        with pytest.raises(DataError, match=f"has no site {index}"):
            load_positions(path, index)
    for content in (b"", b"no zip", path.read_bytes()[:-30]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read or is corrupt"):
            load_positions(path, 0)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="cannot be read or is corrupt"):
        load_positions(path, 0)


@pytest.mark.parametrize("part", [[1.0], [], [[1]], [2, 1], [1, 1], [-1, 2]])
def test_positions_must_be_sorted_integers(tmp_path: Path, part: Any) -> None:
    path = tmp_path / "parts.npz"
    np.savez(path, site_0=np.array(part))
    with pytest.raises(DataError, match="does not hold sorted positions for site 0"):
        load_positions(path, 0)
