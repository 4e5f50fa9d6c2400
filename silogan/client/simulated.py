"""Simulated hospitals: their data is a share of one data set, and their disk is the run folder."""

import functools
import json
from pathlib import Path

from silogan.client.data import Records, read
from silogan.client.data.positions import load_positions
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.ledger import Approval, Cohort, Ledger
from silogan.client.ledger.policy import Policy
from silogan.client.round import Site
from silogan.common.config.scenario import parse_data
from silogan.common.wire.run_folder import PARTITION_FILE, STATE_FOLDER, key_path, ledger_path
from silogan.common.wire.study import Study

SIMULATION = "simulation"
"""Who asks simulated hospitals."""


def simulated_site(study: Study, run_dir: Path, index: int) -> Site:
    """Site `index` of a simulation, whose run folder stands in for the hospital's own disk."""
    declaration = study.sites[index]

    def read_records() -> Records:
        shared = _shared_records(study.scenario.data.model_dump_json())
        return shared.select(load_positions(run_dir / PARTITION_FILE, index))

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


def open_ledgers(study: Study, run_dir: Path) -> None:
    """Prepares simulated hospitals for the first round: each creates a key, opens its ledger and approves the plan.

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
