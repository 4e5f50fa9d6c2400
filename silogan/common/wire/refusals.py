"""A refusal on the wire: the site and one code of a short list; each code has one sentence here.

Privacy:
    A refusal carries no word of the site's own. Which code it is does not depend on patients' data (`Code`); the reason
    is in the hospital's log and ledger.
"""

from collections.abc import Generator
from contextlib import contextmanager

from flwr.app import ConfigRecord, RecordDict

from silogan.common.errors import SAME_VERSION, Code, FederationError, PrivacyRefusal, SiloganError, VerificationError

_REFUSAL = "refusal"

_SENTENCES: dict[Code, tuple[type[SiloganError], str, str, str]] = {
    Code.NOT_APPROVED: (PrivacyRefusal, "study", "is not approved by this site", "have the hospital review it"),
    Code.PLAN: (PrivacyRefusal, "privacy plan", "is not what this site approved", "have the hospital review the plan"),
    Code.POLICY: (PrivacyRefusal, "site policy", "forbids the plan", "propose what it allows"),
    Code.BUDGET: (PrivacyRefusal, "privacy budget", "does not pay for the round", "stop here, or ask for a larger one"),
    Code.ROUND_DONE: (PrivacyRefusal, "round", "was already answered", "continue with the next round"),
    Code.LEDGER: (VerificationError, "site's ledger", "is not valid", "have the hospital audit it"),
    Code.SOFTWARE: (VerificationError, "software", "is not what this site has reviewed", SAME_VERSION),
    Code.MESSAGE: (FederationError, "message", "is not one that this site understands", SAME_VERSION),
    Code.UNAVAILABLE: (FederationError, "site", "cannot answer", "see the site's own log"),
}


def public_error(code: Code) -> SiloganError:
    """The error for a code: always the same sentence."""
    kind, thing, problem, hint = _SENTENCES[code]
    return kind(thing, problem, hint, code=code)


def refusal_record(site: str, code: Code) -> RecordDict:
    """A refusal as a Flower record."""
    return RecordDict({_REFUSAL: ConfigRecord({"site": site, "code": code.value})})


def refusal_from_record(record: RecordDict) -> tuple[str, Code] | None:
    """The name that the sender gives itself, which is not to be trusted, and the code; None if it is not a refusal.

    Raises:
        FederationError: it is a refusal with other fields, other types or an unknown code.
    """
    refusal = record.get(_REFUSAL)
    if refusal is None:
        return None
    malformed = FederationError("refusal", "is malformed", "update the site's software", code=Code.MESSAGE)
    if set(record) != {_REFUSAL} or not isinstance(refusal, ConfigRecord) or set(refusal) != {"site", "code"}:
        raise malformed
    site, code = refusal["site"], refusal["code"]
    if not isinstance(site, str) or not isinstance(code, str) or code not in set(Code):
        raise malformed
    return site, Code(code)


@contextmanager
def without_reason() -> Generator[None]:
    """Turns every error inside into `Code.UNAVAILABLE`; it wraps all code that has patients' data in memory.

    Privacy:
        An error that depends on the data cannot be distinguished from any other, whatever its origin and type.
    """
    try:
        yield
    except SiloganError as error:
        error.code = Code.UNAVAILABLE
        raise
