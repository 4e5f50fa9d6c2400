"""The Flower ClientApp of a simulated site. A hospital's node answers without it (`client/node/executor.py`)."""

from collections.abc import Callable
from pathlib import Path

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from silogan.client.answer import answer
from silogan.client.round import Site
from silogan.client.simulated import simulated_site
from silogan.common.device import threads_for_each
from silogan.common.progress import listening, writer
from silogan.common.wire.run_folder import PROGRESS_FILE
from silogan.common.wire.study import Study

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of a simulated site; `run-dir` in the run's configuration is the run folder."""
    run_dir = Path(str(context.run_config["run-dir"]))
    with listening(writer(run_dir / PROGRESS_FILE), who=_name(context)):
        return simulated_round(message, context, lambda _study_id: run_dir)


def simulated_round(message: Message, context: Context, find_run: Callable[[str], Path]) -> Message:
    """One round of the simulated site whose number is the node's `partition-id`.

    Args:
        message: what the server sent.
        context: of the simulated node.
        find_run: the run folder of the study whose hash is given; what it raises becomes a refusal.
    """

    def site(study_id: str) -> Site:
        run_dir = find_run(study_id)
        found = simulated_site(Study.load(run_dir), run_dir, int(context.node_config["partition-id"]))
        torch.set_num_threads(threads_for_each(len(found.study.sites)))  # rounding depends on it
        return found

    return Message(answer(message.content, _name(context), site), reply_to=message)


def _name(context: Context) -> str:
    return f"site-{context.node_config.get('partition-id', '?')}"
