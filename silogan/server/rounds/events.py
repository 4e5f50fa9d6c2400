"""`events.jsonl`: a JSON line for each round and step of a phase, as it happens; live view and report read it."""

from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from silogan.common.files import write_bytes_atomically
from silogan.common.privacy.plan import canonical_json
from silogan.common.wire.run_folder import EVENTS_FILE

Event = dict[str, Any]


class _Refused(BaseModel):
    model_config = ConfigDict(strict=True)
    site: str


class _Facts(BaseModel):
    """What is read of an event; whatever else there is may be anything."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    round: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)] = 0.0
    sites_replied: Annotated[int, Field(ge=0)] = 0
    sites_refused: list[_Refused] = []
    epsilon: dict[str, float] | None = None


ASKED, ANSWERED, FITTED = "asked", "answered", "fitted"
"""Steps of a phase of statistics, which has no round: its sites are asked, have answered, and it is made use of."""


def phase_event(phase: str, step: str, replied: int, seconds: float) -> Event:
    """The event of such a step, `seconds` after the step before it."""
    return {"event": "phase", "phase": phase, "step": step, "round": 0, "sites_replied": replied, "seconds": seconds}


_EVENT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def append_event(run_dir: Path, event: Event) -> None:
    """Appends one line."""
    with (run_dir / EVENTS_FILE).open("a", encoding="utf-8") as file:
        file.write(canonical_json(event) + "\n")


def read_events(run_dir: Path) -> list[Event]:
    """All complete lines; a line cut by a killed process, or damaged otherwise, is left out."""
    try:
        lines = (run_dir / EVENTS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    events: list[Event] = []
    for line in lines:
        try:
            event = cast(Event, _EVENT.validate_json(line))
            _Facts.model_validate(event)
        except ValidationError:
            continue
        events.append(event)
    return events


def last_round(run_dir: Path) -> int:
    """The last recorded round; 0 if there is none."""
    return max((event["round"] for event in read_events(run_dir)), default=0)


def restore_events(run_dir: Path, last_round: int, last_event: Event) -> None:
    """Makes the file agree with a checkpoint: rounds after it are dropped, its own is there."""
    events = [event for event in read_events(run_dir) if event["round"] < last_round]
    if last_event:
        events.append(last_event)
    write_bytes_atomically(run_dir / EVENTS_FILE, "".join(canonical_json(event) + "\n" for event in events).encode())
