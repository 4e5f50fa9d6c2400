"""The Flower ClientApp of a simulated site. A hospital's node answers without it (`client/node/executor.py`)."""

from pathlib import Path

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from silogan.client.answer import answer
from silogan.client.round import Site
from silogan.client.simulated import simulated_site
from silogan.common.device import threads_for_each
from silogan.common.wire.study import Study

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of a simulated site."""
    index = context.node_config.get("partition-id", "?")

    def site(_study_id: str) -> Site:
        run_dir = Path(str(context.run_config["run-dir"]))
        found = simulated_site(Study.load(run_dir), run_dir, int(index))
        torch.set_num_threads(threads_for_each(len(found.study.sites)))  # rounding depends on it
        return found

    return Message(answer(message.content, f"site-{index}", site), reply_to=message)
