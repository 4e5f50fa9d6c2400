"""A fault campaign: how a federation behaves when its parts are killed, hang, are cut off or impersonate others.

A fault is a function of its own, a generator: what it yields first says what was done in the middle of a run. What
comes after that happens once the run has ended: it repairs what it broke, and may say what else was seen.
"""

from collections.abc import Callable, Iterator

from silogan.simulations.rehearsal.faults import coordinators, intruders, processes, surroundings
from silogan.simulations.rehearsal.federation import Federation

Fault = Callable[[Federation], Iterator[str]]

FAULTS: dict[str, Fault] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        *(processes.worker_killed, processes.worker_hung, processes.supernode_killed, processes.node_killed),
        *(processes.site_gone, processes.server_killed, processes.two_runs),
        *(surroundings.network_cut, surroundings.network_cut_for_good, surroundings.disk_full, surroundings.read_only),
        *(surroundings.ledger_locked, surroundings.clock_skewed, surroundings.certificate_expired),
        *(coordinators.proxy_frozen, coordinators.coordinator_disk_full, coordinators.checkpoint_damaged),
        *(coordinators.database_lost, coordinators.server_restarted_thrice, coordinators.run_stopped),
        *(intruders.unknown_key, intruders.plain_http, intruders.same_key_twice),
        *(intruders.modified_software, intruders.poisoned_update),
    )
}
"""By the name that the command line takes."""
