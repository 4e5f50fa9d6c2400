"""A study: a scenario resolved for its sites, written once into the run folder and read by everyone who takes part."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import ValidationError

from silogan import __version__
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import ConfigError, SiloganError
from silogan.common.files import write_bytes_atomically
from silogan.common.modality import KINDS, Schema
from silogan.common.privacy.plan import MOST_PHASES, Phase, PrivacyPlan, canonical_json, plan_problem
from silogan.common.registry import lookup
from silogan.common.section import shown
from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.yaml_text import Excess, read_file, read_yaml, write_yaml

_KEYS = ("study_id", "scenario", "schema", "plan", "sites", "versions")
_MOST_SITES, _LARGEST_SIZE, _LONGEST_NAME = 5000, 10**12, 100
_SEND_AGAIN = "have the coordinator send it again"
_AnyPart = TypeVar("_AnyPart")


@dataclass(frozen=True)
class SiteDeclaration:
    """A site's public declaration: its name, and its cohort's size in units of privacy, rounded down to two digits.

    Raises:
        ConfigError: the size is not a positive whole number (it weighs averages, and divides sums of gradients),
            or the name is not one line of at most 100 characters.
    """

    name: str
    declared_size: int

    def __post_init__(self) -> None:
        if type(self.name) is not str or not 1 <= len(self.name) <= _LONGEST_NAME or not self.name.isprintable():
            hint = f"give a line of up to {_LONGEST_NAME} characters"
            raise ConfigError("site's name", f"is {shown(self.name)}", hint)
        if type(self.declared_size) is not int or not 1 <= self.declared_size <= _LARGEST_SIZE:
            problem = f"declared_size={shown(self.declared_size)} is not a positive whole number"
            raise ConfigError(f"site '{self.name}'", problem, "declare the size of its cohort")


@dataclass(frozen=True)
class Study:
    """Scenario, data schema, privacy plan and roster of one run."""

    scenario: Scenario
    schema: Schema
    plan: PrivacyPlan
    sites: tuple[SiteDeclaration, ...]

    @cached_property
    def drawn(self) -> Schema:
        """The schema of what the generator draws: that of the hospitals' records, or more (`Model.drawn`)."""
        return self.scenario.model.drawn(self.schema, [site.name for site in self.sites])

    @cached_property
    def study_id(self) -> str:
        """SHA-256 over everything that defines the study; identifies a run in ledgers and checkpoints."""
        return hashlib.sha256(canonical_json(self._plain()).encode()).hexdigest()

    def save(self, run_dir: Path) -> None:
        """Writes `run.yaml`: the resolved configuration, the plan, the roster and the versions of the software."""
        content = {"study_id": self.study_id, **self._plain(), "versions": versions()}
        write_bytes_atomically(run_dir / RUN_FILE, write_yaml(content).encode())

    @staticmethod
    def load(run_dir: Path) -> "Study":
        """Reads `run.yaml` back.

        Raises:
            ConfigError: the folder holds no run, or its `run.yaml` was changed.
        """
        thing = f"run folder '{run_dir}'"
        try:
            text = read_file(run_dir / RUN_FILE)
        except (OSError, UnicodeDecodeError, Excess):
            raise ConfigError(thing, f"has no readable {RUN_FILE}", "give a run's folder") from None
        try:
            return parse_study(text)
        except SiloganError as error:
            problem = f"{RUN_FILE} was changed, or another version wrote it ({error.thing}: {error.problem})"
            hint = "restore it, or use that version; the files in ledgers/ can be audited by themselves"
            raise ConfigError(thing, problem, hint) from None

    def _plain(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.model_dump(mode="json"),
            "schema": self.schema.to_plain(),
            "plan": {**asdict(self.plan), "phases": [asdict(phase) for phase in self.plan.phases]},
            "sites": [asdict(site) for site in self.sites],
        }


@lru_cache(maxsize=4)
def parse_study(text: str) -> Study:
    """The study that `Study.save` wrote as `text`; simulated sites read it every round.

    Nothing of it is believed: every value is checked by type and range, the hash is computed again, and so is the plan
    from the scenario.

    Raises:
        ConfigError, PrivacyRefusal: something of it is missing, unknown, wrong, or not what follows from the rest.
    """
    raw = _keys(text)
    scenario = parse_scenario(cast(dict[str, Any], raw["scenario"]))
    plan = _plan(raw["plan"])
    study = Study(scenario, _schema(raw["schema"]), plan, _sites(raw["sites"]))
    problem = plan_problem(scenario, plan)
    if problem is not None:
        raise ConfigError("plan", f"does not follow from the scenario: {problem}", _SEND_AGAIN)
    if raw["study_id"] != study.study_id:
        raise ConfigError("study", "does not match the hash that it names", _SEND_AGAIN)
    return study


def _keys(text: str) -> Mapping[str, object]:
    """The parts of a `run.yaml`: all of them, and no others."""
    try:
        raw = read_yaml(text)
    except Excess as error:
        raise ConfigError("study", str(error.problem), _SEND_AGAIN) from None
    except yaml.YAMLError:
        raise ConfigError("study", "is not valid YAML", _SEND_AGAIN) from None
    return _exactly(raw, _KEYS, "study")


def _schema(values: object) -> Schema:
    given = dict(cast(Mapping[object, object], values)) if isinstance(values, Mapping) else {}
    kind = given.pop("kind", None)
    return _part(lookup(KINDS, kind if isinstance(kind, str) else shown(kind), "schema.kind").schema, given, "schema")


def _exactly(values: object, names: Sequence[str], where: str) -> Mapping[str, Any]:
    """A mapping that holds each of these keys, and nothing else."""
    if not isinstance(values, Mapping):
        raise ConfigError(where, "is not a set of keys", _SEND_AGAIN)
    given = cast(Mapping[str, Any], values)
    for key in given:
        if key not in names:
            raise ConfigError(where, f"has the unknown key {shown(key)}", _SEND_AGAIN)
    for name in names:
        if name not in given:
            raise ConfigError(f"{where}.{name}", "is missing", _SEND_AGAIN)
    return given


def _part(kind: type[_AnyPart], values: object, where: str) -> _AnyPart:
    """A strict dataclass out of plain values that hold each of its fields, and nothing else."""
    given = _exactly(values, [field.name for field in fields(cast(Any, kind))], where)
    try:
        return kind(**given)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join([where, *(str(part) for part in fault["loc"])])
        raise ConfigError(key, f"{fault['msg']}, not {shown(fault['input'])}", _SEND_AGAIN) from None


def _parts(kind: type[_AnyPart], values: object, where: str, most: int) -> tuple[_AnyPart, ...]:
    if not isinstance(values, list) or not 1 <= len(cast(list[object], values)) <= most:
        raise ConfigError(where, f"is not a list of 1 to {most}", _SEND_AGAIN)
    return tuple(_part(kind, value, where) for value in cast(list[object], values))


def _plan(values: object) -> PrivacyPlan:
    given = _exactly(values, [field.name for field in fields(PrivacyPlan)], "plan")
    phases = _parts(Phase, given["phases"], "plan.phases", MOST_PHASES)
    return _part(PrivacyPlan, {**given, "phases": phases}, "plan")


def _sites(values: object) -> tuple[SiteDeclaration, ...]:
    sites = _parts(SiteDeclaration, values, "sites", _MOST_SITES)
    if len({site.name for site in sites}) < len(sites):
        raise ConfigError("sites", "names a hospital twice", _SEND_AGAIN)
    return sites


def declared_size(size: int) -> int:
    """A size rounded down to two significant digits, below 100 to tens: too coarse to count a patient; at least 1."""
    digits = max(1, len(str(size)) - 2)
    return max(1, size // 10**digits * 10**digits)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of the software that decides a result."""
    packages = ("torch", "torchvision", "flwr", "opacus", "dp-accounting", "numpy", "scikit-learn")
    return {"silogan": __version__, "python": platform.python_version(), **{name: version(name) for name in packages}}
