"""The warm worker: a process that has imported torch once, holds the hospital's data, and answers round after round.

It is a separate process, so that one that hangs, is killed or runs out of memory can be replaced without loss: its
reservations stay charged, and its finished rounds are on the disk (`client/state.py`).
"""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess, parent_process
from pathlib import Path
from typing import cast

from flwr.app import RecordDict

from silogan.client.ledger.passphrase import handed_over, remember
from silogan.common.errors import FederationError
from silogan.common.operations.logs import describe, log_to_stderr

READY = "ready"
"""The first message of a worker."""
_ENDED = "ended"
_START_SECONDS = 300.0  # to import torch, on a slow disk

_log = logging.getLogger("silogan.worker")


class Worker:
    """A worker process, started on first use and restarted after it ends.

    Args:
        serve: what the process runs: says that it is ready, then answers what comes through the pipe until it is
            closed. Must be importable.
    """

    def __init__(self, serve: Callable[[Pipe], None]) -> None:
        self._serve = serve
        self._running: tuple[BaseProcess, Pipe] | None = None

    def start(self) -> Pipe:
        """Starts the process, unless it runs, and waits until it is ready; returns the pipe to it.

        Raises:
            FederationError: it ended, or is not ready in time.
        """
        if self._running is not None and self._running[0].is_alive():
            return self._running[1]
        self.stop()
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks, and a GPU's state
        ours, theirs = cast(tuple[Pipe, Pipe], context.Pipe())
        process = context.Process(target=_run, args=(self._serve, theirs), daemon=True)
        process.start()
        theirs.close()
        self._running = process, ours
        if _receive(ours, _START_SECONDS) != READY:
            self.stop()
            raise FederationError("site's worker", "does not start", "see the site's own log")
        return ours

    def ask(self, content: RecordDict, seconds: float) -> RecordDict:
        """One round: what the server sent, and what to answer.

        Raises:
            FederationError: the process ended, or took longer than `seconds` and was ended.
        """
        pipe = self.start()
        try:
            pipe.send(content)
            answer = _receive(pipe, seconds)
        except OSError:
            answer = _ENDED
        if isinstance(answer, RecordDict):
            return answer
        self.stop()
        if answer == _ENDED:
            problem, hint = "ended during the round", "see the site's own log; the site rejoins automatically"
        else:
            problem, hint = (
                f"did not finish the round within {seconds:.0f} s",
                "allow more time or use a faster machine",
            )
        raise FederationError("site's worker", problem, hint)

    def stop(self) -> None:
        """Kills the process, whatever it is doing."""
        if self._running is None:
            return
        process, pipe = self._running
        process.kill()
        process.join()
        pipe.close()
        self._running = None


def _receive(pipe: Pipe, seconds: float) -> object:
    """What the process sends, None if nothing comes in time, `_ENDED` if it ends."""
    try:
        return pipe.recv() if pipe.poll(seconds) else None
    except (EOFError, OSError):
        return _ENDED


def serve_node(folder: Path, word: bytes, pipe: Pipe) -> None:
    """Answers the instructions of a coordinator for the node in `folder`, whose passphrase, if any, is `word`."""
    from silogan.client.node.hospital import Hospital  # noqa: PLC0415  (torch: only the worker waits for it)
    from silogan.common.wire.envelope import fold  # noqa: PLC0415

    remember(word)
    hospital = Hospital(folder)
    pipe.send(READY)
    while True:
        pipe.send(fold(hospital.answer(pipe.recv())))


def node_worker(folder: Path) -> Worker:
    """The worker of the node in `folder`."""
    return Worker(partial(serve_node, folder, handed_over()))


def _run(serve: Callable[[Pipe], None], pipe: Pipe) -> None:
    """The main loop of the process; it ends with its parent."""
    log_to_stderr()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with suppress(EOFError, BrokenPipeError):
            serve(pipe)
    except Exception as error:  # its text may quote data
        _log.error("worker failed: %s", describe(error))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
