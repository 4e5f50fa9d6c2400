"""The coordinator's own settings: `server.yaml` in its folder."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from silogan.common.bounds import Name
from silogan.common.errors import ConfigError
from silogan.common.reading import parse, read_keys
from silogan.common.section import Section
from silogan.server.operations.proxy import OBJECT_BYTES

SETTINGS_FILE = "server.yaml"
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(Section):
    """Where the coordinator listens, and under which names hospitals know it."""

    names: tuple[Name, ...] = Field(
        strict=False, max_length=100, description="host names and IP addresses under which hospitals call it"
    )
    listen: Name = Field(default="0.0.0.0", description="address that the proxy listens on")  # noqa: S104  (its purpose)
    port: Port = Field(default=9443, description="port that the proxy listens on: the only one open to the network")
    superlink_port: Port = Field(default=9444, description="of the SuperLink, on the loopback address")
    metrics_port: Port = Field(default=9445, description="of the metrics for Prometheus, on the loopback address")
    object_bytes: Annotated[int, Field(ge=1, le=16 << 20)] = OBJECT_BYTES
    """largest piece of weights that a hospital may send; Flower cuts them to 5 MiB"""

    @staticmethod
    def load(folder: Path) -> "Settings":
        """The settings of a coordinator's folder.

        Raises:
            ConfigError: the folder is not a coordinator's, or a key is unknown, missing or wrong.
        """
        if not (folder / SETTINGS_FILE).is_file():
            raise ConfigError(
                f"server folder '{folder}'", "is not a coordinator folder", "make one with `silogan server init`"
            )
        return parse(Settings, read_keys(folder / SETTINGS_FILE, "settings", "write names: [HOST]"), "settings")


def settings_template(names: tuple[str, ...], listen: str, port: int) -> str:
    """The initial text of `server.yaml`."""
    return f"""\
# The coordinator of a federation. Restart it after a change.
names: [{", ".join(names)}]   # as hospitals call it; the certificate is for these
listen: {listen}
port: {port}            # the only one open to the network; hospitals need nothing but this
superlink_port: {port + 1}  # on the loopback address, as the next
metrics_port: {port + 2}
"""
