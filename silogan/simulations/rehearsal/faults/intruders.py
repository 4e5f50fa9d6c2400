"""Faults by impostors, and by sites with modified software."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import silogan
from silogan.simulations.rehearsal.faults.seen import last_words, quarantined
from silogan.simulations.rehearsal.federation import Federation, Host

_SOFTWARE = ("__init__.py", "__main__.py", "cli.py", "common", "client", "server")
_NOT_COPIED = shutil.ignore_patterns("logs", "flower", "filler", "__pycache__")

_UNREVIEWED = {"silogan/client/training/trainer.py": "\n# a line that nobody has reviewed\n"}

# Appended to the hostile hospital's copy: it takes whatever bundle it is sent, and multiplies its weights by -1000.
_HOSTILE = {
    "silogan/client/node/executor.py": """
from silogan.common.wire.bundle import installed_digest


def bundle_digest(bundle):
    return installed_digest()
""",
    "silogan/client/answer.py": """
_honest = answer


def answer(content, name, find_site):
    reply = _honest(content, name, find_site)
    for record in reply.array_records.values():
        for key, array in record.items():
            record[key] = type(array)(-1000 * array.numpy())
    return reply
""",
}
_PLAIN_HTTP = """
from http.client import HTTPConnection
connection = HTTPConnection("{}", timeout=10)
connection.request("GET", "/")
print(connection.getresponse().status)
"""


def unknown_key(federation: Federation) -> Iterator[str]:
    """A node that is not enrolled starts on a hospital's machine."""
    host = federation.hospitals[1]
    stranger = Host("stranger", federation.out / "stranger", host.address, host.prefix)
    stranger.run(
        *("node", "init", str(stranger.folder), "--cohort", "digits", "--site", "stranger", "--size", "500"),
        *("--data", str(federation.out / f"{host.name}-digits" / "data.yaml"), "--record-level"),
        *("--server", federation.address, "--ca", str(federation.server.folder / "ca.pem")),
    )
    yield f"a node that is not enrolled, for 20 s; it says: {_try(federation, stranger)}"


def plain_http(federation: Federation) -> Iterator[str]:
    """A request without TLS."""
    done = federation.hospitals[1].execute("-c", _PLAIN_HTTP.format(federation.address))
    yield f"a request without TLS, answered with status {done.stdout.strip() or done.stderr.strip()}"


def same_key_twice(federation: Federation) -> Iterator[str]:
    """A copy of a hospital's node, with its key and its ledger, starts on another machine."""
    first, other = federation.hospitals[:2]
    twin = Host("twin", federation.out / "twin", other.address, other.prefix)
    shutil.copytree(first.folder, twin.folder, ignore=_NOT_COPIED)
    yield f"a copy of the node on another machine, for 20 s; it says: {_try(federation, twin)}"


def modified_software(federation: Federation) -> Iterator[str]:
    """A hospital's software is not what it has reviewed; once reviewed, it is still not what the coordinator sends."""
    host = federation.hospitals[0]
    host.stop()
    host.software = _copy(federation.out / "modified", _UNREVIEWED)
    federation.start(host)
    code = host.processes[-1].wait(timeout=60)
    _reviewed(federation, host)
    yield f"a line added to the software: not started (exit code {code}); started once it was reviewed"
    _as_installed(federation, host)


def poisoned_update(federation: Federation) -> Iterator[str]:
    """A hospital's software sends weights times -1000, and does not compare bundles."""
    host = federation.hospitals[0]
    host.stop()
    host.software = _copy(federation.out / "hostile", _HOSTILE)
    _reviewed(federation, host)
    yield "weights times -1000 from a hostile node"
    _as_installed(federation, host)
    yield quarantined(federation)


def _try(federation: Federation, host: Host) -> str:
    """Starts a node for 20 seconds; what it said last."""
    federation.start(host)
    time.sleep(20)
    host.stop()
    return last_words(host)


def _copy(folder: Path, additions: dict[str, str]) -> Path:
    """A copy of this software with lines added to its files."""
    package = Path(silogan.__file__).parent
    copy = folder / package.name
    copy.mkdir(parents=True)
    for name in _SOFTWARE:
        source = package / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=_NOT_COPIED)
        else:
            shutil.copy(source, copy)
    for name, text in additions.items():
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)
    return folder


def _reviewed(federation: Federation, host: Host) -> None:
    """Has a host review the software that it has, and start it."""
    host.execute("-m", "silogan", "node", "check", str(host.folder), "--review")
    federation.start(host)


def _as_installed(federation: Federation, host: Host) -> None:
    host.stop()
    host.software = None
    _reviewed(federation, host)
