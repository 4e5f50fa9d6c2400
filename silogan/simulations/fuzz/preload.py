"""All that the commands import late, for the processes that try mutations: what takes seconds is imported once."""

from importlib import import_module

from silogan.simulations.fuzz.content import warm_up

_LATE = (
    *("dp_accounting.pld", "sklearn.datasets", "torchvision.datasets", "silogan.server.release.generate", "silogan"),
    *("silogan.client.ledger.page", "silogan.simulations.fuzz.workers", "silogan.simulations.simulate"),
)

for name in _LATE:
    import_module(name)
warm_up()
