"""The short run that each fault happens in."""

from typing import Any

from simulations.rehearsal.federation import Federation, settings

STEPS = 200
"""Of a round: as many as a new policy allows."""


def submit_short(federation: Federation, title: str, rounds: int = 6) -> dict[str, Any]:
    """Submits some rounds, with randomness of their own. Each title makes another study of it."""
    return federation.submit(
        *settings(),
        f"title={title}",
        "privacy.epsilon=1",
        f"training.rounds={rounds}",
        f"training.local_steps={STEPS}",
        "seed=null",
        "federation.quorum=2",
        "federation.round_timeout=30",
        "federation.join_timeout=60",
    )
