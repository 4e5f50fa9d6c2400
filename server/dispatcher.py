"""Bringing runs to their end: one at a time, each begun again from its checkpoint when it is lost."""

import logging
import threading
import time
from dataclasses import replace

from common.errors import FederationError, SiloganError
from server.checkpoint import Checkpoint
from server.control import Control
from server.enrolment import Enrolment
from server.outcome import OUTCOME_FILE, raise_outcome
from server.submission import Runs, Submission

_LOOK_SECONDS = 1.0
_ASK_SECONDS = 10.0  # between two questions to the SuperLink how a run stands
_ATTEMPTS = 10  # submissions without a round between them
_LONGEST_WAIT = 60.0  # seconds between two submissions

_log = logging.getLogger("silogan.dispatcher")


class Dispatcher:
    """Looks after the runs of a coordinator while its SuperLink is up.

    Args:
        runs: the runs.
        enrolment: the hospitals, of which the SuperLink is told.
        control: the SuperLink.
        supervise: whether a run that was lost is begun again.
    """

    def __init__(self, runs: Runs, enrolment: Enrolment, control: Control, *, supervise: bool) -> None:
        self._runs, self._enrolment, self._control = runs, enrolment, control
        self._supervise = supervise
        self._due: dict[str, float] = {}
        self._reached: dict[str, int] = {}
        self._asked = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Starts looking after them."""
        self._thread.start()

    def stop(self) -> None:
        """Leaves the runs as they are."""
        self._done.set()
        self._thread.join(timeout=10)

    def step(self) -> None:
        """One look: tells the SuperLink of hospitals, ends what is over, begins what waits.

        Raises:
            FederationError: the SuperLink does not answer.
        """
        self._enrolment.tell(self._control)
        every = self._runs.all()
        for name, submission in every.items():
            if submission.state == "running":
                self._follow(name, submission)
            if submission.state == "stopped" and submission.number:
                self._halt(name, submission)
        every = self._runs.all()
        if any(submission.state == "running" for submission in every.values()):
            return
        for name, submission in every.items():
            if submission.state == "queued" and time.monotonic() >= self._due.get(name, 0.0):
                self._begin(name, submission)
                return

    def _work(self) -> None:
        while not self._done.wait(_LOOK_SECONDS):
            if not self._control.is_up():
                continue
            try:
                self.step()
            except (SiloganError, OSError) as error:
                _log.warning("%s", error if isinstance(error, SiloganError) else type(error).__name__)

    def _begin(self, name: str, submission: Submission) -> None:
        (self._runs.path(name) / OUTCOME_FILE).unlink(missing_ok=True)
        number = self._control.start_run(name)
        self._runs.set(name, Submission("running", number, submission.attempts + 1))
        _log.info("run %s begun (attempt %d)", name, submission.attempts + 1)

    def _halt(self, name: str, submission: Submission) -> None:
        self._control.stop_run(submission.number)
        self._runs.set(name, replace(submission, number=0))
        _log.info("run %s stopped", name)

    def _follow(self, name: str, submission: Submission) -> None:
        """Ends a run that has left an outcome, or of which the SuperLink says that it is over."""
        path = self._runs.path(name) / OUTCOME_FILE
        if path.exists():
            try:
                raise_outcome(self._runs.path(name))
            except SiloganError as error:
                self._fail(name, submission, str(error), again=isinstance(error, FederationError))
            else:
                self._runs.set(name, replace(submission, state="finished", attempts=0, problem=""))
                _log.info("run %s finished", name)
            return
        if time.monotonic() - self._asked < _ASK_SECONDS:
            return
        self._asked = time.monotonic()
        status = self._control.run_status(submission.number)
        if status.startswith(("finished", "unknown")) and not path.exists():
            self._fail(name, submission, f"the run was lost ({status})", again=True)

    def _fail(self, name: str, submission: Submission, problem: str, *, again: bool) -> None:
        checkpoint = Checkpoint.latest(self._runs.path(name))
        reached = 0 if checkpoint is None else checkpoint.round
        attempts = 0 if reached > self._reached.get(name, 0) else submission.attempts
        self._reached[name] = reached
        again = again and self._supervise and attempts < _ATTEMPTS
        state = "queued" if again else "failed"
        self._due[name] = time.monotonic() + min(_LONGEST_WAIT, 5.0 * 2**attempts)
        self._runs.set(name, Submission(state, 0, attempts, problem))
        _log.warning("run %s %s: %s", name, "goes on soon" if again else "failed", problem)
