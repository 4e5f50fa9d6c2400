"""The members of a run: which node is which site of the roster, and which of them are asked."""

from collections.abc import Iterable

from flwr.serverapp import Grid

from silogan.server.rounds.quarantine import ProtocolViolation, Quarantine


class Members:
    """The sites of a run and their nodes.

    In a federation of hospitals every node is registered under its site's name and authenticates with its key: the name
    that Flower gives is the site, and a node with another name, or without one, is never asked. In a simulation nodes
    have no names, and a site belongs to the node that first gave its name.

    Args:
        roster: the names of the sites.
        quarantine: who is not asked.

    Attributes:
        named: whether names are authenticated; once they are, a node's own claim is never trusted again.
    """

    def __init__(self, roster: Iterable[str], quarantine: Quarantine) -> None:
        self._roster = list(roster)
        self.quarantine = quarantine
        self.named = False
        self._site_of: dict[int, str] = {}

    @property
    def quarantined(self) -> list[str]:
        """Sites of the roster in quarantine, in its order."""
        kept = self.quarantine.sites
        return [site for site in self._roster if site in kept]

    def connected(self, grid: Grid) -> list[int]:
        """The nodes that may be asked now, in ascending order; learns their names.

        Of two nodes under one name, the one registered last is the site: it was enrolled again.
        """
        nodes = sorted(grid.get_nodes(), key=lambda node: (node.registered_at, node.node_id))
        self.named = self.named or any(node.name for node in nodes)
        if self.named:
            newest = {node.name: node.node_id for node in nodes if node.name in self._roster}
            self._site_of = {node: site for site, node in newest.items()}
            known = list(self._site_of)
        else:
            known = [node.node_id for node in nodes]
        kept = self.quarantine.sites
        return sorted(node for node in known if self._site_of.get(node) not in kept)

    def site_of(self, node: int) -> str | None:
        """The site of a node; None if the node has not given a name yet."""
        return self._site_of.get(node)

    def title(self, node: int) -> str:
        """What an error calls a node: its site where the name is proven, else its number."""
        return self._site_of.get(node, f"node {node}") if self.named else f"node {node}"

    def believed(self, node: int, says: str) -> str:
        """What to call a node that refuses, and calls itself so.

        What it says counts only where no name is proven or known, and no other node has taken this one of the roster.
        """
        known = self._site_of.get(node)
        if known is not None:
            return known
        free = not self.named and says in self._roster and says not in self._site_of.values()
        return says if free else self.title(node)

    def claim(self, node: int, site: str) -> None:
        """Checks the site name that a node gives itself.

        Raises:
            ProtocolViolation: it is not this site.
        """
        known = self._site_of.get(node)
        free = not self.named and known is None and site in self._roster and site not in self._site_of.values()
        if free:
            self._site_of[node] = site
        elif known != site:
            hint = "the reply is left out of the average"
            raise ProtocolViolation("reply", "comes from a node that is not this site's", hint)
