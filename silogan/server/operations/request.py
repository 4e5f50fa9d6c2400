"""An enrolment request: a node's public key, alone or in a `request.json` with the declared size."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from silogan.common.bounds import Name
from silogan.common.errors import ConfigError, UsageError

_MOST_BYTES = 10_000


class _Request(BaseModel):
    """The keys of a `request.json`, as `silogan node init` writes it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    site: Name
    public_key: Annotated[str, Field(max_length=1000)]
    declared_size: Annotated[int, Field(ge=1)]


def read_request(site: str, path: Path, size: int | None) -> tuple[str, int]:
    """The public key and declared size that a hospital has sent.

    Args:
        site: the name that it is to be enrolled under.
        path: its `node.pub`, or its `request.json`, which says the size.
        size: the declared size, if the operator gives it.

    Raises:
        ConfigError: the file cannot be read, is longer than any key, or is another hospital's request.
        UsageError: the size is not given.
    """
    content = _read(path)
    if path.suffix == ".json":
        try:
            request = _Request.model_validate_json(content)
        except ValidationError:
            raise ConfigError(f"file '{path}'", "is not a request", "have the hospital send it again") from None
        if request.site != site:
            raise ConfigError(f"file '{path}'", f"is the request of '{request.site}', not '{site}'", "correct the name")
        return request.public_key, size or request.declared_size
    if size is None:
        raise UsageError("--size", "is missing", "give the declared size, or the hospital's request.json")
    return content, size


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) <= _MOST_BYTES:
            return content.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    raise ConfigError(f"file '{path}'", "cannot be read", "give the hospital's node.pub or request.json")
