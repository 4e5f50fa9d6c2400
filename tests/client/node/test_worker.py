import importlib.util
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, RecordDict

from silogan.client.node.worker import Worker
from silogan.common.errors import FederationError


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> object:
    """tests/client/node/workers.py, under a name by which a new process finds it as well."""
    path = Path(__file__).with_name("workers.py")
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location("workers", path)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "workers", loaded)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def worker(module: object) -> Generator[Worker]:
    made = Worker(module.obedient)  # type: ignore[attr-defined]
    yield made
    made.stop()


def wish(word: str) -> RecordDict:
    return RecordDict({"wish": ConfigRecord({"word": word})})


def test_one_process_answers_again_and_again(worker: Worker) -> None:
    first, second = (worker.ask(wish("answer"), 60)["answer"]["pid"] for _ in range(2))
    assert first == second


def test_a_worker_that_hangs_is_ended_at_its_deadline_and_replaced(worker: Worker) -> None:
    before = worker.ask(wish("answer"), 60)["answer"]["pid"]
    with pytest.raises(FederationError, match="did not finish the round within 1 s"):
        worker.ask(wish("hang"), 1)
    assert worker.ask(wish("answer"), 60)["answer"]["pid"] != before


def test_a_worker_that_is_killed_is_named_and_replaced(worker: Worker) -> None:
    with pytest.raises(FederationError, match="ended during the round"):
        worker.ask(wish("die"), 60)
    assert worker.ask(wish("answer"), 60)


def test_a_worker_that_does_not_start_is_named_and_says_no_name(
    module: object, capfd: pytest.CaptureFixture[str]
) -> None:
    made = Worker(module.broken)  # type: ignore[attr-defined]
    with pytest.raises(FederationError, match="does not start"):
        made.ask(wish("answer"), 60)
    assert "a patient's name" not in "".join(capfd.readouterr())
