import json
from collections.abc import Callable
from pathlib import Path

import pytest

from silogan.common.errors import FederationError, PrivacyRefusal, SiloganError
from silogan.common.wire.run_folder import OUTCOME_FILE
from silogan.common.wire.study import Study
from silogan.server.operations.dispatcher import Dispatcher
from silogan.server.operations.enrolment import Enrolment
from silogan.server.operations.nodes import NodeFacts
from silogan.server.operations.submission import Runs, Submission
from silogan.server.rounds.outcome import write_outcome


class Link:
    """A SuperLink on which runs never end by themselves."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stopped: list[int] = []
        self.status = "running"

    def nodes(self) -> dict[int, NodeFacts]:
        return {}

    def start_run(self, run: str) -> int:
        self.started.append(run)
        return len(self.started)

    def stop_run(self, number: int) -> None:
        self.stopped.append(number)

    def run_status(self, number: int) -> str:
        return self.status


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


@pytest.fixture
def names(runs: Runs, make_study: Callable[..., Study]) -> list[str]:
    """Two runs that are queued."""
    made = [runs.propose(make_study(seed=seed)) for seed in (1, 2)]
    for name in made:
        runs.set(name, Submission("queued"))
    return list(runs.all())


@pytest.fixture
def dispatch(tmp_path: Path, runs: Runs, link: Link, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dispatcher]:
    monkeypatch.setattr("silogan.server.operations.dispatcher._LONGEST_WAIT", 0.0)
    monkeypatch.setattr("silogan.server.operations.dispatcher._ASK_SECONDS", 0.0)

    def make(*, supervise: bool = False) -> Dispatcher:
        return Dispatcher(runs, Enrolment(tmp_path), link, supervise=supervise)  # type: ignore[arg-type]

    return make


def test_one_run_at_a_time(runs: Runs, names: list[str], link: Link, dispatch: Callable[..., Dispatcher]) -> None:
    dispatcher = dispatch()
    for _ in range(3):
        dispatcher.step()
    assert link.started == names[:1]
    write_outcome(runs.path(names[0]), None)
    dispatcher.step()
    assert [runs.get(name).state for name in names] == ["finished", "running"]
    assert link.started == names


@pytest.mark.parametrize(
    ("error", "supervise", "state"),
    [
        (FederationError("quorum", "2 of 3", "start the others"), True, "queued"),
        (FederationError("quorum", "2 of 3", "start the others"), False, "failed"),
        (PrivacyRefusal("budget", "is used up", "stop"), True, "failed"),
    ],
)
def test_a_failed_run_goes_on_only_where_that_can_help(
    runs: Runs, names: list[str], dispatch: Callable[..., Dispatcher], error: SiloganError, supervise: bool, state: str
) -> None:
    runs.set(names[1], Submission("proposed"))
    runs.set(names[0], Submission("running", 1, 1))
    write_outcome(runs.path(names[0]), error)
    dispatcher = dispatch(supervise=supervise)
    dispatcher._follow(names[0], runs.get(names[0]))
    found = runs.get(names[0])
    assert (found.state, found.problem) == (state, str(error))


def test_a_lost_run_is_begun_again_a_bounded_number_of_times(
    runs: Runs, names: list[str], link: Link, dispatch: Callable[..., Dispatcher]
) -> None:
    runs.set(names[1], Submission("proposed"))
    link.status = "finished:failed"
    dispatcher = dispatch(supervise=True)
    for _ in range(50):
        dispatcher.step()
    assert runs.get(names[0]).state == "failed"
    assert "was lost (finished:failed)" in runs.get(names[0]).problem
    assert len(link.started) == 10


def test_a_stopped_run_is_stopped_once(
    runs: Runs, names: list[str], link: Link, dispatch: Callable[..., Dispatcher]
) -> None:
    runs.set(names[1], Submission("proposed"))
    dispatcher = dispatch()
    dispatcher.step()
    runs.set(names[0], Submission("stopped", 1))
    for _ in range(3):
        dispatcher.step()
    assert link.stopped == [1]


def test_an_old_outcome_does_not_speak_for_a_new_attempt(
    runs: Runs, names: list[str], dispatch: Callable[..., Dispatcher]
) -> None:
    write_outcome(runs.path(names[0]), FederationError("quorum", "2 of 3", "start the others"))
    dispatch().step()
    assert runs.get(names[0]).state == "running"
    assert not (runs.path(names[0]) / OUTCOME_FILE).exists()


def test_a_damaged_outcome_is_a_lost_run(runs: Runs, names: list[str], dispatch: Callable[..., Dispatcher]) -> None:
    runs.set(names[1], Submission("proposed"))
    runs.set(names[0], Submission("running", 1, 1))
    (runs.path(names[0]) / OUTCOME_FILE).write_text(json.dumps([1]))
    dispatch().step()
    assert runs.get(names[0]).state == "failed"
