"""All that the commands import late, for the processes that try mutations: what takes seconds is imported once."""

from importlib import import_module

from simulations.fuzz.content import warm_up

_LATE = (
    *("dp_accounting.pld", "sklearn.datasets", "torchvision.datasets", "server.release.generate", "silogan"),
    *("client.ledger.page", "simulations.fuzz.workers", "simulations.simulate"),
)

for name in _LATE:
    import_module(name)
warm_up()
