"""A study: a scenario resolved for its sites, written once into the run folder and read by everyone who takes part."""

import hashlib
import platform
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import yaml

from common import __version__
from common.config import Scenario, parse_scenario, read_yaml
from common.errors import ConfigError
from common.files import write_bytes_atomically
from common.plan import PrivacyPlan, canonical_json
from common.schema import ImageSchema

RUN_FILE = "run.yaml"


@dataclass(frozen=True)
class SiteDeclaration:
    """What a site makes public: its name, and its cohort's size in units of privacy, rounded down to two digits.

    Raises:
        ConfigError: the size is not positive; averages are weighted by it, and sums of gradients divided.
    """

    name: str
    declared_size: int

    def __post_init__(self) -> None:
        if self.declared_size < 1:
            problem = f"declared_size={self.declared_size} is not positive"
            raise ConfigError(f"site '{self.name}'", problem, "declare the size of its cohort")


@dataclass(frozen=True)
class Study:
    """Scenario, data schema, privacy plan and roster of one run."""

    scenario: Scenario
    schema: ImageSchema
    plan: PrivacyPlan
    sites: tuple[SiteDeclaration, ...]

    @cached_property
    def study_id(self) -> str:
        """SHA-256 over everything that defines the study; names a run in ledgers and checkpoints."""
        return hashlib.sha256(canonical_json(self._plain()).encode()).hexdigest()

    def save(self, run_dir: Path) -> None:
        """Writes `run.yaml`: the resolved configuration, the plan, the roster and the versions of the software."""
        content = {"study_id": self.study_id, **self._plain(), "versions": versions()}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        write_bytes_atomically(run_dir / RUN_FILE, text.encode())

    @staticmethod
    def load(run_dir: Path) -> "Study":
        """Reads `run.yaml` back.

        Raises:
            ConfigError: the folder holds no run, or its `run.yaml` was changed.
        """
        problem, mend = f"{RUN_FILE} was changed since the run began", "restore it"
        try:
            study = parse_study((run_dir / RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            study, problem, mend = None, f"has no readable {RUN_FILE}", "give a run's folder"
        if study is None:
            raise ConfigError(f"run folder '{run_dir}'", problem, mend)
        return study

    def _plain(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.model_dump(mode="json"),
            "schema": {**asdict(self.schema), "classes": list(self.schema.classes)},
            "plan": asdict(self.plan),
            "sites": [asdict(site) for site in self.sites],
        }


@lru_cache(maxsize=4)
def parse_study(text: str) -> Study | None:
    """The study that `Study.save` wrote as `text`, None if it is not whole: simulated sites read it every round."""
    raw = cast(dict[str, Any], read_yaml(text))
    try:
        study = Study(
            scenario=parse_scenario(raw["scenario"]),
            schema=ImageSchema.from_plain(raw["schema"]),
            plan=PrivacyPlan(**raw["plan"]),
            sites=tuple(SiteDeclaration(**site) for site in raw["sites"]),
        )
        return study if raw["study_id"] == study.study_id else None
    except (KeyError, TypeError, ValueError):
        return None


def declared_size(size: int) -> int:
    """A size rounded down to two significant digits, below 100 to tens: too coarse to count a patient; at least 1."""
    digits = max(1, len(str(size)) - 2)
    return max(1, size // 10**digits * 10**digits)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of the software that decides a result."""
    packages = ("torch", "torchvision", "flwr", "opacus", "dp-accounting", "numpy", "scikit-learn")
    return {"silogan": __version__, "python": platform.python_version(), **{name: version(name) for name in packages}}
