"""A hospital as the coordinator sees it: one instruction in, one reply or refusal out."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flwr.app import RecordDict

from silogan.client.answer import answer
from silogan.client.data import Records
from silogan.client.data.stamp import stamp
from silogan.client.ledger.register import Registration
from silogan.client.node.connection import Connection
from silogan.client.node.node import SITE_KEY, Node
from silogan.client.node.reading import check_present, read_registered
from silogan.client.round import Site
from silogan.common.errors import Code, PrivacyRefusal
from silogan.common.modality import Data


class _Held(NamedTuple):
    """Records in memory, where they came from, and the stamp of the files when they were read."""

    records: Records
    data: Data
    stamp: str


class Hospital:
    """Answers instructions with the node in a folder; records stay in memory as long as their files are as they were.

    Args:
        folder: the node's folder.

    Privacy:
        What leaves is what `silogan.client.answer.answer` returns: a reply of `silogan.client.round.run_round`, or a
        `Code`. Records of a patient who withdrew are gone from memory with the next instruction, whatever it asks for.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, _Held] = {}

    def answer(self, content: RecordDict) -> RecordDict:
        """Runs the requested round, or refuses."""
        return answer(content, "hospital", self._site)

    def _site(self, study_id: str) -> Site:
        """The hospital in a study that it has approved for the coordinator that it is connected to."""
        self._forget_what_changed()
        node = Node(self._folder)
        registration, approval = node.taking_part(study_id)
        connection = Connection.load(self._folder)
        if approval.server not in (connection.server, connection.host):
            problem = f"was approved for '{approval.server}', but '{connection.server}' asks"
            hint = "have the hospital approve it for this coordinator"
            raise PrivacyRefusal("study", problem, hint, code=Code.NOT_APPROVED)
        site = site_of(node, study_id, registration)
        return replace(site, read_records=partial(self._read, registration, site))

    def _read(self, registration: Registration, site: Site) -> Records:
        """The cohort's registered records, read where they are not in memory."""
        name = registration.fingerprint
        if name not in self._held:
            before = stamp(registration.data)  # a file that changes while it is read is read again in the next round
            self._held[name] = _Held(site.read_records(), registration.data, before)
        return self._held[name].records

    def _forget_what_changed(self) -> None:
        self._held = {name: held for name, held in self._held.items() if stamp(held.data) == held.stamp}


def site_of(node: Node, study_id: str, registration: Registration) -> Site:
    """A hospital as a participant of a study that it has approved.

    Raises:
        PrivacyRefusal: it has not approved it, or it no longer fits. The refusal is written.
        ConfigError: the study was changed since. The refusal is written.
    """
    return Site(
        name=registration.site,
        study=node.approved(study_id, registration),
        declared_size=registration.declared_size,
        read_records=partial(read_registered, registration, node.key),
        ledger_path=node.ledger_path(registration),
        key_path=node.folder / SITE_KEY,
        read_policy=node.policy,
        state_folder=node.study_folder(study_id) / "state",
        check_data=partial(check_present, registration),
    )
