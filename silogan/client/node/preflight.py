"""Preflight checks of a node: everything that a round needs. Each check has a finding and a hint."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from silogan.client.ledger.register import Registration
from silogan.client.node.connection import Connection
from silogan.client.node.node import Node
from silogan.client.node.node_key import node_public_key
from silogan.client.node.protection import are_protected
from silogan.client.node.review import check_reviewed
from silogan.common.errors import SiloganError
from silogan.common.operations.certificates import clock_skew, fetch_certificate, load_authorities
from silogan.common.wire.bundle import installed_digest

_FREE_BYTES = 2**30  # for ledgers, states and logs


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was checked.
        ok: whether it is as it has to be.
        finding: what was found.
        hint: what to do about it; empty if nothing.
    """

    name: str
    ok: bool
    finding: str
    hint: str = ""


def preflight(folder: Path) -> list[Check]:
    """Checks everything, also what comes after something that fails.

    Privacy:
        Reads the data as a round does, and says of it only that it is as it was registered.
    """
    return list(_checks(folder))


def _checks(folder: Path) -> Iterator[Check]:
    yield _check("python", lambda: f"{platform.python_version()} on {platform.machine()}")
    yield _check("software", lambda: _software(folder))
    yield _disk(folder)
    yield _user()
    yield _check("keys", lambda: _keys(folder))
    yield _check("policy", lambda: _policy(folder))
    yield from _cohorts(folder)
    yield _check("connection", lambda: f"to {Connection.load(folder).server}")
    yield _check("authority", lambda: f"{len(load_authorities(Connection.load(folder).ca))} in ca.pem")
    yield _check("coordinator", lambda: _coordinator(Connection.load(folder)))
    yield _clock(folder)


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except SiloganError as error:
        return Check(name, False, f"{error.thing}: {error.problem}", error.hint)
    except OSError as error:  # its text may name a patient's file
        return Check(name, False, f"cannot be read ({os.strerror(error.errno or 0)})", "check its permissions")


def _software(folder: Path) -> str:
    check_reviewed(folder)
    return f"as reviewed, {installed_digest()[:12]}"


def _disk(folder: Path) -> Check:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return Check("disk", False, "the folder is not there", "create it with `silogan node init`")
    size = f"{free / 2**30:.0f} GiB free"
    return Check("disk", free >= _FREE_BYTES, size, "" if free >= _FREE_BYTES else "free at least 1 GiB")


def _user() -> Check:
    root = os.geteuid() == 0
    return Check("user", True, "root: needs --as-root" if root else "ordinary")


def _keys(folder: Path) -> str:
    node = node_public_key(folder)
    how = "with a passphrase" if are_protected(folder) else "without a passphrase"
    return f"ledger {Node(folder).key.public[:12]}, node {node[-12:]}, {how}"


def _policy(folder: Path) -> str:
    policy = Node(folder).policy()
    servers = ", ".join(policy.servers) or "no server yet"
    return f"ε {policy.epsilon:g}, δ {policy.delta:g}, {policy.unit}-level, for {servers}"


def _cohorts(folder: Path) -> Iterator[Check]:
    try:
        node = Node(folder)
        registrations = node.register.all()
    except SiloganError as error:
        yield Check("data", False, f"{error.thing}: {error.problem}", error.hint)
        return
    if not registrations:
        yield Check("data", False, "no cohort is registered", "register one with `silogan node init`")
        return
    yield _check("device", _device)
    for registration in registrations:
        yield _check(f"data '{registration.name}'", partial(_data, node, registration))


def _device() -> str:
    """Where rounds would compute; asked only where there is data, since torch takes seconds."""
    from silogan.common.device import choose_device  # noqa: PLC0415  (see above)

    return str(choose_device("auto"))


def _data(node: Node, registration: Registration) -> str:
    node.check_cohort(registration)
    kind = "; for rehearsals: no patients' data" if registration.rehearsal else ""
    return f"complete, as registered; its ledger is present{kind}"


def _coordinator(connection: Connection) -> str:
    certificate = fetch_certificate(connection.host, connection.port, connection.ca)
    return f"trusted, {certificate.days_left()} days left"


def _clock(folder: Path) -> Check:
    try:
        connection = Connection.load(folder)
        skew = clock_skew(connection.host, connection.port, connection.ca)
    except SiloganError as error:
        return Check("clock", False, f"cannot be compared: {error.problem}", error.hint)
    ok = abs(skew) <= connection.max_clock_skew
    hint = "" if ok else "set the clock (NTP): requests with a wrong time are refused"
    return Check("clock", ok, f"{skew:+.0f} s from the coordinator's", hint)
