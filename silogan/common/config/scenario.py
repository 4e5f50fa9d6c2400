"""A scenario: the whole study as one typed, frozen value.

A scenario file is YAML that reads like a description of the study. Unknown keys are refused with the nearest valid one,
values of the wrong type or out of range with the key, the value and the range.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import Field, model_validator

from silogan.common import bounds
from silogan.common.errors import ConfigError
from silogan.common.modality import AnyData, AnyModel, Data, Model
from silogan.common.modality.image_options import Dcgan, Digits
from silogan.common.reading import in_sections, parse, read_keys
from silogan.common.section import Section, shown
from silogan.common.yaml_text import read_yaml

Unit = Literal["record", "patient"]


_Below1 = Annotated[float, Field(ge=0, lt=1)]
_UpTo1 = Annotated[float, Field(gt=0, le=1)]
_Share = Annotated[float, Field(gt=0, lt=1)]
_Rate = Annotated[float, Field(gt=0, le=1e3)]
_Few = Annotated[int, Field(ge=0, le=100_000)]


class Sites(Section):
    """How the patients' images are distributed over hospitals (`simulations/partition.py`)."""

    count: Annotated[int, Field(ge=1, le=5000)] = 4
    partition: bounds.Text = "iid"
    alpha: Annotated[float, Field(gt=0, le=1e6)] = 0.5
    """Dirichlet concentration: small values are more skewed"""

    shards_per_site: bounds.Size = Field(default=2, description="label shards per site")
    size_ratio: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    """size of the largest site over the smallest, for size_skew"""


class Adaptive(Section):
    """Adaptive discriminator frequency (Bie, Kamath and Zhang, 2023, section 4)."""

    threshold: Annotated[float, Field(gt=0.5, lt=1)] = 0.65
    """discriminator accuracy on fakes below which it trains longer"""

    ema: Annotated[float, Field(gt=0, lt=1)] = 0.99
    patience: bounds.Size = Field(default=200, description="least number of generator steps on each rung")
    ladder: tuple[bounds.Size, ...] = Field(
        default=(1, 2, 5, 10, 20, 50, 100, 200, 500), min_length=1, max_length=100, strict=False
    )


class WarmStart(Section):
    """Noisy class-wise statistics, released once; the server trains both networks on images drawn from them."""

    noise_multiplier: bounds.Noise | None = None
    """σ of the release (noise multiplier), charged like a step with q = 1; computed from share if none"""

    share: _Share | None = None
    """share of the budget for the release, in information μ² = 1/σ²; 0.314 if not given, or all of it with rounds=0"""

    frequencies: Annotated[int, Field(ge=1, le=32)] = 12
    """number of the lowest spatial frequencies that are used, in each direction of an image"""

    largest_norm: _UpTo1 = 0.4
    """clipping norm of an image, as a share of the norm of an all-white one"""

    steps: bounds.LocalSteps = 1000
    """training steps of each network at the server; they cost no privacy"""

    lr_generator: _Rate = 5e-4
    lr_discriminator: _Rate = 1e-3


class Refine(Section):
    """A GAN stage after a fit: a private critic of whole records moves what was fitted, at the server.

    It takes its share of the budget from the release, and is worth that only where the release with all of it is worse:
    a simulation runs both, and its report says which to use. Defaults are those of tables; images have others.
    """

    share: _Share = 0.1
    """share of the budget for the critic, in information μ²"""

    rounds: bounds.Rounds = Field(default=50, description="rounds of one private step at each site; 80 for images")
    sample_rate: bounds.Rate = 0.5
    """q: probability that a patient is in a step's batch; 0.1 for images"""

    clip_norm: bounds.Clip = 0.1
    """C: most that a patient adds to a step; 1 for images"""

    width: Annotated[int, Field(ge=16, le=1024, multiple_of=16)] = 16
    """width of the critic's hidden layers, a multiple of 16; 128 for images"""

    generator_steps: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=5, description="steps of the generator in each round, at the server; they cost no privacy; 4 for images"
    )
    head_start: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of the rounds in which the critic learns alone, before the generator follows it; 0.5 for images"""

    batch: bounds.Size = Field(default=512, description="synthetic records in each of them; 64 for images")
    lr_generator: _Rate = 3e-4
    """Adam's learning rate for the generator; it falls linearly to zero, as the critic's does"""

    lr_discriminator: _Rate = 2e-3
    """learning rate of the critic, of Adam or of plain steps; 2 for images"""

    momentum: _Below1 | None = None
    """of plain steps of the critic; Adam if not given; 0.6 for images"""

    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    """tables: of the softmax through which the critic's slopes reach the mixture; low ones vary more"""

    consistency: Annotated[float, Field(ge=0, le=1e6)] = 300.0
    """images: weight of the mean squared distance of a refined image's lowest frequencies from those that were drawn"""

    def elsewhere(self) -> dict[str, dict[str, Any]]:
        """The keys of other sections that these stand for: one private step, then the server's."""
        training = {
            "rounds": self.rounds,
            "local_steps": 1,
            "sample_rate": self.sample_rate,
            "discriminator_adam": "server",
            "server_generator_steps": self.generator_steps,
            "generator_batch_size": self.batch,
            "lr_generator": self.lr_generator,
            "lr_discriminator": self.lr_discriminator,
            "lr_decay": "linear",
        }
        return {"training": training, "privacy": {"clip_norm": self.clip_norm}, "model": {"critic": self.width}}


OF_IMAGES: dict[str, Any] = {
    "rounds": 80,
    "sample_rate": 0.1,
    "clip_norm": 1.0,
    "width": 128,
    "generator_steps": 4,
    "head_start": 0.5,
    "batch": 64,
    "lr_discriminator": 2.0,
    "momentum": 0.6,
}
"""Values of `Refine` for images, where a scenario gives none."""


class Guard(Section):
    """How a collapsed run is detected from generated images, and what happens then (`server/rounds/after/guard.py`)."""

    variety: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """collapse threshold: standard deviation of a pixel within a class, for images in [-1, 1]"""

    fake_accuracy: Annotated[float, Field(gt=0.5, le=1)] = 0.99
    """discriminator accuracy on generated images above which a round counts as bad"""

    patience: bounds.Size = Field(default=3, description="consecutive bad rounds after which the run rolls back")
    lr_factor: _UpTo1 = 0.25
    """factor that each rollback applies to the generator's learning rate"""

    rollbacks: bounds.Size = Field(default=4, description="rollbacks allowed before the run ends with an error")


class Training(Section):
    """The article's algorithm: k discriminator steps, then one generator step (`client/training/trainer.py`)."""

    rounds: Annotated[int, Field(ge=0, le=bounds.MOST_ROUNDS)] = 10
    """0 with a warm start: only the release, on which the server trains both networks"""

    local_steps: bounds.LocalSteps = Field(default=100, description="private discriminator steps per site and round")
    sample_rate: bounds.Rate = 0.1
    """q: probability that a patient is in a step's batch (Poisson sampling)"""

    generator_batch_size: bounds.Size = Field(default=64, description="generated images in a generator step")
    d_steps_per_g_step: bounds.Size | Adaptive = 5
    """discriminator steps before each generator step, or the adaptive rule"""

    warm_start: WarmStart | None = None
    """noisy class statistics to start from; random weights if not given"""

    refine: Refine | None = None
    """a GAN stage after a fit, which sets the other keys of its steps; none if not given"""

    server_generator_steps: _Few = 0
    """generator steps per round at the server, against the averaged discriminator; if 0, sites train the generator"""

    loss: bounds.Text = "nonsaturating"
    weight_clip: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """limit on the discriminator's weights, for the Wasserstein loss"""

    discriminator_adam: Literal["site", "server"] = "site"
    """where Adam runs for the discriminator: at each site, or at the server on the average of the sites' plain steps"""

    lr_generator: _Rate = 1e-3
    lr_discriminator: _Rate = 1e-3
    lr_decay: Literal["constant", "linear"] = "constant"
    """decay of Adam's learning rates over the rounds; linear ends at zero"""

    guard: Guard | None = Field(default=None, description="rolls the run back when it collapses; off if not given")
    betas: tuple[_Below1, _Below1] = Field(default=(0.5, 0.999), strict=False)
    device: bounds.Text = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    micro_batch: bounds.Size | None = None
    """images processed at once in a private step; chosen for the device if not given"""

    precision: Literal["float32", "bfloat16"] = "float32"
    """precision of forward and backward passes; norms, sums and weights are float32"""


class Privacy(Section):
    """The guarantee that every site gives its patients (`common/privacy/plan.py`)."""

    enabled: bool = Field(default=True, description="false only for comparison: every artefact is marked NON-PRIVATE")
    epsilon: bounds.Epsilon = Field(default=10.0, description="privacy budget ε of each site for this run")
    delta: bounds.Delta = 1e-5
    unit: Unit | None = None
    """unit of privacy; if not given, the patient where the data names patients, else the record"""

    records_per_patient: bounds.RecordsPerPatient = 1
    """k: most records of a patient in a step, drawn again each time"""

    clip_norm: bounds.Clip = 1.0
    noise_multiplier: bounds.Noise | None = None
    """σ: standard deviation of the noise over the clipping norm; computed from epsilon if not given"""

    spare_rounds: _Few = 0
    """extra rounds in the budget, for rounds lost to interruptions"""

    @model_validator(mode="after")
    def _a_record_is_one(self) -> "Privacy":
        if self.unit == "record" and self.records_per_patient > 1:
            raise ValueError(f"records_per_patient={self.records_per_patient} needs unit=patient, not record")
        return self


class Federation(Section):
    """How the coordinator combines the sites (`server/rounds/strategy.py`), and how it handles hostile ones."""

    quorum: bounds.Size | None = None
    """replies needed in each round; more than half of the sites if not given"""

    weights: Literal["uniform", "declared_size"] = "uniform"
    aggregation: bounds.Text = "mean"
    """rule that combines the replies (`server/rounds/aggregation`); all but mean tolerate hostile sites"""

    byzantine: Annotated[int, Field(ge=0, le=5000)] = 0
    """f: hostile sites that the aggregation must tolerate; trimmed on each side, or Krum's f"""

    max_update_norm: bounds.Positive = 1000.0
    """largest L2 change of a site's weights in a round"""

    min_cosine: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        default=None,
        description="smallest cosine of a site's generator update with the median of all; off if not given. 0 is "
        "recommended: with digits on four sites, evenly or by class, honest sites had 0.71 or more and reversed ones "
        "-0.40 or less",
    )

    quarantine_after: bounds.Size = 3
    """protocol violations after which a site is quarantined"""

    ema_decay: _Below1 = 0.5
    """decay per round of the generator's moving average, which is released"""

    join_timeout: bounds.Positive = Field(default=120.0, description="seconds to wait for a quorum of sites to connect")
    round_timeout: bounds.Positive = Field(default=3600.0, description="seconds to wait for the replies of a round")


class Evaluation(Section):
    """Measurements after training, outside the guarantee: they use real test data (`server/evaluation`)."""

    enabled: bool = True
    samples: Annotated[int, Field(ge=1, le=10_000_000)] = 5000
    """number of synthetic records to draw"""

    epochs: bounds.Size = 20
    """most epochs of the classifier; the epoch that is best on held-out synthetic images is used"""

    others: bool = False
    """also measure with logistic regression and boosted trees, each on at most 5000 images"""

    risks: bool = False
    """of table rows, also try to single out, link and infer patients by the synthetic rows"""

    real_ceiling: bool = Field(default=True, description="also train the classifier on the real training split")


class Scenario(Section):
    """One study: data, sites, model, training, privacy, federation, evaluation."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    title: bounds.Text = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """fixed random seed, in simulation only"""

    data: AnyData = Digits()
    sites: Sites = Sites()
    model: AnyModel = Dcgan()
    training: Training = Training()
    privacy: Privacy = Privacy()
    federation: Federation = Federation()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="before")
    @classmethod
    def _images_are_refined_otherwise(cls, values: Any) -> Any:
        """Gives `training.refine` its values for images, where a scenario gives none."""
        match values:
            case {"model": {"family": "gaussians"}, "training": {"refine": dict() as refine}}:
                given = cast(dict[str, Any], refine)
                return {**values, "training": {**values["training"], "refine": {**OF_IMAGES, **given}}}
            case _:
                return values

    @model_validator(mode="after")
    def _refinement_sets_its_keys(self) -> "Scenario":
        refine, family = self.training.refine, self.model.family
        if refine is None:
            if getattr(self.model, "critic", 0):
                raise ValueError("model.critic needs training.refine, which sets it")
            return self
        if getattr(self.model, "by_hospital", False):
            raise ValueError("training.refine has a critic that sees no hospital: it needs model.by_hospital=false")
        if not self.model.fitted:
            raise ValueError(f"training.refine needs model.family=gaussians or mixture, not {family}")
        if getattr(self.model, "public", None) is not None:
            raise ValueError(
                "training.refine needs no model.public: each round would send the public images to hospitals"
            )
        if self.training.warm_start is not None or self.training.guard is not None:
            raise ValueError("training.refine begins at a fit: it needs no training.warm_start and no training.guard")
        for name, values in refine.elsewhere().items():
            section: Section = getattr(self, name)
            for key, value in values.items():
                given = getattr(section, key)
                if given not in (value, type(section).model_fields[key].default, 0):
                    raise ValueError(f"{name}.{key}={given} contradicts training.refine, which sets it to {value}")
            object.__setattr__(self, name, section.model_copy(update=values))  # only here: sections are frozen
        return self

    @model_validator(mode="after")
    def _sections_fit_together(self) -> "Scenario":
        rounds, steps = self.training.rounds + self.privacy.spare_rounds, self.training.local_steps
        if self.quorum > self.sites.count:
            raise ValueError(f"federation.quorum={self.quorum} exceeds sites.count={self.sites.count}")
        if rounds * steps > bounds.MOST_STEPS:
            raise ValueError(f"{rounds} rounds of training.local_steps={steps} are more than {bounds.MOST_STEPS} steps")
        family, fitted = self.model.family, self.model.fitted and self.training.refine is None
        if fitted and (self.training.rounds or self.training.warm_start is not None):
            raise ValueError(f"model.family={family} is not trained: it needs training.rounds=0 and no warm_start")
        if self.training.rounds == 0 and not fitted and self.training.warm_start is None:
            raise ValueError("training.rounds=0 needs training.warm_start, or model.family=gaussians or mixture")
        if self.training.rounds == 0 and self.privacy.spare_rounds:
            raise ValueError("training.rounds=0 needs privacy.spare_rounds=0")
        if self.federation.min_cosine is not None and self.training.server_generator_steps:
            problem = "compares the sites' generator updates: it needs server_generator_steps=0"
            raise ValueError(f"federation.min_cosine {problem}")
        return self

    @property
    def quorum(self) -> int:
        """Replies needed in each round: as configured, else more than half of the sites."""
        return self.federation.quorum or self.sites.count // 2 + 1


def load_scenario(path: Path, overrides: list[str] | None = None) -> Scenario:
    """Reads a scenario file and applies `section.key=value` overrides.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is wrong.
    """
    values = scenario_values(path)
    for override in overrides or []:
        _apply(values, override)
    return parse_scenario(values)


def scenario_values(path: Path) -> dict[str, Any]:
    """The plain values of a scenario file.

    Raises:
        ConfigError: the file is missing or not YAML.
    """
    values = read_keys(path, "scenario", "start from simulations/scenarios/digits.yaml")
    _place_columns(values, path.parent)
    return values


def with_changes(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with others in their place, section by section; neither argument is changed."""
    merged = dict(values)
    for key, value in changes.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = with_changes(cast(Mapping[str, Any], inner), cast(Mapping[str, Any], value)) if both else value
    return merged


def parse_scenario(values: dict[str, Any]) -> Scenario:
    """Validates plain values (as read from YAML) into a scenario; one fault is raised as a `ConfigError`."""
    return parse(Scenario, values, "scenario")


def keys_called(name: str) -> list[str]:
    """The dotted keys of a scenario that end with a name and hold a value."""
    own = [key for key in ("name", "title", "seed") if key == name]
    return own or in_sections(name, Scenario)


class _DataAlone(Section):
    data: AnyData


class _ModelAlone(Section):
    model: AnyModel


def parse_data(values: object) -> Data:
    """Validates plain values into the `data` section that their source has; one fault is raised as a `ConfigError`."""
    return parse(_DataAlone, {"data": values}, "data").data


def parse_model(values: object) -> Model:
    """The same for the `model` section and its family."""
    return parse(_ModelAlone, {"model": values}, "model").model


def _place_columns(values: dict[str, Any], folder: Path) -> None:
    """Finds the description of a table's columns beside the scenario's file, wherever the program was started."""
    data: object = values.get("data")
    columns = cast(dict[str, Any], data).get("columns") if isinstance(data, dict) else None
    if isinstance(columns, str) and (folder / columns).is_file():
        cast(dict[str, Any], data)["columns"] = str(folder / columns)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}", "is not key=value", "for example: --set training.rounds=5")
    *parents, leaf = key.split(".")
    section = values
    for parent in parents:
        inner = section.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}", f"'{parent}' is a value, not a section", "correct the key")
        section = cast(dict[str, Any], inner)
    try:
        section[leaf] = read_yaml(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {key}", f"value {shown(text)} cannot be read", "quote it as YAML") from None
