"""A scenario: the whole study as one typed, frozen value.

A scenario file is YAML that reads like a description of the study. Unknown keys are refused with the nearest valid one,
values of the wrong type or out of range with the key, the value and the range.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from common import bounds
from common.config.yaml_text import Excess, read_file, read_yaml
from common.errors import ConfigError
from common.modality import AnyData, AnyModel, Data, Model
from common.modality.image_options import Dcgan, Digits
from common.section import AnySection, Section, shown, shown_key, unknown_key

Unit = Literal["record", "patient"]


_Below1 = Annotated[float, Field(ge=0, lt=1)]
_UpTo1 = Annotated[float, Field(gt=0, le=1)]
_Rate = Annotated[float, Field(gt=0, le=1e3)]
_Few = Annotated[int, Field(ge=0, le=100_000)]


class Sites(Section):
    """How the patients' images are spread over hospitals (`simulations/partition.py`)."""

    count: Annotated[int, Field(ge=1, le=5000)] = 4
    partition: bounds.Text = "iid"
    alpha: Annotated[float, Field(gt=0, le=1e6)] = 0.5
    """Dirichlet concentration: small is skewed"""

    shards_per_site: bounds.Size = Field(default=2, description="label shards that each site holds")
    size_ratio: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    """largest site over smallest, for size skew"""


class Adaptive(Section):
    """Adaptive discriminator frequency (Bie, Kamath and Zhang, 2023, section 4)."""

    threshold: Annotated[float, Field(gt=0.5, lt=1)] = 0.65
    """accuracy on fakes below which D trains longer"""

    ema: Annotated[float, Field(gt=0, lt=1)] = 0.99
    patience: bounds.Size = Field(default=200, description="generator steps on a rung before the next")
    ladder: tuple[bounds.Size, ...] = Field(
        default=(1, 2, 5, 10, 20, 50, 100, 200, 500), min_length=1, max_length=100, strict=False
    )


class WarmStart(Section):
    """Noisy class-wise statistics, released once; the server trains both networks on what they describe."""

    noise_multiplier: bounds.Noise | None = None
    """σ of the release, charged like a step with q = 1; found from share if none"""

    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """of the budget, in information μ² = 1/σ², for the release; if none 0.314, or all with rounds=0"""

    frequencies: Annotated[int, Field(ge=1, le=32)] = 12
    """lowest spatial frequencies of an image, in each direction, that are looked at"""

    largest_norm: _UpTo1 = Field(default=0.4, description="clipping norm of an image, as a share of an all-white one's")
    steps: bounds.LocalSteps = 1000
    """steps of each network at the server, which cost no privacy"""

    lr_generator: _Rate = 5e-4
    lr_discriminator: _Rate = 1e-3


class Guard(Section):
    """When a run has gone wrong, seen from generated images, and what is done (`server/rounds/after/guard.py`)."""

    variety: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """standard deviation of a pixel within a class, images in [-1, 1], below which it has collapsed"""

    fake_accuracy: Annotated[float, Field(gt=0.5, le=1)] = 0.99
    """D's accuracy on generated images above which the generator has lost"""

    patience: bounds.Size = Field(default=3, description="bad rounds in a row after which the run goes back")
    lr_factor: _UpTo1 = 0.25
    """what each rollback multiplies the generator's learning rate by"""

    rollbacks: bounds.Size = Field(default=4, description="rollbacks after which the run ends with an error instead")


class Training(Section):
    """The article's algorithm: k discriminator steps, then one generator step (`client/training/trainer.py`)."""

    rounds: Annotated[int, Field(ge=0, le=bounds.MOST_ROUNDS)] = 10
    """0 with a warm start: a release alone, on which the server trains both networks"""

    local_steps: bounds.LocalSteps = 100
    """private discriminator steps a site takes in a round"""

    sample_rate: bounds.Rate = Field(default=0.1, description="q: chance of a patient to be in a step's batch")
    generator_batch_size: bounds.Size = Field(default=64, description="fakes in a generator step")
    d_steps_per_g_step: bounds.Size | Adaptive = Field(default=5, description="k, or the adaptive rule")
    warm_start: WarmStart | None = None
    """what the first round starts from; fresh weights if none"""

    server_generator_steps: _Few = 0
    """generator steps a round at the server, on the averaged discriminator; if 0, sites train it"""

    loss: bounds.Text = "nonsaturating"
    weight_clip: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """clamp of D's weights, for the Wasserstein loss"""

    discriminator_adam: Literal["site", "server"] = "site"
    """where D's Adam is: at each site, or at the server on the average of the sites' plain steps"""

    lr_generator: _Rate = 1e-3
    lr_discriminator: _Rate = 1e-3
    lr_decay: Literal["constant", "linear"] = "constant"
    """of Adam's learning rates over the rounds; linear ends at nothing"""

    guard: Guard | None = Field(default=None, description="goes back where the run collapses; off if none")
    betas: tuple[_Below1, _Below1] = Field(default=(0.5, 0.999), strict=False)
    device: bounds.Text = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    micro_batch: bounds.Size | None = None
    """images that are in a private step at one time; found from the device if none"""

    precision: Literal["float32", "bfloat16"] = "float32"
    """of the networks' passes; norms, sums and weights are float32"""


class Privacy(Section):
    """The guarantee that every site gives its patients (`common/privacy/plan.py`)."""

    enabled: bool = Field(default=True, description="false only to compare: every artefact is marked NON-PRIVATE")
    epsilon: bounds.Epsilon = Field(default=10.0, description="budget of each site for this run")
    delta: bounds.Delta = 1e-5
    unit: Unit | None = None
    """whom it protects; if none, the patient where the data says who is who"""

    records_per_patient: bounds.RecordsPerPatient = 1
    """k: most records of a patient in a step, drawn anew each time"""

    clip_norm: bounds.Clip = 1.0
    noise_multiplier: bounds.Noise | None = Field(default=None, description="found from epsilon if none")
    spare_rounds: _Few = Field(default=0, description="rounds that an interruption may cost, planned for")

    @model_validator(mode="after")
    def _a_record_is_one(self) -> "Privacy":
        if self.unit == "record" and self.records_per_patient > 1:
            raise ValueError(f"records_per_patient={self.records_per_patient} needs unit=patient, not record")
        return self


class Federation(Section):
    """How the coordinator combines the sites (`server/rounds/strategy.py`), and what it does about hostile ones."""

    quorum: bounds.Size | None = Field(default=None, description="replies needed in each round; more than half if none")
    weights: Literal["uniform", "declared_size"] = "uniform"
    aggregation: bounds.Text = "mean"
    """rule that combines the replies (`server/rounds/aggregation`); all but mean bear hostile sites"""

    byzantine: Annotated[int, Field(ge=0, le=5000)] = 0
    """f: hostile sites that the aggregation must bear; trimmed on each side, or Krum's f"""

    max_update_norm: bounds.Positive = 1000.0
    """largest L2 change of a site's weights in a round"""

    min_cosine: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        default=None,
        description="smallest cosine of a site's generator update with the median of all; off if none. 0 is advised: "
        "with digits on four sites, evenly or by class, honest ones had 0.71 or more and reversed ones -0.40 or less",
    )
    quarantine_after: bounds.Size = 3
    """replies that no honest site sends, after which a site is not asked any more"""

    ema_decay: _Below1 = Field(default=0.5, description="per round, of the generator that is released")
    join_timeout: bounds.Positive = Field(default=120.0, description="seconds to wait for a quorum of sites to connect")
    round_timeout: bounds.Positive = Field(default=3600.0, description="seconds to wait for the replies of a round")


class Evaluation(Section):
    """Measurements after training, outside the guarantee: they use real test data (`server/evaluation`)."""

    enabled: bool = True
    samples: Annotated[int, Field(ge=1, le=10_000_000)] = Field(default=5000, description="synthetic images to draw")
    epochs: bounds.Size = 20
    """most epochs of the classifier; the best on held-out synthetic images is used"""

    real_ceiling: bool = Field(default=True, description="also train the classifier on the real training split")


class Scenario(Section):
    """One study: data, sites, model, training, privacy, federation, evaluation."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    title: bounds.Text = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """fixed randomness, in simulation only"""

    data: AnyData = Digits()
    sites: Sites = Sites()
    model: AnyModel = Dcgan()
    training: Training = Training()
    privacy: Privacy = Privacy()
    federation: Federation = Federation()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> "Scenario":
        rounds, steps = self.training.rounds + self.privacy.spare_rounds, self.training.local_steps
        if self.quorum > self.sites.count:
            raise ValueError(f"federation.quorum={self.quorum} exceeds sites.count={self.sites.count}")
        if rounds * steps > bounds.MOST_STEPS:
            raise ValueError(f"{rounds} rounds of training.local_steps={steps} are above {bounds.MOST_STEPS} steps")
        if self.training.rounds == 0 and (self.training.warm_start is None or self.privacy.spare_rounds):
            raise ValueError("training.rounds=0 needs training.warm_start, and privacy.spare_rounds=0")
        if self.federation.min_cosine is not None and self.training.server_generator_steps:
            problem = "compares what sites made of the generator: it needs server_generator_steps=0"
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
    values = read_keys(path, "scenario", "start from simulations/scenarios/digits.yaml")
    for override in overrides or []:
        _apply(values, override)
    return parse_scenario(values)


def read_keys(path: Path, whole: str, example: str) -> dict[str, Any]:
    """The keys of a YAML file; `whole` is what an error calls it, `example` how to come by a good one.

    Raises:
        ConfigError: the file is missing, or not YAML, or not a set of keys.
    """
    thing = f"{whole} '{path}'"
    try:
        raw = read_yaml(read_file(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(thing, f"cannot be read ({reason})", f"give a {whole} file") from None
    except Excess as error:
        raise ConfigError(thing, str(error.problem), "make it simpler") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(thing, f"is not valid YAML{where}", "correct the file") from None
    if not isinstance(raw, dict):
        raise ConfigError(thing, "is not a set of keys", example)
    return cast(dict[str, Any], raw)


def parse_scenario(values: dict[str, Any]) -> Scenario:
    """Validates plain values (as read from YAML) into a scenario; one fault is raised as a `ConfigError`."""
    return parse(Scenario, values, "scenario")


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


def parse(section: type[AnySection], values: object, whole: str) -> AnySection:
    """Validates plain values into a section; `whole` is what an error calls all of it, as "scenario".

    Raises:
        ConfigError: the first fault: an unknown key, a missing one, or a value that is wrong.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise _one_line(error, section, whole) from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}", "is not key=value", "write for example --set training.rounds=5")
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


def _one_line(error: ValidationError, section: type[Section], whole: str) -> ConfigError:
    # Where a value may be a number or a section there is a fault for either: the one inside the section says more.
    fault = max(error.errors(), key=lambda fault: len(fault["loc"]))
    path = [str(part) for part in fault["loc"]]
    if path[1:2] == ["d_steps_per_g_step"]:
        del path[2:3]  # which of the two it was read as
    key = shown_key(path or [whole])
    if fault["type"] == "extra_forbidden":
        return unknown_key(path, _fields_at(section, path[:-1]))
    if fault["type"] == "missing":
        return ConfigError(key, "is missing", f"add it to the {whole}")
    if fault["type"] == "value_error":
        return ConfigError(key, str(fault["ctx"]["error"]) if "ctx" in fault else fault["msg"], "correct one of them")
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return ConfigError(key, f"{message}, not {shown(fault['input'])}", "correct the value")


def _fields_at(section: type[BaseModel], path: list[str]) -> list[str]:
    """Names of the fields of the section at `path` in another."""
    for part in path:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        if part == "d_steps_per_g_step":
            annotation = Adaptive
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)
