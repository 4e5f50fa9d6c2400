"""What the workers of tests/client/node/test_worker.py run; a spawned process imports it by name."""

import os
import signal
import time
from multiprocessing.connection import Connection

from flwr.app import ConfigRecord, RecordDict

from silogan.client.node.worker import READY


def obedient(pipe: Connection) -> None:
    """Answers with its process number; `hang` hangs, `die` dies."""
    pipe.send(READY)
    while True:
        wish = pipe.recv()["wish"]["word"]
        if wish == "hang":
            time.sleep(600)
        if wish == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        pipe.send(RecordDict({"answer": ConfigRecord({"pid": os.getpid()})}))


def broken(pipe: Connection) -> None:
    """Never becomes ready."""
    raise ValueError("a patient's name")
