"""The released generator: one self-describing file, and drawing records from it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from silogan.common.config.scenario import parse_model
from silogan.common.errors import ConfigError, DataError, PrivacyRefusal, UsageError
from silogan.common.files import write_bytes_atomically
from silogan.common.modality import Model, Schema, Stored, parse_schema
from silogan.common.modality.table_where import Where
from silogan.common.models.networks import Drawn, Generator, classified
from silogan.common.models.weights import Weights, networks
from silogan.common.privacy.plan import NO_PRIVACY
from silogan.common.wire.study import Study
from silogan.server.release.about import About, Guarantee, today
from silogan.server.release.rejection import draw_possible


@dataclass(frozen=True)
class ReleasedGenerator:
    """A generator with everything needed to use and assess it.

    Attributes:
        network: the generator, in evaluation mode, on the CPU.
        schema: what it draws.
        marks: what every artefact made with it must say (NON-PRIVATE, seeded, public images it owes detail to).
        study_id: the run it comes from.
        guarantee: what its file states of the patients' privacy; None if nothing.
    """

    network: Generator
    schema: Schema
    marks: tuple[str, ...]
    study_id: str
    guarantee: Guarantee | None = None

    def about(self, count: int, *, licence: str | None = None, splits: tuple[int, int, int] | None = None) -> About:
        """What a data set says of itself that has so many records of this generator and is drawn today."""
        of = splits or (count, 0, 0)
        return About(self.schema, count, self.study_id, self.marks, self.guarantee, today(), licence, of)

    def require_drawing(self) -> None:
        """Refuses a release that is a classifier alone.

        Raises:
            UsageError: it is.
        """
        if not self.network.draws:
            hint = "the file holds a linear classifier; set model.draws=true in the study to draw all the same"
            raise UsageError("generator", "draws nothing: the records were too few", hint)

    def draw(
        self, count: int, rng: torch.Generator, *, labels: Tensor | None = None, where: Where | None = None
    ) -> Iterator[Drawn]:
        """Draws records that the schema calls possible, some at a time: memory does not grow with their number.

        Args:
            count: how many.
            rng: the only source of randomness, on the CPU.
            labels: int64[count], of the classes asked for; None for as many of each as usual, which is as among real
                records if the network knows, else evenly spread.
            where: a condition on the records; with it there can be no labels.

        Returns:
            The records in parts, each with its labels.

        Raises:
            UsageError: the release is a classifier alone, the network knows no conditions, or no record meets this one.
        """
        self.require_drawing()
        if labels is None and not self.network.knows_frequencies:
            labels = self.balanced_labels(count)
        sampler = self.network.sampler(self.schema, where)

        def parts() -> Iterator[Drawn]:
            for start in range(0, count, sampler.chunk):
                end = min(count, start + sampler.chunk)
                asked = None if labels is None else labels[start:end]
                with torch.inference_mode():
                    drawn = draw_possible(sampler, self.schema.possible, end - start, rng, asked)
                yield drawn

        return parts()

    def sample(self, labels: Tensor | None, count: int, rng: torch.Generator) -> Stored:
        """Draws all records at once.

        Args:
            labels: int64[count]; None for an unconditional generator, or where the classes do not matter.
            count: how many.
            rng: source of latent vectors, on the CPU.

        Returns:
            What the schema stores of `count` records.

        Raises:
            UsageError: the release is a classifier alone.
        """
        return together(self.draw(count, rng, labels=labels)).records

    def labels_of(self, records: Stored) -> Tensor:
        """Labels int64[N] of records, by the classifier of the release.

        Raises:
            UsageError: it has none.
        """
        with torch.inference_mode():
            logits = classified(self.network.classify, self.schema, records)
        if logits is None:
            raise UsageError("--labels-by classifier", "needs a release with a classifier", "leave it out")
        return logits.argmax(dim=1)

    def png_text(self) -> dict[str, str]:
        """Text metadata for a PNG with this generator's records: what they are, and where they come from."""
        return {"SiloGAN": "; ".join(("synthetic", *self.marks)), "study": self.study_id}

    def balanced_labels(self, count: int) -> Tensor | None:
        """int64[count] that goes through the classes in turn; None for an unconditional generator."""
        if not self.network.conditional:
            return None
        return torch.arange(count) % self.schema.num_classes


def together(parts: Iterable[Drawn]) -> Drawn:
    """Records that were drawn in parts, in one; there is at least one part."""
    drawn = list(parts)
    records = {name: torch.cat([part.records[name] for part in drawn]) for name in drawn[0].records}
    labels = [part.labels for part in drawn if part.labels is not None]
    return Drawn(records, torch.cat(labels) if labels else None)


def release(study: Study, ema: Weights) -> ReleasedGenerator:
    """The averaged generator of a study, ready to draw from."""
    network = _network(study.scenario.model, study.drawn, ema)
    return ReleasedGenerator(network, study.drawn, _marks(study), study.study_id, _guarantee(asdict(study.plan)))


def save_generator(study: Study, ema: Weights, path: Path) -> None:
    """Writes `generator.safetensors`: weights, and a header that says all that is needed to use them."""
    header = {
        "study_id": study.study_id,
        "model": study.scenario.model.released().model_dump(mode="json"),
        "schema": study.drawn.to_plain(),
        "plan": asdict(study.plan),
        "marks": _marks(study),
    }
    contiguous = {name: tensor.contiguous() for name, tensor in ema.items()}
    write_bytes_atomically(path, save(contiguous, metadata={"silogan": json.dumps(header)}))


def load_generator(path: Path) -> ReleasedGenerator:
    """Reads a released generator.

    Raises:
        DataError: the file is missing or not a generator of SiloGAN.
        PrivacyRefusal: it was trained without privacy; such a generator is for comparison and draws nothing.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads(file.metadata()["silogan"])
            weights: Weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        schema = parse_schema(header["schema"])
        if NO_PRIVACY in header["marks"]:
            hint = "train with privacy.enabled=true to release a generator"
            raise PrivacyRefusal(f"generator '{path}'", "is NON-PRIVATE", hint)
        network = _network(parse_model(header["model"]), schema, weights)
        marks, study_id = tuple(map(_line, header["marks"])), _hash(header["study_id"])
        guarantee = _guarantee(header["plan"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError, ConfigError):
        raise DataError(f"generator '{path}'", "is missing or damaged", "give the folder of a finished run") from None
    return ReleasedGenerator(network, schema, marks, study_id, guarantee)


def _line(text: Any) -> str:
    """A text that may stand in every file; whoever wrote the generator's file may have meant it to be more."""
    if not isinstance(text, str) or not text.isprintable():
        raise ValueError
    return text


def _hash(text: Any) -> str:
    """A text that is one in hexadecimal."""
    if not re.fullmatch("[0-9a-f]{1,64}", _line(text)):
        raise ValueError
    return text


def _guarantee(plan: Mapping[str, Any]) -> Guarantee | None:
    """What a plan promises; None of one without privacy."""
    return Guarantee(plan["epsilon"], plan["delta"], plan["unit"]) if plan["private"] is True else None


def _marks(study: Study) -> tuple[str, ...]:
    credit = study.scenario.model.credit()
    return study.plan.marks() if credit is None else (*study.plan.marks(), credit)


def _network(model: Model, schema: Schema, weights: Weights) -> Generator:
    return networks(model, schema, weights, ("generator",)).generator.eval()
