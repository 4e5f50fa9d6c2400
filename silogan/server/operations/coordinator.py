"""A coordinator's folder and its processes.

    this process ── superlink   the hub, on the loopback address: takes and hands out messages, and knows the nodes
                 ├─ superexec ── ServerApp   the rounds (`server/app.py`), one process a run
                 ├─ proxy       nginx, the only one that the network reaches: it passes the hospitals' routes alone
                 └─ dispatcher, metrics (threads)

server.yaml         settings (`server/operations/settings.py`)
ca.pem ca.key server.pem server.key   certificates for the outside (`server/operations/authority.py`)
inner/              certificates of its own for the loopback address
release.key release.pub   sign what leaves the coordinator (`common/operations/release_key.py`)
superexec.secret    lets only the SuperExec take a run and its token
control.secret      lets only those who can read it be the SuperLink's operator
view/               what readers may see, if a group was admitted (`server/operations/view.py`)
superlink.sqlite    Flower's own state
sites.json          who is enrolled (`server/operations/enrolment.py`)
actions.jsonl       who did what (`server/operations/actions.py`)
runs/NAME/          a run (`server/operations/submission.py`)
"""

import logging
import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256

from silogan.common.config.scenario import Scenario
from silogan.common.errors import ConfigError, SiloganError, UsageError, VerificationError
from silogan.common.files import create_secret, write_bytes_atomically, writing
from silogan.common.operations.certificates import load_authorities, parse_name
from silogan.common.operations.flower import LOOPBACK, FlowerError, check_free, environment, program
from silogan.common.operations.logs import open_log
from silogan.common.operations.release_key import create_release_key
from silogan.common.operations.supervise import Service, Supervisor, only_one, stop_running
from silogan.common.pages.words import counted
from silogan.common.wire.run_folder import RUNS_VARIABLE
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.operations.authority import Authority
from silogan.server.operations.database import DATABASE, is_damaged, set_aside
from silogan.server.operations.enrolment import Enrolment
from silogan.server.operations.proxy import Proxy
from silogan.server.operations.settings import SETTINGS_FILE, Settings, settings_template
from silogan.server.operations.submission import Runs, make_study

if TYPE_CHECKING:
    from silogan.server.operations.control import Control

LOG_FILE = Path("logs") / "server.jsonl"
INNER = "inner"
CONTROL_SECRET = "control.secret"  # noqa: S105  (the name of its file)
_SECRET, _FLOWER_HOME = "superexec.secret", "flower"
SECRETS = (_SECRET, CONTROL_SECRET)
"""Secrets shared by the coordinator's programs; recreated if they are missing."""

_log = logging.getLogger("silogan.server")


@dataclass(frozen=True)
class Given:
    """Certificates of the institution: the server's chain, its key, and the authorities that hospitals trust."""

    chain: Path
    key: Path
    authorities: Path


class Coordinator:
    """The coordinator of a federation.

    Args:
        folder: its folder, which `create` has made.

    Raises:
        ConfigError: the folder is not a coordinator's, or its settings are unusable.
    """

    def __init__(self, folder: Path) -> None:
        require_access(folder)
        self.folder = folder.absolute()
        self.settings = Settings.load(self.folder)
        self.authority = Authority(self.folder)
        self.enrolment = Enrolment(self.folder)
        self.runs = Runs(self.folder)

    @cached_property
    def control(self) -> "Control":
        """The coordinator's control of its SuperLink; created on use, since it loads Flower's libraries."""
        from silogan.server.operations.control import Control  # noqa: PLC0415  (see above)

        address = f"{LOOPBACK}:{self.settings.superlink_port}"
        return Control(address, self.folder / INNER / "ca.pem", self.folder / CONTROL_SECRET)

    @staticmethod
    def create(
        folder: Path,
        names: Sequence[str],
        *,
        listen: str = "0.0.0.0",  # noqa: S104  (its purpose)
        port: int = 9443,
        given: Given | None = None,
    ) -> "Coordinator":
        """Makes the folder, its certificates and secrets; what is there already stays, but a new server certificate.

        Raises:
            ConfigError: the folder cannot be written, or a name or file is invalid.
            VerificationError: the institution's certificates do not fit.
        """
        for name in names:  # before a wrong one stands in the settings, which then stay
            parse_name(name)
        with writing(f"server folder '{folder}'", "choose another folder"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / INNER).mkdir(mode=0o700, exist_ok=True)
            if not (folder / SETTINGS_FILE).exists():
                text = settings_template(tuple(names), listen, port)
                write_bytes_atomically(folder / SETTINGS_FILE, text.encode())
            make_secrets(folder)
        create_release_key(folder)
        if given is None:
            Authority.create(folder, f"SiloGAN {names[0]}"[:50]).renew(names)
        else:
            Authority.install(folder, **vars(given), names=list(names))
        Authority.create(folder / INNER, "SiloGAN inner").renew(["localhost"])
        return Coordinator(folder)

    def propose(self, scenario: Scenario, sites: Sequence[str] | None = None) -> tuple[str, Study]:
        """Makes the run folder of a scenario with enrolled hospitals (all, if none is named): its name and study.

        Raises:
            ConfigError: a hospital is not enrolled, or see `make_study`.
        """
        enrolled = {name: site for name, site in self.enrolment.all().items() if site.public_key}
        for name in sites or ():
            if name not in enrolled:
                raise ConfigError(f"site '{name}'", "is not enrolled", "enrol it, or correct the name")
        chosen = [enrolled[name] for name in sites or enrolled]
        study = make_study(scenario, tuple(SiteDeclaration(one.name, one.declared_size) for one in chosen))
        return self.runs.propose(study), study

    def about(self) -> list[str]:
        """The start messages of a coordinator: its address, hospitals and runs, and how to stop it."""
        settings, runs = self.settings, Counter(run.state for run in self.runs.all().values())
        try:
            count = sum(bool(site.public_key) for site in self.enrolment.all().values())
            enrolled = f"{counted(count, 'hospital')} enrolled"
        except VerificationError as error:
            enrolled = str(error)
        states = f" ({', '.join(f'{count} {state}' for state, count in sorted(runs.items()))})" if runs else ""
        fingerprints = [
            f"authority (ca.pem) SHA-256 {one.fingerprint(SHA256()).hex(':').upper()}"
            for one in load_authorities(self.authority.ca_pem)
        ]
        return [
            f"coordinator '{settings.names[0]}' listens on {settings.listen}:{settings.port}",
            *fingerprints,
            f"{enrolled}; {counted(sum(runs.values()), 'run')}{states}",
            f"metrics on http://127.0.0.1:{settings.metrics_port}/metrics; log in {self.folder / LOG_FILE}",
            f"stop it with Ctrl-C, or `silogan server stop --folder {self.folder}`",
        ]

    def start(
        self,
        *,
        supervise: bool = False,
        as_root: bool = False,
        also: Callable[["Coordinator"], object] | None = None,
        say: Callable[[list[str]], None] = lambda _: None,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        """Runs the coordinator until it is stopped.

        Args:
            supervise: begin runs again that were lost, from their checkpoints.
            as_root: run as root, on a dedicated machine.
            also: called once everything is started, as for metrics.
            say: gets lines for a person: `about` at first, and `ready` when hospitals can connect.
            watch: called about every second.

        Raises:
            UsageError: it runs already, or would run as root without `as_root`.
            ConfigError: Flower or nginx is missing, or a certificate, or a port is taken.
            VerificationError: a certificate does not fit, or has expired.
        """
        if os.geteuid() == 0 and not as_root:
            hint = "start it as a dedicated user, or add --as-root on a machine for this purpose alone"
            raise UsageError("server", "would run as root", hint)
        from silogan.server.operations.dispatcher import Dispatcher  # noqa: PLC0415  (torch, and Flower)

        self.authority.check(self.settings.names)
        with only_one(self.folder, "server"):
            open_log(self.folder / LOG_FILE)
            if is_damaged(self.folder):
                lost = f"the SuperLink's database was damaged and is now {set_aside(self.folder)}; a new one is made"
                _log.warning("%s", lost)
                say([lost])
            services = self.services()
            for name in ("port", "superlink_port", "metrics_port"):
                host = self.settings.listen if name == "port" else LOOPBACK
                check_free(host, getattr(self.settings, name), name)
            say(self.about())
            told = {"ready": lambda: say(["ready"]), "watch": watch}
            dispatcher = Dispatcher(self.runs, self.enrolment, self.control, supervise=supervise, **told)
            dispatcher.start()
            if also is not None:
                also(self)
            try:
                supervisor = Supervisor(self.folder, services)
                supervisor.run(meanwhile=lambda: self._rotate_logs(supervisor.process("proxy")))
            finally:
                dispatcher.stop()
            _log.info("stopped")

    def _rotate_logs(self, process: int | None) -> None:
        with suppress(OSError):  # nginx is just being started again: the next time
            if process is not None:
                self.proxy().rotate_logs(process)

    def stop(self) -> None:
        """Stops the coordinator that runs in this folder.

        Raises:
            UsageError: none runs.
        """
        stop_running(self.folder, "server")

    def proxy(self) -> Proxy:
        """The configuration of nginx."""
        own, address = self.settings, (self.settings.listen, self.settings.port, self.settings.superlink_port)
        return Proxy(self.folder, *address, superlink_ca=f"{INNER}/ca.pem", object_bytes=own.object_bytes)

    def services(self) -> list[Service]:
        """The services of a coordinator.

        Raises:
            ConfigError: Flower or nginx is missing, or refuses its configuration.
            VerificationError: the certificates for the loopback address are damaged.
        """
        try:
            Authority(self.folder / INNER).renew(["localhost"])
        except (SiloganError, OSError):
            hint = "run `silogan server repair`"
            raise VerificationError("certificates in 'inner'", "are missing or damaged", hint) from None
        make_secrets(self.folder)
        env = environment(self.folder / _FLOWER_HOME, **{RUNS_VARIABLE: str(self.folder / "runs")})
        inner, secret = self.folder / INNER, ("--superexec-auth-secret-file", str(self.folder / _SECRET))
        address = ("--host", LOOPBACK, "--port", str(self.settings.superlink_port))
        try:
            superexec = program("flower-superexec", env)
        except FlowerError as error:
            raise ConfigError("Flower", str(error), "install silogan with its dependencies") from None
        hub = (
            *(sys.executable, "-P", "-m", "silogan.server.operations.hub", str(self.folder / CONTROL_SECRET)),
            *("--isolation", "process", *secret, "--enable-supernode-auth", *address),
            *("--database", str(self.folder / DATABASE), "--disable-runtime-dependency-installation"),
            *("--ssl-certfile", str(inner / "server.pem"), "--ssl-keyfile", str(inner / "server.key")),
            *("--ssl-ca-certfile", str(inner / "ca.pem")),
        )
        runner = (
            *(superexec, "--runtime-api-address", f"{LOOPBACK}:{self.settings.superlink_port}", *secret),
            *("--root-certificates", str(inner / "ca.pem")),
        )
        proxy = self.proxy()
        proxy.write()
        proxy.check()
        return [
            Service("superlink", hub, env, self.folder, 2.0),
            Service("superexec", runner, env, self.folder, 2.0),
            Service("proxy", tuple(proxy.command()), env, self.folder, 2.0),
        ]


def require_access(folder: Path) -> None:
    """Refuses a user who may not enter a coordinator's folder.

    Raises:
        ConfigError: this user may not.
    """
    try:
        forbidden = folder.is_dir() and not os.access(folder, os.X_OK, effective_ids=True)
    except PermissionError:
        forbidden = True
    if forbidden:
        hint = "run this as the coordinator's user, or be admitted as a reader"
        raise ConfigError(f"server folder '{folder}'", "is not accessible to this user", hint)


def make_secrets(folder: Path) -> list[str]:
    """Makes the secrets that are missing, and returns their names; the programs read them when they start."""
    made: list[str] = []
    for name in SECRETS:
        with suppress(FileExistsError):
            create_secret(folder / name, secrets.token_bytes(32))
            made.append(name)
    return made
