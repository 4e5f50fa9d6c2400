"""The hospitals of a federation: who may connect, with which key, and what size of cohort each has declared."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from common.bounds import STRICT
from common.errors import ConfigError, VerificationError
from common.files import write_bytes_atomically
from common.study import SiteDeclaration
from server.control import Control, parse_node_key

SITES_FILE = "sites.json"


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
    node: int = 0
    retired: tuple[int, ...] = ()


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
            sites = _SITES.validate_json(self._path.read_bytes(), strict=True)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            raise VerificationError(f"file '{SITES_FILE}'", "is damaged", "restore it from its backup") from None
        return {site.name: site for site in sorted(sites, key=lambda site: site.name)}

    def enrol(self, name: str, public_key: str, declared_size: int) -> EnrolledSite:
        """Lets a hospital in; one that is enrolled gets a new key or size, and its old key is let in no more.

        Raises:
            ConfigError: the name, key or size is none, or the key is another hospital's.
        """
        SiteDeclaration(name, declared_size)
        parse_node_key(public_key)
        key = " ".join(public_key.split()[:2])
        with self._changing() as sites:
            for other in sites.values():
                if other.public_key == key and other.name != name:
                    raise ConfigError("node's key", f"is that of '{other.name}'", "have each hospital make its own")
            old = sites.get(name)
            new = EnrolledSite(name, key, declared_size)
            if old is not None and old.public_key == key:
                new = replace(old, declared_size=declared_size)
            elif old is not None:
                new = replace(new, retired=(*old.retired, *filter(None, [old.node])))
            sites[name] = new
        return new

    def remove(self, name: str) -> None:
        """Lets a hospital in no more.

        Raises:
            ConfigError: it is not enrolled.
        """
        with self._changing() as sites:
            if name not in sites:
                raise ConfigError(f"site '{name}'", "is not enrolled", "see `silogan server status`")
            old = sites[name]
            sites[name] = replace(old, public_key="", node=0, retired=(*old.retired, *filter(None, [old.node])))

    def tell(self, control: Control) -> None:
        """Brings the SuperLink up to date: registers new keys and takes old ones back.

        Raises:
            FederationError: the SuperLink refuses or does not answer; what it has taken is written down.
        """
        for site in list(self.all().values()):
            for node in site.retired:
                control.unregister(node)
                self._update(site.name, retired=node)
            if site.public_key and not site.node:
                self._update(site.name, node=control.register(site.name, site.public_key))

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
            content = json.dumps([asdict(site) for site in sites.values()], indent=2)
            write_bytes_atomically(self._path, content.encode())
