"""What the tests of hostile inputs start from."""

from pathlib import Path

import pytest

from silogan.simulations.fuzz import places
from tests.hostile.inputs import Desk, copy_of


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a node, a coordinator and the files that they read: all right, and not to be changed."""
    folder = tmp_path_factory.mktemp("hostile") / "base"
    places.make(folder)
    return folder


@pytest.fixture
def desk(base: Path, tmp_path: Path) -> Desk:
    """A copy of it for one test."""
    return copy_of(base, tmp_path / "desk")
