"""What a generated data set says of itself, in every format."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from silogan import __version__
from silogan.common import bounds
from silogan.common.config.scenario import Unit
from silogan.common.errors import UsageError
from silogan.common.modality import Schema
from silogan.common.pages.words import epsilon

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC NewsCodes, "created using generative AI": the mark that Regulation (EU) 2024/1689, Article 50(2), asks for."""

NOT_STATED = "not stated"
SPLITS = ("train", "val", "test")

_NOTE = "Drawn from a generative model. No record is a patient's."


@checked(frozen=True, config=bounds.STRICT)
class Guarantee:
    """What a generator's file states of the privacy of those whose records it was fitted to.

    Attributes:
        epsilon: ε of each hospital's whole plan, an upper bound.
        delta: at which it is counted.
        unit: whose contribution is bounded.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.
    """

    epsilon: bounds.Epsilon
    delta: bounds.Delta
    unit: Unit

    def __str__(self) -> str:
        return (
            f"differentially private for each {self.unit} of each hospital: ε at most {epsilon(self.epsilon)} at "
            f"δ = {self.delta} (neighbouring data: one {self.unit} more or less), as the generator's file states"
        )


@dataclass(frozen=True)
class About:
    """What a generated data set says of itself.

    Attributes:
        schema: of its records.
        count: how many there are.
        study_id: the run whose generator they come from.
        marks: what is to be said of them wherever they go.
        guarantee: of the generator; None if its file states none.
        created: the day on which they were drawn (UTC), as 2026-03-09.
        licence: an SPDX identifier, an address or words; None if it was not stated.
        splits: records of train, val and test.
    """

    schema: Schema
    count: int
    study_id: str
    marks: tuple[str, ...]
    guarantee: Guarantee | None
    created: str
    licence: str | None
    splits: tuple[int, int, int]

    def facts(self) -> dict[str, str]:
        """All that a file must say, as texts by name, for a format's own metadata."""
        return {
            "SiloGAN": "; ".join(("synthetic", *self.marks)),
            "digital_source_type": DIGITAL_SOURCE_TYPE,
            "study": self.study_id,
            **_privacy(self.guarantee),
            "created": self.created,
            "licence": self.licence or NOT_STATED,
            "software": f"SiloGAN {__version__}",
            "note": _NOTE,
        }

    def to_json(self) -> bytes:
        """The facts as a file of JSON."""
        return json.dumps(self.facts(), indent=2, ensure_ascii=False).encode() + b"\n"

    @property
    def title(self) -> str:
        """As "Synthetic images of study 1a2b3c4d"."""
        return f"Synthetic {self.schema.noun} of study {self.study_id[:8]}"


def _privacy(guarantee: Guarantee | None) -> dict[str, str]:
    """A guarantee in words and in numbers; nothing that is not known."""
    if guarantee is None:
        return {"privacy": NOT_STATED}
    numbers = {"epsilon": str(guarantee.epsilon), "delta": str(guarantee.delta), "unit": guarantee.unit}
    return {"privacy": str(guarantee), **numbers}


def today() -> str:
    """The day (UTC), as 2026-03-09: a seed draws the same files again on the same day."""
    return datetime.now(UTC).date().isoformat()


def parse_licence(text: str | None) -> str | None:
    """A licence as `--licence` gives it.

    Raises:
        UsageError: it is empty, too long, or not one line.
    """
    if text is None:
        return None
    try:
        return TypeAdapter(Annotated[bounds.Text, Field(min_length=1)]).validate_python(text.strip())
    except ValidationError:
        hint = "give an SPDX identifier as CC-BY-4.0, or an address"
        raise UsageError("--licence", "is not one line of 1 to 200 characters", hint) from None


def parse_splits(text: str | None, count: int) -> tuple[int, int, int]:
    """How many of so many records are in train, val and test, for shares in percent as 80,10,10; all in train if None.

    Raises:
        UsageError: these are not three whole numbers that add up to 100.
    """
    if text is None:
        return count, 0, 0
    parts = [part.strip() for part in text.split(",")]
    shares = [int(part) for part in parts if re.fullmatch("[0-9]{1,3}", part)]
    if not len(parts) == len(shares) == len(SPLITS) or sum(shares) != 100:
        raise UsageError(f"--splits {text}", "are not three shares in percent", "write them as 80,10,10")
    val, test = (count * share // 100 for share in shares[1:])
    return count - val - test, val, test
