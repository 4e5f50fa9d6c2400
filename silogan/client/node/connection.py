"""How a hospital's node reaches its coordinator: `node.yaml`, a file that the hospital edits, like its policy."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from silogan.common.bounds import Positive, Text
from silogan.common.errors import ConfigError
from silogan.common.reading import parse, read_keys
from silogan.common.section import Section

CONNECTION_FILE = "node.yaml"


def _printable(path: Path) -> Path:
    if not str(path).isprintable():
        raise ValueError("has characters that cannot be printed")
    return path


class Connection(Section):
    """How a node reaches its coordinator. It only ever connects outwards; nobody connects to it."""

    server: Text = Field(default="", description="the coordinator, as its policy and approvals call it: host:port")
    ca: Annotated[Path, AfterValidator(_printable)] = Field(default=Path("ca.pem"), strict=False)
    """certificate that the coordinator's is signed by"""

    proxy: Text | None = Field(default=None, description="HTTP proxy on the way, as http://proxy.example.org:3128")
    deadline: Positive = Field(default=3600.0, description="seconds that a round may take here before it is given up")
    max_clock_skew: Annotated[float, Field(gt=0, le=60)] = 5.0
    """seconds between the two clocks; Flower itself refuses more than ten"""

    @property
    def host(self) -> str:
        """Host name or address of the coordinator's machine."""
        return self.server.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.server.rpartition(":")[2])

    @staticmethod
    def load(folder: Path) -> "Connection":
        """The connection of a node's folder; relative paths are relative to it.

        Raises:
            ConfigError: the file is missing, has an unknown or wrong key, or names no server.
        """
        values = read_keys(folder / CONNECTION_FILE, "connection", "write server: host:port")
        found = parse(Connection, values, "connection")
        if not found.server:
            raise ConfigError("server", "is not set", f"write the coordinator's host:port into {CONNECTION_FILE}")
        host, colon, port = found.server.rpartition(":")
        if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
            raise ConfigError("server", f"'{found.server}' is not host:port", "for example: fl.example.org:9443")
        return found.model_copy(update={"ca": folder / found.ca.expanduser()})


def connection_template(server: str = "", proxy: str | None = None) -> str:
    """The initial text of `node.yaml`."""
    return f"""\
# Where this node finds its coordinator. It only connects outwards.
server: {server or '""'}          # host:port
ca: ca.pem          # the certificate that the coordinator sent, in this folder
proxy: {proxy or "null"}         # for example http://proxy.example.org:3128
deadline: 3600      # seconds that a round may take here before it is given up
max_clock_skew: 5   # seconds between the coordinator's clock and this one
"""
