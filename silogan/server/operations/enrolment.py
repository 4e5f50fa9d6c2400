"""The enrolled hospitals of a federation: their keys and their declared cohort sizes.

The file is written twice, `sites.json` and a copy beside it, from which `silogan server repair` restores a damaged one.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from filelock import FileLock
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from silogan.common.bounds import STRICT
from silogan.common.errors import ConfigError, SiloganError, VerificationError
from silogan.common.files import write_bytes_atomically
from silogan.common.wire.study import SiteDeclaration
from silogan.server.operations.nodes import NodeFacts, key_bytes, parse_node_key

if TYPE_CHECKING:
    from silogan.server.operations.control import Control

SITES_FILE = "sites.json"
COPY_FILE = "sites.copy.json"
_NodeNumber = Annotated[int, Field(ge=0, lt=2**64)]


@dataclass(frozen=True, config=STRICT)
class EnrolledSite:
    """One hospital.

    Attributes:
        name: in rosters.
        public_key: of its node, one line in OpenSSH's format.
        declared_size: of its cohort, in units of privacy, as it made it public.
        node: its number at the SuperLink; 0 until the SuperLink has been told.
        retired: numbers under which it was known before, which the SuperLink is still to forget.
    """

    name: str
    public_key: str
    declared_size: int
    node: _NodeNumber = 0
    retired: tuple[_NodeNumber, ...] = ()


_SITES: TypeAdapter[list[EnrolledSite]] = TypeAdapter(list[EnrolledSite])


class Enrolment:
    """All hospitals of a coordinator, in one file, which several processes may change.

    Args:
        folder: the coordinator's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SITES_FILE

    def all(self) -> dict[str, EnrolledSite]:
        """Every hospital by its name, in the order of names.

        Raises:
            VerificationError: the file is damaged.
        """
        try:
            return _parse(self._path.read_bytes())
        except FileNotFoundError:
            if not self._path.with_name(COPY_FILE).exists():
                return {}
            problem = "is missing"
        except (OSError, ValueError):
            problem = "is damaged"
        raise VerificationError(f"file '{SITES_FILE}'", problem, "run `silogan server repair`")

    def pending(self) -> bool:
        """Whether the SuperLink still needs an update.

        Raises:
            VerificationError: the file is damaged.
        """
        return any(site.retired or (site.public_key and not site.node) for site in self.all().values())

    def repair(self) -> int:
        """Restores a damaged or missing file from the copy; returns the number of hospitals in it.

        Raises:
            VerificationError: the copy is missing or damaged too.
        """
        with FileLock(self._path.with_name(f".{SITES_FILE}.lock")):
            try:
                content = self._path.with_name(COPY_FILE).read_bytes()
                sites = _parse(content)
            except (OSError, ValueError):
                hint = "restore it from a backup, or move both away and enrol the hospitals again"
                raise VerificationError(f"file '{SITES_FILE}'", "is damaged, and so is its copy", hint) from None
            write_bytes_atomically(self._path, content)
        return len(sites)

    def enrol(self, name: str, public_key: str, declared_size: int) -> EnrolledSite:
        """Enrols a hospital; one that is enrolled gets a new key or size, and its old key is revoked.

        Raises:
            ConfigError: the name, key or size is invalid, or the key is another hospital's.
        """
        SiteDeclaration(name, declared_size)
        parse_node_key(public_key)
        key = " ".join(public_key.split()[:2])
        with self._changing() as sites:
            for other in sites.values():
                if other.public_key == key and other.name != name:
                    raise ConfigError(
                        "node's key", f"is already the key of '{other.name}'", "have each hospital create its own key"
                    )
            old = sites.get(name)
            new = EnrolledSite(name, key, declared_size)
            if old is not None and old.public_key == key:
                new = replace(old, declared_size=declared_size)
            elif old is not None:
                new = replace(new, retired=(*old.retired, *filter(None, [old.node])))
            sites[name] = new
        return new

    def remove(self, name: str) -> None:
        """Removes a hospital and revokes its key.

        Raises:
            ConfigError: it is not enrolled.
        """
        with self._changing() as sites:
            if name not in sites:
                raise ConfigError(f"site '{name}'", "is not enrolled", "see `silogan server status`")
            old = sites[name]
            sites[name] = replace(old, public_key="", node=0, retired=(*old.retired, *filter(None, [old.node])))

    def tell(self, control: "Control") -> dict[str, str]:
        """Brings the SuperLink up to date: registers keys that it does not know, and revokes old ones.

        A SuperLink whose database is new knows no number that is written down here: its hospitals are registered again.
        Their keys and names come from this file, so nobody new gains access.

        Returns:
            Why a hospital could not be registered, by its name.

        Raises:
            FederationError: the SuperLink does not answer; what it has taken is written down.
            VerificationError: the file is damaged.
        """
        nodes, problems = control.nodes(), dict[str, str]()
        for site in list(self.all().values()):
            try:
                self._tell_of(site, control, nodes)
            except SiloganError as error:
                problems[site.name] = str(error)
        return problems

    def _tell_of(self, site: EnrolledSite, control: "Control", nodes: dict[int, NodeFacts]) -> None:
        for node in site.retired:
            if _admitted(nodes, node):
                control.unregister(node)
            self._update(site.name, retired=node)
        if not site.public_key:
            return
        key = key_bytes(site.public_key)
        if _admitted(nodes, site.node) and nodes[site.node].public_key == key:
            return
        same = [number for number, node in nodes.items() if node.public_key == key]
        if same and not _admitted(nodes, same[0]):
            hint = "have the hospital create a new key and send its request again"
            raise ConfigError(f"site '{site.name}'", "has a key that was revoked", hint)
        self._update(site.name, node=same[0] if same else control.register(site.name, site.public_key))

    def _update(self, name: str, *, node: int = 0, retired: int = 0) -> None:
        with self._changing() as sites:
            site = sites[name]
            left = tuple(number for number in site.retired if number != retired)
            sites[name] = replace(site, node=node or site.node, retired=left)
            if not sites[name].public_key and not left:
                del sites[name]

    @contextmanager
    def _changing(self) -> Generator[dict[str, EnrolledSite]]:
        with FileLock(self._path.with_name(f".{SITES_FILE}.lock")):
            sites = self.all()
            yield sites
            content = json.dumps([asdict(site) for site in sites.values()], indent=2).encode()
            write_bytes_atomically(self._path, content)
            write_bytes_atomically(self._path.with_name(COPY_FILE), content)


def _parse(content: bytes) -> dict[str, EnrolledSite]:
    """Hospitals by name; ValueError if the content was not written here."""
    sites = {site.name: site for site in _SITES.validate_json(content)}
    return dict(sorted(sites.items()))


def _admitted(nodes: dict[int, NodeFacts], number: int) -> bool:
    return number in nodes and nodes[number].status != "unregistered"
