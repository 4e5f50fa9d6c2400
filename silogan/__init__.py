"""SiloGAN: hospitals train one generative model together, under differential privacy.

    >>> import silogan
    >>> run = silogan.simulate("digits")
    >>> run.verdict
    >>> run.samples(100)

`simulate`, `plan` and `scenarios` start from a study, `Run` from its folder. Errors are `SiloganError`.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Flower phones home and looks for updates unless it is told not to before it is imported.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
# Threads that spin while they wait cost minutes where another program wants the processor too. Some microseconds of it
# cost nothing, and spare most of the waking.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from silogan.common.errors import SiloganError
    from silogan.run import Run, plan, scenarios, simulate
    from silogan.server.release.arrays import Samples
    from silogan.server.report.verdict import Verdict

__version__ = "0.1.0"

_PLACES = {
    **dict.fromkeys(("Run", "plan", "scenarios", "simulate"), "silogan.run"),
    "Samples": "silogan.server.release.arrays",
    "SiloganError": "silogan.common.errors",
    "Verdict": "silogan.server.report.verdict",
}
__all__ = ["Run", "Samples", "SiloganError", "Verdict", "plan", "scenarios", "simulate"]


def __getattr__(name: str) -> Any:
    """The interface, when it is asked for: its imports take seconds, which a command's help should not."""
    if name not in _PLACES:
        raise AttributeError(f"module 'silogan' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
