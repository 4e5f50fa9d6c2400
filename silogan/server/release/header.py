"""The header of a generator's file, read without any library of training."""

import json
from pathlib import Path
from typing import Any

_MOST_BYTES = 2**26


def generator_header(path: Path) -> dict[str, Any] | None:
    """What `save_generator` says of a generator; None of a file that is missing or not one.

    The format is that of safetensors: eight bytes of length, little endian, then as much JSON.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MOST_BYTES:
                return None
            header = json.loads(json.loads(file.read(length))["__metadata__"]["silogan"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return header if isinstance(header, dict) else None
