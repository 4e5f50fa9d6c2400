"""The type and range of every number and text that comes from outside.

Each range is wide enough for any sensible study, and narrow enough that no value can exhaust memory or time. In strict
fields (`STRICT`) a boolean is not a number, a fraction is not a count, and a text is neither.
"""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

STRICT = ConfigDict(strict=True, extra="forbid")
"""For a dataclass that checks type and range of each field on every construction."""

LEAST_NOISE, MOST_NOISE = 1e-3, 2**15
LEAST_SAMPLE_RATE = 1e-6
MOST_STEPS = 10_000_000
"""Private steps of one study: 57 times what Bie, Kamath and Zhang (2023) take."""
MOST_ROUNDS, MOST_LOCAL_STEPS = 200_000, 100_000

Count = Annotated[int, Field(ge=1, le=2**53)]
Positive = Annotated[float, Field(gt=0, le=1e100)]
Size = Annotated[int, Field(ge=1, le=100_000)]
"""Of something that is held in memory."""

Noise = Annotated[float, Field(ge=LEAST_NOISE, le=MOST_NOISE)]
Rate = Annotated[float, Field(ge=LEAST_SAMPLE_RATE, le=1)]
Clip = Annotated[float, Field(ge=2**-10, le=2**20)]
"""The range in which the proof of `client/mechanism` holds."""
Epsilon = Annotated[float, Field(gt=0, le=1e4)]
Delta = Annotated[float, Field(ge=1e-15, lt=1)]
Rounds = Annotated[int, Field(ge=1, le=MOST_ROUNDS)]
LocalSteps = Annotated[int, Field(ge=1, le=MOST_LOCAL_STEPS)]
RecordsPerPatient = Annotated[int, Field(ge=1, le=128)]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


def _grey_or_colour(channels: int) -> int:
    if channels not in (1, 3):
        raise ValueError("is neither 1 (grey) nor 3 (colour)")
    return channels


Channels = Annotated[int, AfterValidator(_grey_or_colour)]
Text = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
"""What people read: nothing in it moves a terminal's cursor or the direction of writing."""
Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Classes = Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000, strict=False)]
