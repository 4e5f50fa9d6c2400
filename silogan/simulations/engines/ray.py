"""The Ray engine: runs both apps by `flwr run`, in separate processes, and reports reliably how that ended.

Flower's local runtime is started for one run and stopped after it. What it keeps (home, app bundle, Ray session) lies
in a temporary folder; its log and the run's are `ray.log` in the run folder.

    this process ── guard                                ends all of these when this process ends, however that ends
                 ├─ flower-superlink                     takes the run (HTTP on 127.0.0.1)
                 ├─ flower-superexec ── flwr-simulation  the ServerApp, and Ray with its actors, the ClientApps
                 └─ flwr run, flwr log, flwr list        submit, follow, ask

What Flower says is not enough: a run in which every site failed still ends as completed. A run has succeeded when
Flower says so and the server app has left `outcome.json` with exit code 0 in the run folder.

Everything runs on this machine: a Ray cluster in `RAY_ADDRESS` is not used. Flower's Control API has no login in this
mode, so another user of the machine could submit code of their own to the SuperLink while a simulation runs; on a
machine that strangers log in to, use the in-process engine.
"""

import http.client
import importlib.util
import secrets
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from silogan.common.errors import FederationError, UsageError
from silogan.common.operations.flower import FlowerError, ask, environment, free_port, program, write_connection
from silogan.common.operations.supervise import ProcessGroup
from silogan.common.progress import begin_part
from silogan.common.wire.bundle import stage
from silogan.common.wire.run_folder import OUTCOME_FILE, RAY_LOG
from silogan.server.rounds.outcome import raise_outcome

_START_SECONDS = 120.0  # for the SuperLink to import and listen
_WRAP_UP_SECONDS = 120.0  # from the outcome to the end of the run
_LOOK_SECONDS = 0.5  # between two looks at the run
_FOLLOWS = 5  # times that the run's log is reopened if it breaks off
_RAY_ROOT_LENGTH = 35  # Ray appends 68 characters for its sockets, whose paths may have 107 (103 on macOS)


class _Flower:
    """Flower's programs, which run in the staged app and in one process group.

    Args:
        env: their environment.
        app: the staged app.
        log: what they write goes here.
    """

    def __init__(self, env: dict[str, str], app: Path, log: IO[bytes]) -> None:
        self.env, self.app, self.log = env, app, log
        self.processes: list[subprocess.Popen[bytes]] = []
        self._group = ProcessGroup()

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a program that writes to the log and runs until it ends or `stop`."""
        process = self._group.start((program(name, self.env), *arguments), self.env, self.app, self.log)
        self.processes.append(process)
        return process

    def ask(self, *arguments: str) -> dict[str, Any]:
        """Runs one `flwr` command and returns the JSON object that it prints, which must report success."""
        return ask(self.env, self.app, self.log, *arguments)

    def stop(self) -> None:
        """Kills all of them. They hold nothing valuable, since results are in the run folder, and Ray ends slowly."""
        self._group.stop()


def run(run_dir: Path, *, num_sites: int, workers: int) -> None:
    """Runs the federation that `run_dir` describes on Ray, and returns when it has succeeded.

    The processes that it starts have ended when it returns or raises, also on Ctrl-C; should this process be killed,
    they end with it.

    Args:
        run_dir: the run folder, which exists; both apps find it as `run_config["run-dir"]`.
        num_sites: number of simulated sites, 1 or more; a ClientApp reads its own from `node_config["partition-id"]`.
        workers: most sites that train at the same time; the GPUs, where there are any, are shared between them.

    Raises:
        UsageError: Ray is not installed, or the run folder's path is not text.
        SiloganError: the one that the server app reported.
        FederationError: the run was lost in any other way; the log is in the run folder.
    """
    if importlib.util.find_spec("ray") is None:
        hint = "pip install 'silogan[ray]', or use --engine inprocess"
        raise UsageError("--engine ray", "Ray is not installed", hint)
    begin_part("starting Ray")
    run_dir = run_dir.resolve()
    (run_dir / OUTCOME_FILE).unlink(missing_ok=True)  # of an earlier run: it must not speak for this one
    with (
        tempfile.TemporaryDirectory(prefix="silogan-", dir=_scratch_root(), ignore_cleanup_errors=True) as scratch,
        (run_dir / RAY_LOG).open("ab", buffering=0) as log,
    ):
        app = _stage(Path(scratch), run_dir)
        try:
            with _flower(Path(scratch), app, log) as flower:
                run_id = _submit(flower, num_sites, max(1, min(workers, num_sites)))
                end = _follow(flower, run_id, run_dir / OUTCOME_FILE)
        except FlowerError as lost:
            end = str(lost)
    _conclude(run_dir, end)


def _scratch_root() -> str | None:
    """Where the temporary folder goes: the system's choice, unless that is too deep for Ray's sockets."""
    fits = len(tempfile.gettempdir()) <= _RAY_ROOT_LENGTH - len("/silogan-12345678")
    return None if fits else "/tmp"  # noqa: S108


def _stage(scratch: Path, run_dir: Path) -> Path:
    """Makes a folder with the app alone, as Ray prefers packages that it finds in the working directory."""
    app = scratch / "app"
    try:
        stage(app, str(run_dir))
    except UnicodeEncodeError:
        raise UsageError("--out", "the path of the run folder is not valid text", "choose another folder") from None
    return app


def _environment(scratch: Path) -> dict[str, str]:
    """Environment of all processes: private folders, this machine only."""
    env = environment(
        scratch / "flwr",
        RAY_TMPDIR=str(scratch),
        RAY_USAGE_STATS_ENABLED="0",
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # on any system: one node, which listens on the loopback address
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),
    )
    env.pop("RAY_ADDRESS", None)
    return env


@contextmanager
def _flower(scratch: Path, app: Path, log: IO[bytes]) -> Generator[_Flower]:
    """A local Flower runtime, from the moment it listens to the end of all that it started."""
    env, port, secret = _environment(scratch), free_port(), scratch / "secret"
    secret.write_bytes(secrets.token_bytes(32))
    write_connection(Path(env["FLWR_HOME"]), "simulation", f"127.0.0.1:{port}")
    # With "process" isolation only the holder of the secret, our SuperExec, can take the run and its token.
    shared = ("--insecure", "--superexec-auth-secret-file", str(secret))
    mode = ("--simulation", "--isolation", "process", "--host", "127.0.0.1", "--port", str(port))
    flower = _Flower(env, app, log)
    try:
        superlink = flower.start("flower-superlink", *shared, *mode)
        flower.start("flower-superexec", *shared, "--runtime-api-address", f"127.0.0.1:{port}")
        _await_listening(superlink, port)
        yield flower
    finally:
        flower.stop()


def _await_listening(superlink: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and superlink.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException):
            pass  # not yet
        finally:
            connection.close()
        time.sleep(0.2)
    raise FlowerError("the local SuperLink did not start")


def _submit(flower: _Flower, num_sites: int, actors: int) -> str:
    """Submits the staged app and returns the run's number."""
    gpus = _gpu_count()
    federation = {
        "num-supernodes": num_sites,
        "client-resources-num-cpus": 1,
        "client-resources-num-gpus": _gpu_share(gpus, actors),
        "init-args-num-cpus": actors,
        "init-args-num-gpus": gpus,
    }
    words = " ".join(f"{key}={value}" for key, value in federation.items())
    return str(flower.ask("run", str(flower.app), "--federation-config", words)["run-id"])


def _gpu_count() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _gpu_share(gpus: int, actors: int) -> float:
    """Share of one GPU that each actor gets, such that all find room, in steps of 1/10000, which are Ray's.

    A share cannot straddle two GPUs, so the GPU with the most actors sets it.
    """
    return 10_000 // -(-actors // gpus) / 10_000 if gpus else 0.0


def _follow(flower: _Flower, run_id: str, outcome: Path) -> str:
    """Copies the run's log until the run is finished and returns Flower's status of it, as "finished:completed"."""
    runtime = tuple(flower.processes)
    for _ in range(_FOLLOWS):
        reader, deadline = flower.start("flwr", "log", run_id, "--stream"), None
        while reader.poll() is None:
            if any(process.poll() is not None for process in runtime):
                raise FlowerError("a process of Flower's runtime stopped")
            if deadline is None and outcome.exists():
                deadline = time.monotonic() + _WRAP_UP_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                raise FlowerError(f"it did not end within {_WRAP_UP_SECONDS:.0f} s after its outcome")
            time.sleep(_LOOK_SECONDS)
        status = str(flower.ask("list", "--run-id", run_id)["runs"][0]["status"])
        if status.startswith("finished"):
            return status
    raise FlowerError("its log ended early")


def _conclude(run_dir: Path, end: str) -> None:
    """Returns if Flower and the server both report success; else raises the server's error, or that it was lost."""
    reported = (run_dir / OUTCOME_FILE).exists()
    if reported:
        raise_outcome(run_dir)
    if not reported or end != "finished:completed":
        raise FederationError("the Ray engine", f"the run was lost ({end})", f"read {run_dir / RAY_LOG}")
