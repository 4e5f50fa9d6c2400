"""A site's answer to a message of the server: unpack, run the round, pack; refuse with a code."""

import logging
from collections.abc import Callable

from flwr.app import RecordDict

from silogan.client.round import Site, run_round
from silogan.common.errors import Code, SiloganError
from silogan.common.operations.logs import describe
from silogan.common.wire.envelope import unfold
from silogan.common.wire.messages import Instruction, unpack
from silogan.common.wire.refusals import refusal_record

_log = logging.getLogger("silogan.client")


def answer(content: RecordDict, name: str, find_site: Callable[[str], Site]) -> RecordDict:
    """Runs the round that the server asks for; every fault becomes a refusal with one code.

    Args:
        content: what the server sent, folded or not.
        name: the site's name in errors until it is found.
        find_site: the site in the study whose hash is given.

    Privacy:
        The result is a `Reply`, or a `Code` that does not depend on patients' data. Why the site refuses is in its
        own log alone, and also there the text of an exception that is not a `SiloganError`, which could quote data, is
        not told.
    """
    try:
        instruction, packed = Instruction.from_record(unfold(content))
        site = find_site(instruction.study_id)
        name = site.name
        reply, new_weights = run_round(site, instruction, unpack(packed))
        return reply.to_record(new_weights)
    except SiloganError as error:
        _log.warning("%s refuses (%s): %s", name, error.code, error)
        return refusal_record(name, error.code)
    except Exception as error:
        _log.error("%s refuses (%s): %s", name, Code.UNAVAILABLE, describe(error))  # its text may quote data
        return refusal_record(name, Code.UNAVAILABLE)
