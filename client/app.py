"""The Flower ClientApp of a site: unpack, do the round, pack; refuse by a code."""

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.data import Records, read
from client.data.positions import load_positions
from client.ledger.keys import SiteKey
from client.ledger.ledger import Approval, Cohort, Ledger
from client.ledger.policy import Policy
from client.round import Site, run_round
from common.config.scenario import parse_data
from common.device import threads_for_each
from common.errors import Code, SiloganError
from common.operations.logs import describe
from common.wire.messages import Instruction, unpack
from common.wire.refusals import refusal_record
from common.wire.study import Study

PARTITION_FILE = "partition.npz"
LEDGER_FOLDER = "ledgers"
STATE_FOLDER = "sites"
SIMULATION = "simulation"
"""Who asks simulated hospitals."""

app = ClientApp()
_log = logging.getLogger("silogan.client")


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


def answer(content: RecordDict, name: str, find_site: Callable[[str], Site]) -> RecordDict:
    """Does the round that the server asks for; every fault becomes a refusal by one code.

    Args:
        content: what the server sent.
        name: what to call the site as long as it is not found.
        find_site: the site in the study whose hash is given.

    Privacy:
        What comes back is a `Reply`, or a `Code` that does not depend on patients' data. Why the site refuses is in its
        own log alone, and also there the text of an exception that is not a `SiloganError`, which could quote data, is
        not told.
    """
    try:
        instruction, packed = Instruction.from_record(content)
        site = find_site(instruction.study_id)
        name = site.name
        reply, new_weights = run_round(site, instruction, unpack(packed))
        return reply.to_record(new_weights)
    except SiloganError as error:
        _log.warning("%s refuses (%s): %s", name, error.code, error)
        return refusal_record(name, error.code)
    except Exception as error:
        _log.error("%s refuses (%s): %s", name, Code.UNAVAILABLE, describe(error))  # its text may quote data
        return refusal_record(name, Code.UNAVAILABLE)


def simulated_site(study: Study, run_dir: Path, index: int) -> Site:
    """Site `index` of a simulation, whose run folder stands in for the hospital's own disk."""
    declaration = study.sites[index]

    def read_records() -> Records:
        return _shared_records(study.scenario.data.model_dump_json()).select(
            load_positions(run_dir / PARTITION_FILE, index)
        )

    return Site(
        name=declaration.name,
        study=study,
        declared_size=declaration.declared_size,
        read_records=read_records,
        ledger_path=ledger_path(run_dir, declaration.name),
        key_path=key_path(run_dir, declaration.name),
        read_policy=lambda: _own_policy(study),
        state_folder=run_dir / STATE_FOLDER / declaration.name,
    )


def ledger_path(run_dir: Path, site: str) -> Path:
    """The ledger of a simulated site."""
    return run_dir / LEDGER_FOLDER / f"{site}.sqlite"


def key_path(run_dir: Path, site: str) -> Path:
    """The key of a simulated site, which lies beside its ledger."""
    return run_dir / LEDGER_FOLDER / f"{site}.key"


def open_ledgers(study: Study, run_dir: Path) -> None:
    """What simulated hospitals do before the first round: each makes a key, opens its ledger and approves the plan.

    Ledgers that are there stay as they are.
    """
    if not study.plan.private:
        return
    approval = Approval(study.study_id, study.plan, study.scenario.model.family, SIMULATION, override=SIMULATION)
    for site in study.sites:
        key = SiteKey.create(key_path(run_dir, site.name))
        cohort = Cohort(study.plan.unit, study.plan.delta, rehearsal=study.plan.seeded)
        Ledger.create(ledger_path(run_dir, site.name), cohort, _own_policy(study), key).approve(approval)


def _own_policy(study: Study) -> Policy:
    return Policy.of_plan(study.plan, study.scenario.model.family, SIMULATION)


@functools.lru_cache(maxsize=1)
def _shared_records(data: str) -> Records:
    """The training split that all simulated sites of a process share: one copy in memory."""
    return read(parse_data(json.loads(data))).train
