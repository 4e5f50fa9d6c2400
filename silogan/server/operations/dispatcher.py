"""The dispatcher: completes runs one at a time, and restarts lost ones from their checkpoints.

What is damaged stops nothing else: a run whose folder cannot be used is set aside with its problem, and the others go
on. Everything that is wrong is said once in the log, and again when it changes.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from silogan.common.errors import FederationError, SiloganError, reason
from silogan.common.wire.run_folder import OUTCOME_FILE
from silogan.server.operations.control import Control
from silogan.server.operations.enrolment import Enrolment
from silogan.server.operations.submission import Runs, Submission
from silogan.server.rounds.mark import mark
from silogan.server.rounds.outcome import raise_outcome

_LOOK_SECONDS = 1.0
_ASK_SECONDS = 10.0  # between two questions to the SuperLink how a run, or its nodes, stand
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
        ready: called once, when the SuperLink answers for the first time.
        watch: called after each look.
    """

    def __init__(
        self,
        runs: Runs,
        enrolment: Enrolment,
        control: Control,
        *,
        supervise: bool,
        ready: Callable[[], None] = lambda: None,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._runs, self._enrolment, self._control = runs, enrolment, control
        self._supervise, self._ready, self._watch = supervise, ready, watch
        self._due: dict[str, float] = {}
        self._reached: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._said: dict[str, str] = {}
        self._asked, self._told = -_ASK_SECONDS, -_ASK_SECONDS
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Starts the dispatcher."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the dispatcher; runs are left as they are."""
        self._done.set()
        self._thread.join(timeout=10)

    def step(self) -> None:
        """One pass: registers hospitals, ends finished runs, starts waiting ones.

        Raises:
            FederationError: the SuperLink does not answer.
        """
        self._tell()
        every = self._runs.all()
        self._end_what_is_gone(every)
        for name, submission in every.items():
            if submission.state == "running":
                self._carefully(name, submission, self._follow)
            elif submission.state == "stopped" and submission.number:
                self._carefully(name, submission, self._halt)
            elif submission.state == "damaged":
                self._say(name, f"run {name} is set aside: {submission.problem}")
        for name, submission in self._runs.all().items():
            if submission.state == "running":
                return
            if submission.state == "queued" and time.monotonic() >= self._due.get(name, 0.0):
                self._carefully(name, submission, self._begin)
                if name in self._numbers:
                    return

    def _work(self) -> None:
        while not self._done.wait(_LOOK_SECONDS):
            try:
                if self._control.is_up():
                    self._ready()
                    self._ready = lambda: None
                    self.step()
                self._watch()
                self._say("", "")
            except Exception as error:  # whatever it is, the thread continues
                self._say("", reason(error))

    def _say(self, about: str, what: str) -> None:
        """Logs a problem, unless the same problem was the last one logged for this thing."""
        if what and self._said.get(about) != what:
            _log.warning("%s", what)
        self._said[about] = what

    def _tell(self) -> None:
        """Registers the hospitals with the SuperLink; if this fails, runs continue with those that it knows."""
        try:
            if not self._enrolment.pending() and time.monotonic() - self._told < _ASK_SECONDS:
                return
            self._told = time.monotonic()
            for site, problem in self._enrolment.tell(self._control).items():
                self._say(f"site {site}", problem)
        except FederationError:
            raise
        except (SiloganError, OSError) as error:
            self._say("sites", str(error) if isinstance(error, SiloganError) else f"sites.json: {error.strerror}")
        else:
            self._say("sites", "")

    def _carefully(self, name: str, submission: Submission, act: Callable[[str, Submission], None]) -> None:
        """Does something for a run, and isolates its errors from other runs."""
        try:
            act(name, submission)
        except FederationError as error:  # of the SuperLink
            self._due[name] = time.monotonic() + _ASK_SECONDS
            self._say(name, f"run {name}: {error}")
        except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            self._set_aside(name, f"run '{name}': its folder is damaged ({error.strerror}); restore it from a backup")
        except OSError as error:  # as a full disk, which is not the run's own
            self._due[name] = time.monotonic() + _ASK_SECONDS
            self._say(name, f"run {name}: its folder cannot be used ({error.strerror}); free or repair the disk")
        except SiloganError as error:
            self._set_aside(name, str(error))
        except Exception as error:  # of whatever is in its folder
            self._set_aside(name, f"run '{name}': cannot be read ({type(error).__name__}); run `silogan server repair`")

    def _set_aside(self, name: str, problem: str) -> None:
        self._say(name, f"run {name} is set aside: {problem}")
        self._stop_at_superlink(name)
        with suppress(SiloganError, OSError):  # where that cannot be written, `Runs.all` finds it damaged again
            self._runs.set(name, Submission("damaged", problem=problem))

    def _end_what_is_gone(self, every: dict[str, Submission]) -> None:
        """Stops runs at the SuperLink whose folders are missing or no longer say that they run."""
        for name in list(self._numbers):
            if name not in every:
                self._say(name, f"run {name}: its folder is missing; restore it from a backup, then submit it again")
                self._stop_at_superlink(name)
            elif every[name].state == "damaged":
                self._stop_at_superlink(name)

    def _stop_at_superlink(self, name: str) -> None:
        number = self._numbers.pop(name, 0)
        with suppress(FederationError):  # it has ended, or is unknown
            if number:
                self._control.stop_run(number)

    def _begin(self, name: str, submission: Submission) -> None:
        found = self._runs.check(name)
        (self._runs.path(name) / OUTCOME_FILE).unlink(missing_ok=True)
        # A number that could not be written down, as on a full disk, is that of a run which is there already.
        number = self._numbers.get(name) or self._control.start_run(name)
        self._numbers[name] = number
        self._runs.set(name, Submission("running", number, submission.attempts + 1, found.problem))
        self._said.pop(name, None)
        _log.info("run %s started (attempt %d) %s", name, submission.attempts + 1, found.problem)

    def _halt(self, name: str, submission: Submission) -> None:
        if not _is_over(self._control.run_status(submission.number)):
            self._control.stop_run(submission.number)
        self._numbers.pop(name, None)
        self._runs.set(name, replace(submission, number=0))
        _log.info("run %s stopped", name)

    def _follow(self, name: str, submission: Submission) -> None:
        """Ends a run that has left an outcome, or of which the SuperLink says that it is over."""
        self._numbers[name] = submission.number
        path = self._runs.path(name) / OUTCOME_FILE
        if path.exists():
            try:
                raise_outcome(self._runs.path(name))
            except SiloganError as error:
                self._fail(name, submission, str(error), again=isinstance(error, FederationError))
            else:
                self._numbers.pop(name, None)
                self._runs.set(name, replace(submission, state="finished", attempts=0, problem=""))
                _log.info("run %s finished", name)
            return
        if time.monotonic() - self._asked < _ASK_SECONDS:
            return
        self._asked = time.monotonic()
        status = self._control.run_status(submission.number)
        if _is_over(status) and not path.exists():
            self._fail(name, submission, f"the run was lost ({status})", again=True)

    def _fail(self, name: str, submission: Submission, problem: str, *, again: bool) -> None:
        reached = mark(self._runs.path(name))[0].round
        attempts = 0 if reached > self._reached.get(name, 0) else submission.attempts
        self._reached[name] = reached
        again = again and self._supervise and attempts < _ATTEMPTS
        state = "queued" if again else "failed"
        self._due[name] = time.monotonic() + min(_LONGEST_WAIT, 5.0 * 2**attempts)
        self._numbers.pop(name, None)
        self._runs.set(name, Submission(state, 0, attempts, problem))
        _log.warning("run %s %s: %s", name, "will be restarted" if again else "failed", problem)


def _is_over(status: str) -> bool:
    return status.startswith(("finished", "unknown"))
