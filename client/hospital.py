"""A hospital as the coordinator meets it: one instruction in, one reply or refusal out."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from flwr.app import RecordDict

from client.app import answer
from client.connection import Connection
from client.data import Images
from client.node import Node
from client.site import Site
from common.errors import PrivacyRefusal


class Hospital:
    """Answers instructions with the node in a folder; the images that it has read stay in memory.

    Args:
        folder: the node's folder.

    Privacy:
        What leaves is what `client.app.answer` lets out: a reply of `client.site.run_round`, or the three parts of a
        `SiloganError`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images: dict[str, Images] = {}

    def answer(self, content: RecordDict) -> RecordDict:
        """Does the round that is asked for, or says why not."""
        return answer(content, "hospital", self._site)

    def _site(self, study_id: str) -> Site:
        """The hospital in a study that it has approved for the coordinator that it is connected to."""
        node = Node(self._folder)
        registration, approval = node.taking_part(study_id)
        connection = Connection.load(self._folder)
        if approval.server not in (connection.server, connection.host):
            problem = f"was approved for '{approval.server}', but '{connection.server}' asks"
            raise PrivacyRefusal("study", problem, "have the hospital approve it for this coordinator")
        site = node.site(study_id, registration)
        return replace(site, read_images=partial(self._read, registration.fingerprint, site))

    def _read(self, fingerprint: str, site: Site) -> Images:
        """The cohort's images, read and compared with what was registered once."""
        if fingerprint not in self._images:
            self._images[fingerprint] = site.read_images()
        return self._images[fingerprint]
