"""Flower's SuperLink, with a login for its operator: `python -m silogan.server.operations.hub SECRET_FILE ARGUMENT...`.

Flower 1.41 lets everybody who can reach the SuperLink's address use its interface for operators, unless a plug-in of
its enterprise edition is present. On the loopback address that is every user of the machine. Here a caller needs the
secret in a file that only its owner can read, so that the permissions of that file decide who is an operator.
"""

import hmac
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from flwr.supercore.auth.typing import AccountInfo
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin

from silogan.server.operations.control import bearer

_PROGRAM = "flwr.superlink.cli.flower_superlink"


class OperatorLogin(NoOpControlAuthnPlugin):
    """Accepts whoever knows the secret, as the only account.

    Args:
        secret: file that holds it.
    """

    def __init__(self, secret: Path) -> None:
        super().__init__()
        self._bearer = bearer(secret).encode()

    def validate_tokens_in_metadata(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[bool, AccountInfo | None]:
        """See `ControlAuthnPlugin`: whether the one token that was sent is the secret."""
        sent = [value if isinstance(value, bytes) else value.encode() for _, value in metadata]
        if len(sent) != 1 or not hmac.compare_digest(sent[0], self._bearer):
            return False, None
        return super().validate_tokens_in_metadata(metadata)


def main() -> None:
    """Runs Flower's program with this login."""
    secret = Path(sys.argv[1])
    sys.argv = ["flower-superlink", *sys.argv[2:]]
    module = importlib.import_module(_PROGRAM)
    if not hasattr(module, "load_control_authn_plugin"):  # never without the login
        raise SystemExit(
            "this version of Flower loads its login differently: install the version that silogan requires"
        )
    module.__dict__["load_control_authn_plugin"] = lambda: OperatorLogin(secret)
    cast(Callable[[], None], module.__dict__["flower_superlink"])()


if __name__ == "__main__":
    main()
