"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.shapes import check_imports

# The suite is a gate, so its examples are the same in each run; `pytest --hypothesis-profile explore` draws new ones.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("gate")

ROOT = Path(__file__).resolve().parents[1]

# Before another conftest imports torch or flwr; processes that a test starts inherit it. One thread: the order of a
# parallel sum depends on the machine, and small tensors are faster without threads.
os.environ.update(OMP_NUM_THREADS="1", FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")
check_imports()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets: SILOGAN_DATA, else `../shared/data`. Skips the test where there is none."""
    configured = os.environ.get("SILOGAN_DATA")
    folder = Path(configured) if configured else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        where = (
            "SILOGAN_DATA is not a folder" if configured else "SILOGAN_DATA is not set and ../shared/data is missing"
        )
        pytest.skip(f"public data sets not found: {where}")
    return folder


@pytest.fixture
def threads_kept() -> Iterator[None]:
    """Torch has as many threads after a test as before it: a run sets their number for the process."""
    import torch  # noqa: PLC0415  (not before the environment is set)

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread(threads_kept: None) -> None:
    """Torch has one thread in a test, whatever an earlier one has left."""
    import torch  # noqa: PLC0415  (see above)

    torch.set_num_threads(1)
