"""Prepares a run folder for every engine: check the scenario, partition the data, plan, write."""

import re
from pathlib import Path

import numpy as np

from silogan.client.data import DataSet, read
from silogan.client.simulated import open_ledgers
from silogan.common.config.scenario import Scenario
from silogan.common.device import choose_device
from silogan.common.errors import ConfigError, DataError
from silogan.common.files import writing
from silogan.common.privacy.plan import choose_unit, make_plan
from silogan.common.registry import lookup
from silogan.common.seeding import derive_seed
from silogan.common.wire.run_folder import PARTITION_FILE, make_folders
from silogan.common.wire.study import SiteDeclaration, Study, declared_size
from silogan.server.fitting.choices import with_choices
from silogan.server.fitting.public_images import as_in
from silogan.server.rounds.begin import check_scenario, make_study
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.partition import PARTITIONS, Ints, partition, save

_SITE_NAME = re.compile(r"\w[\w .-]{0,63}")


def prepare(scenario: Scenario, run_dir: Path) -> Study:
    """Writes a new run folder: partition, plan, roster. Faults are found here, before the first round.

    Raises:
        ConfigError: the scenario names what does not exist or cannot be; the folder cannot be written.
        DataError: the data is unusable.
        PrivacyRefusal: the budget does not pay for one round.
    """
    _check(scenario)
    with writing(f"run folder '{run_dir}'", "choose another --out"):
        make_folders(run_dir, simulated=True)
    study, parts = _made(scenario)
    save(run_dir / PARTITION_FILE, parts)
    study.save(run_dir)
    open_ledgers(study, run_dir)
    return study


def planned(scenario: Scenario) -> Study:
    """The study that `prepare` would write.

    Raises:
        ConfigError, DataError, PrivacyRefusal: see `prepare`.
    """
    _check(scenario)
    return _made(scenario)[0]


def _check(scenario: Scenario) -> None:
    """Finds what is wrong without a look at the data."""
    check_scenario(scenario)
    lookup(PARTITIONS, scenario.sites.partition, "sites.partition")
    choose_device(scenario.training.device)
    make_plan(scenario)  # may refuse; its cost does not depend on the unit, which the data decides


def _made(scenario: Scenario) -> tuple[Study, list[Ints]]:
    """The study, and the positions of each site's records."""
    data = read(scenario.data)
    unit = choose_unit(scenario, patients_known=data.train.patients is not None)
    patients = data.train.patients.numpy() if unit == "patient" and data.train.patients is not None else None
    parts = _partition(scenario, data, patients)
    sizes = [len(part if patients is None else np.unique(patients[part])) for part in parts]
    named = zip(_names(scenario, data), sizes, strict=True)
    sites = tuple(SiteDeclaration(name, declared_size(size)) for name, size in named)
    return make_study(scenario, data.schema, unit, sites), parts


def reopen(scenario: Scenario, run_dir: Path) -> Study:
    """The study of a run folder, which must be of this very scenario.

    Raises:
        ConfigError: the folder holds a run of another configuration.
    """
    study = Study.load(run_dir)
    scenario = as_in(study.scenario, with_choices(scenario, study.schema, study.sites))
    difference = _first_difference(study.scenario.model_dump(mode="json"), scenario.model_dump(mode="json"))
    if difference is not None:
        key, there, here = difference
        problem = f"was started with {key}={there!r}, not {here!r}"
        hint = "resume with the same configuration or choose another --out"
        raise ConfigError(f"run folder '{run_dir}'", problem, hint)
    if Checkpoint.latest(run_dir) is None:  # `prepare` may not have come so far; later a missing ledger was lost
        open_ledgers(study, run_dir)
    return study


def _partition(scenario: Scenario, data: DataSet, patients: Ints | None) -> list[Ints]:
    rng = np.random.default_rng(None if scenario.seed is None else derive_seed(scenario.seed, "partition"))
    natural = None if data.train.sites is None else data.train.sites.numpy()
    return partition(scenario.sites, data.train.labels.numpy(), natural, rng, patients)


def _names(scenario: Scenario, data: DataSet) -> list[str]:
    if scenario.sites.partition == "natural" and data.train.sites is not None and data.site_names:
        return [_file_name(data.site_names[code]) for code in data.train.sites.unique().tolist()]
    digits = len(str(scenario.sites.count))
    return [f"site-{number:0{digits}d}" for number in range(1, scenario.sites.count + 1)]


def _file_name(site: str) -> str:
    """A site's own name, which becomes the name of its files."""
    if not _SITE_NAME.fullmatch(site):
        problem = (
            "is not 1 to 64 letters, digits, spaces, dots, hyphens and underscores, starting with a letter or digit"
        )
        raise DataError(f"site name {site!r}", problem, "rename the site in the data")
    return site


def _first_difference(a: object, b: object, key: str = "") -> tuple[str, object, object] | None:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in a:
            found = _first_difference(a[name], b.get(name), f"{key}.{name}" if key else str(name))
            if found:
                return found
        return None
    return None if a == b else (key, a, b)
