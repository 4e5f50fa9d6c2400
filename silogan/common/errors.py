"""The exceptions of SiloGAN, and the exit code that each one stands for.

Every message is one line that names the thing, its problem, and a hint. It never holds patient data, the
path of a patient's file or an exact count: errors are logged, and a hospital's log may be read by others.

    SiloganError
    ├── UsageError          2  wrong usage of a command
    ├── ConfigError         3  bad configuration
    ├── DataError           4  bad data
    ├── PrivacyRefusal      5  refused for privacy: budget, policy, missing approval
    ├── VerificationError   6  invalid evidence
    ├── FederationError     7  the federation failed: quorum, network
    └── Interrupted       130  stopped by whoever had started it

A site that refuses sends the coordinator only a code (`common/wire/refusals.py`).
"""

from enum import StrEnum
from typing import ClassVar

from silogan.common.printable import printable

SAME_VERSION = "run the same version of silogan on both sides"
"""The hint where one side does not understand the other."""

_LONGEST = 1000  # characters of each part


class Code(StrEnum):
    """The codes of a refusal: all that a site tells the coordinator about the reason.

    Privacy:
        Each but the last says something of the study, the policy or the ledger, which are settled before a patient's
        data is read. Whatever can have to do with the data, or with the machine that holds it, is `UNAVAILABLE`.
    """

    NOT_APPROVED = "not-approved"
    PLAN = "plan"
    POLICY = "policy"
    BUDGET = "budget"
    ROUND_DONE = "round-done"
    LEDGER = "ledger"
    SOFTWARE = "software"
    MESSAGE = "message"
    UNAVAILABLE = "unavailable"


class SiloganError(Exception):
    """Base of all errors that a user can fix.

    Args:
        thing: what is wrong: a key, a file's role, a site.
        problem: what is wrong with it, with the offending value where it is public.
        hint: what to do about it, as an imperative.
        code: what a site that refuses with it tells the coordinator; that of its class if None.
    """

    exit_code: ClassVar[int] = 1
    code: Code = Code.UNAVAILABLE

    def __init__(self, thing: str, problem: str, hint: str, *, code: Code | None = None) -> None:
        if code is not None:
            self.code = code
        self.thing, self.problem, self.hint = (one_line(part) for part in (thing, problem, hint))
        super().__init__(f"{self.thing}: {self.problem}; {self.hint}")


def reason(error: Exception) -> str:
    """A safe description of any exception: the text if it is ours, else only its type."""
    return str(error) if isinstance(error, SiloganError) else type(error).__name__


def one_line(text: str) -> str:
    """A text as one line: control characters are escaped, and a long text is shortened."""
    shortened = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return printable(" ".join(shortened.split()))


class UsageError(SiloganError):
    """A command was called with wrong arguments."""

    exit_code = 2


class ConfigError(SiloganError):
    """A configuration is unreadable, incomplete or contradicts itself."""

    exit_code = 3


class DataError(SiloganError):
    """Data is missing, corrupt or not what its configuration says."""

    exit_code = 4


class PrivacyRefusal(SiloganError):  # noqa: N818  (it is a decision, not a fault)
    """A site refuses: the budget, its policy or a missing approval forbids the work."""

    exit_code = 5
    code = Code.PLAN


class VerificationError(SiloganError):
    """Evidence (a ledger, a checkpoint, a signature) is invalid."""

    exit_code = 6
    code = Code.LEDGER


class FederationError(SiloganError):
    """The federation failed: no quorum, no network, no usable reply."""

    exit_code = 7


class Interrupted(SiloganError):  # noqa: N818  (it is no fault)
    """Whoever had started the work has stopped it."""

    exit_code = 130


ERRORS_BY_EXIT_CODE: dict[int, type[SiloganError]] = {
    error.exit_code: error
    for error in (UsageError, ConfigError, DataError, PrivacyRefusal, VerificationError, FederationError)
}
