"""The cohorts of a hospital: which patients a ledger protects, recognised under any name of their data.

A data set that shares patients with a registered one has no budget of its own: it joins the ledger of those patients,
where everything composes. Patients are recognised by keyed fingerprints, so that neither the register nor a copy of it
reveals who they are. The register is append-only and signed, so that a deleted ledger is noticed. If data moves to
another place, a new entry changes only the place.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from silogan.client.ledger.chain import Chain, Entry
from silogan.client.ledger.keys import SiteKey
from silogan.common.bounds import Name
from silogan.common.config.scenario import parse_data
from silogan.common.errors import ConfigError, DataError, PrivacyRefusal, VerificationError
from silogan.common.modality import Data, Schema, parse_schema
from silogan.common.privacy.plan import Unit
from silogan.common.wire.study import SiteDeclaration

_NAMES: TypeAdapter[list[str]] = TypeAdapter(list[Name], config=ConfigDict(strict=True))
_UNIT: TypeAdapter[Unit] = TypeAdapter(Unit)


@dataclass(frozen=True)
class Registration:
    """A data set that the hospital has registered.

    Attributes:
        name: of the data set, at the hospital.
        site: the hospital's name in rosters.
        ledger: name of the ledger that its patients are charged in.
        data: how to read it.
        schema: its public shape.
        unit: patient, or record where the data does not say who is who.
        declared_size: number of units as the hospital makes it public.
        fingerprints: of its units and records, 32 hexadecimal digits each, sorted.
        rehearsal: whether it holds no patients, for studies with a seed. A node's data sets are all of one kind.
    """

    name: str
    site: str
    ledger: str
    data: Data
    schema: Schema
    unit: Unit
    declared_size: int
    fingerprints: tuple[str, ...]
    rehearsal: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all fingerprints, which identifies the set of patients."""
        return hashlib.sha256("".join(self.fingerprints).encode()).hexdigest()

    @staticmethod
    def of_entry(entry: Entry) -> "Registration":
        """The registration that an entry of the register holds.

        Raises:
            VerificationError: the entry holds no valid registration.
        """
        try:
            return Registration._of_content(entry.content)
        except (ValueError, TypeError, KeyError, ConfigError):
            problem = "has a field of the wrong type or with an invalid value"
            raise VerificationError(f"register entry {entry.seq}", problem, "restore the register") from None

    @staticmethod
    def _of_content(content: dict[str, Any]) -> "Registration":
        declared = SiteDeclaration(content["site"], content["declared_size"])
        names = _NAMES.validate_python([content["name"], content["ledger"], *content["fingerprints"]])
        return Registration(
            name=names[0],
            site=declared.name,
            ledger=names[1],
            data=parse_data(content["data"]),
            schema=parse_schema(content["schema"]),
            unit=_UNIT.validate_python(content["unit"]),
            declared_size=declared.declared_size,
            fingerprints=tuple(names[2:]),
            rehearsal=content.get("rehearsal", False),  # an older register knows of none
        )

    def to_plain(self) -> dict[str, Any]:
        """As an entry of the register holds it."""
        data, schema = self.data.model_dump(mode="json"), self.schema.to_plain()
        plain = {name: getattr(self, name) for name in ("name", "site", "ledger", "unit", "declared_size", "rehearsal")}
        return {"kind": "register", **plain, "data": data, "schema": schema, "fingerprints": list(self.fingerprints)}


class Register:
    """All data sets of a hospital, in one file.

    Args:
        path: the file; created if missing, its folder must exist.
        key: the site's; signs the register.
    """

    def __init__(self, path: Path, key: SiteKey) -> None:
        self._chain = Chain(path, key)

    def add(
        self, wanted: Registration, open_ledger: Callable[[Registration, bool], object]
    ) -> tuple[Registration, tuple[str, ...]]:
        """Registers a data set; one that is registered already stays as it is.

        Args:
            wanted: what to register; where it shares patients with another data set, its ledger becomes theirs.
            open_ledger: opens its ledger, told whether that is new, before it is registered: a ledger that is missing
                afterwards was lost.

        Returns:
            What is registered, and the names of the data sets that it shares patients with.

        Raises:
            PrivacyRefusal: the name is taken by other data, or the patients are charged in several ledgers, so that no
                single one could tell what a patient's privacy has cost, or under another unit; or it is a rehearsal's
                and others here are not, or the other way round.
        """
        with self._chain.transaction() as book:
            known = _registrations(book.entries)
            for other in known:
                if other.rehearsal != wanted.rehearsal:
                    problem = "is a rehearsal node" if other.rehearsal else "is not a rehearsal node"
                    raise PrivacyRefusal("node", f"{problem}, and this cannot change", "create another node")
                if other.name == wanted.name:
                    if (other.fingerprint, other.unit) == (wanted.fingerprint, wanted.unit):
                        open_ledger(other, False)
                        return other, _names(one for one in _sharing(wanted, known) if one is not other)
                    hint = "choose another name for it"
                    raise PrivacyRefusal(f"cohort '{wanted.name}'", "is registered with other data", hint)
            sharing = list(_sharing(wanted, known))
            registration = _with_ledger(wanted, sharing)
            open_ledger(registration, not sharing)
            book.append(registration.to_plain())
            return registration, _names(sharing)

    def all(self) -> list[Registration]:
        """Every data set, in the order of registration."""
        with self._chain.transaction() as book:
            return _registrations(book.entries)

    def relocate(self, name: str, data: Data) -> Registration:
        """Records that a data set has moved to another place.

        Raises:
            DataError: there is none of this name.
        """
        with self._chain.transaction() as book:
            if name not in {one.name for one in _registrations(book.entries)}:
                raise DataError(f"cohort '{name}'", "is not registered", "register it with `silogan node init`")
            book.append({"kind": "relocate", "name": name, "data": data.model_dump(mode="json")})
            return next(one for one in _registrations(book.entries) if one.name == name)

    def get(self, name: str | None) -> Registration:
        """The data set of this name; the only one there is if None.

        Raises:
            DataError: there is none, or several to choose from.
        """
        known = self.all()
        found = [one for one in known if name in (None, one.name)]
        if len(found) != 1:
            names = ", ".join(one.name for one in known) or "none"
            problem = f"is not registered (registered: {names})" if name else f"is not given (registered: {names})"
            hint = "give --cohort, or register it with `silogan node init`"
            raise DataError(f"cohort '{name}'" if name else "cohort", problem, hint)
        return found[0]


def _registrations(entries: Iterable[Entry]) -> list[Registration]:
    """Every data set that the entries register, read from where it was last moved to."""
    found: dict[str, Registration] = {}
    for entry in entries:
        if entry.content["kind"] == "relocate":
            name = entry.content["name"]
            found[name] = replace(found[name], data=parse_data(entry.content["data"]))
        else:
            registration = Registration.of_entry(entry)
            found[registration.name] = registration
    return list(found.values())


def _sharing(wanted: Registration, known: list[Registration]) -> Iterator[Registration]:
    prints = set(wanted.fingerprints)
    return (other for other in known if not prints.isdisjoint(other.fingerprints))


def _with_ledger(wanted: Registration, sharing: list[Registration]) -> Registration:
    """The registration with the ledger that its patients are charged in already, if there is one."""
    ledgers, units = ({getattr(other, name) for other in sharing} for name in ("ledger", "unit"))
    if len(ledgers) > 1:
        problem = f"shares patients with {', '.join(_names(sharing))}, which are charged in different ledgers"
        raise PrivacyRefusal(f"cohort '{wanted.name}'", problem, "leave out the patients of all but one of them")
    if not units <= {wanted.unit}:
        problem = f"is {wanted.unit}-level, but {', '.join(_names(sharing))} with the same patients is not"
        raise PrivacyRefusal(f"cohort '{wanted.name}'", problem, "use the same unit for the same patients")
    return replace(wanted, ledger=ledgers.pop() if ledgers else wanted.name)


def _names(registrations: Iterable[Registration]) -> tuple[str, ...]:
    return tuple(one.name for one in registrations)
