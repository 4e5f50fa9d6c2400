"""The engine against stand-ins for Flower's programs: fast, and each can be made to misbehave."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.common.config import get_fab_config, get_metadata_from_config
from hypothesis import given
from hypothesis import strategies as st

import silogan
from silogan.common.errors import FederationError, PrivacyRefusal, SiloganError, UsageError
from silogan.common.wire.run_folder import OUTCOME_FILE, RAY_LOG
from silogan.server.rounds.outcome import write_outcome
from silogan.simulations.engines import ray as ray_engine

REFUSAL = PrivacyRefusal("site-1", "budget is spent", "ask for more")

SUPERLINK = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
# Leaves a child behind that does not listen to SIGTERM, as Ray's processes may.
SUPEREXEC = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""
# `flwr run` plays the whole run: it does what is in the run folder's file `play`, then prints.
FLWR = """
import json, pathlib, sys, time, tomllib
app = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))
run_dir = pathlib.Path(app["tool"]["flwr"]["app"]["config"]["run-dir"])
play = json.loads((run_dir / "play").read_text())
if sys.argv[1] == "run":
    if play["outcome"]:
        (run_dir / "outcome.json").write_text(json.dumps(play["outcome"]))
    print(json.dumps({"success": True, "run-id": "17", "arguments": sys.argv}) if play["submitted"] else "not JSON")
    (run_dir / "arguments").write_text(json.dumps(sys.argv))
elif sys.argv[1] == "log":
    print("following run", sys.argv[2], flush=True)
    time.sleep(play["seconds"])
else:
    statuses = play["statuses"]
    (run_dir / "play").write_text(json.dumps(play | {"statuses": statuses[1:] or statuses}))
    print(json.dumps({"success": True, "runs": [{"run-id": sys.argv[3], "status": statuses[0]}]}))
"""


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder with a name that needs quoting, and stand-ins on the path of the engine."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {"flower-superlink": SUPERLINK, "flower-superexec": SUPEREXEC, "flwr": FLWR}.items():
        (programs / name).write_text(f"#!{sys.executable}\n{body}")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(programs))
    monkeypatch.setattr(ray_engine, "_gpu_count", lambda: 0)
    monkeypatch.setattr(ray_engine, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ray_engine, "_scratch_root", lambda: None)
    folder = tmp_path / 'a run\'s "folder" = é\\n {x}'
    folder.mkdir()
    play(folder)
    return folder


def play(
    run_dir: Path,
    outcome: object = None,
    *,
    submitted: bool = True,
    seconds: float = 0,
    statuses: tuple[str, ...] = ("finished:completed",),
) -> None:
    """What the stand-ins are to do."""
    script = {"outcome": outcome, "submitted": submitted, "seconds": seconds, "statuses": statuses}
    (run_dir / "play").write_text(json.dumps(script))


SUCCESS = {"exit_code": 0, "error": None}


def is_alive(pid: int) -> bool:
    """Whether the process is there and not only waiting to be collected."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith("Z")


def wait_until_dead(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


def assert_nothing_left(run_dir: Path) -> None:
    """No process and no temporary folder."""
    log = (run_dir / RAY_LOG).read_text()
    children = [int(line.split()[1]) for line in log.splitlines() if line.startswith("child ")]
    assert all(not is_alive(pid) for pid in children)
    assert not list(run_dir.parent.glob("silogan-*"))


def test_returns_on_success_and_leaves_nothing(run_dir: Path) -> None:
    play(run_dir, SUCCESS)
    ray_engine.run(run_dir, num_sites=3, workers=8)
    assert "following run 17" in (run_dir / RAY_LOG).read_text()
    arguments = json.loads((run_dir / "arguments").read_text())
    federation = dict(word.split("=") for word in arguments[arguments.index("--federation-config") + 1].split())
    assert federation["num-supernodes"] == "3"
    assert federation["init-args-num-cpus"] == "3"  # not more actors than sites
    assert federation["client-resources-num-cpus"] == "1"
    assert_nothing_left(run_dir)


def test_raises_what_the_server_reported(run_dir: Path) -> None:
    parts = {"thing": REFUSAL.thing, "problem": REFUSAL.problem, "hint": REFUSAL.hint}
    play(run_dir, {"exit_code": 5, "error": parts}, statuses=("finished:failed",))
    with pytest.raises(PrivacyRefusal, match="site-1: budget is spent; ask for more"):
        ray_engine.run(run_dir, num_sites=1, workers=1)
    assert_nothing_left(run_dir)


@pytest.mark.parametrize(
    ("outcome", "status"), [(None, "finished:completed"), (SUCCESS, "finished:failed"), (SUCCESS, "finished:stopped")]
)
def test_both_accounts_must_say_success(run_dir: Path, outcome: object, status: str) -> None:
    play(run_dir, outcome, statuses=(status,))
    with pytest.raises(FederationError, match=rf"the run was lost \({status}\); read .*ray\.log"):
        ray_engine.run(run_dir, num_sites=1, workers=1)


def test_an_earlier_outcome_does_not_speak_for_this_run(run_dir: Path) -> None:
    write_outcome(run_dir, None)
    with pytest.raises(FederationError, match="the run was lost"):
        ray_engine.run(run_dir, num_sites=1, workers=1)
    assert not (run_dir / OUTCOME_FILE).exists()


def test_follows_again_when_the_log_breaks_off(run_dir: Path) -> None:
    play(run_dir, SUCCESS, statuses=("running", "finished:completed"))
    ray_engine.run(run_dir, num_sites=1, workers=1)
    assert (run_dir / RAY_LOG).read_text().count("following run 17") == 2


def test_gives_up_when_the_log_keeps_breaking_off(run_dir: Path) -> None:
    play(run_dir, SUCCESS, statuses=("running",))
    with pytest.raises(FederationError, match="its log ended early"):
        ray_engine.run(run_dir, num_sites=1, workers=1)


def test_gives_up_on_a_run_that_does_not_end_after_its_outcome(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "_WRAP_UP_SECONDS", 0.2)
    play(run_dir, SUCCESS, seconds=600)
    with pytest.raises(FederationError, match="did not end within"):
        ray_engine.run(run_dir, num_sites=1, workers=1)
    assert_nothing_left(run_dir)


def test_failed_submission_is_in_the_log(run_dir: Path) -> None:
    play(run_dir, submitted=False)
    with pytest.raises(FederationError, match="'flwr run' failed"):
        ray_engine.run(run_dir, num_sites=1, workers=1)
    assert "not JSON" in (run_dir / RAY_LOG).read_text()


@pytest.mark.parametrize(
    ("program", "reason"),
    [("flower-superlink", "the local SuperLink did not start"), ("flower-superexec", "runtime stopped")],
)
def test_a_runtime_that_dies_is_noticed(run_dir: Path, program: str, reason: str) -> None:
    (run_dir.parent / "bin" / program).write_text(f"#!{sys.executable}\nraise SystemExit(1)")
    play(run_dir, seconds=600)
    with pytest.raises(FederationError, match=reason):
        ray_engine.run(run_dir, num_sites=1, workers=1)
    assert_nothing_left(run_dir)


def test_interruption_leaves_nothing(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_seconds: float) -> None:
        if "child" in (run_dir / RAY_LOG).read_text():
            monkeypatch.undo()
            signal.raise_signal(signal.SIGINT)

    play(run_dir, seconds=600)
    monkeypatch.setattr(time, "sleep", interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs start with it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            ray_engine.run(run_dir, num_sites=1, workers=1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert_nothing_left(run_dir)


def test_processes_end_with_a_killed_engine(run_dir: Path) -> None:
    code = f"""
import pathlib, sys, time
from silogan.simulations.engines import ray as ray_engine
log = open({str(run_dir / "log")!r}, "ab", buffering=0)
flower = ray_engine._Flower({{"PATH": {str(run_dir.parent / "bin")!r}}}, pathlib.Path({str(run_dir)!r}), log)
print(flower.start("flower-superexec").pid, flush=True)
time.sleep(600)
"""
    root = Path(silogan.__file__).parent.parent
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        pid = int(engine.stdout.readline())
        assert is_alive(pid)
        engine.kill()
    assert wait_until_dead(pid)


def test_ray_must_be_installed(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'silogan\[ray\]'"):
        ray_engine.run(run_dir, num_sites=1, workers=1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_path_that_is_not_text_is_refused(run_dir: Path) -> None:
    folder = run_dir.parent / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(UsageError, match="not valid text") as caught:
        ray_engine.run(folder, num_sites=1, workers=1)
    assert isinstance(caught.value, SiloganError)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_stages_the_app_alone(tmp_path: Path) -> None:
    run_dir = tmp_path / 'run "1"'
    app = ray_engine._stage(tmp_path, run_dir)
    assert {entry.name for entry in app.iterdir()} == {"silogan", "pyproject.toml"}
    assert {entry.name for entry in (app / "silogan").iterdir()} == {"__init__.py", "common", "client", "server"}
    assert not list(app.rglob("__pycache__"))
    config = get_fab_config(build_fab_from_disk(app))  # Flower's own validation
    assert get_metadata_from_config(config) == ("silogan/silogan", silogan.__version__)
    assert config["tool"]["flwr"]["app"]["config"] == {"run-dir": str(run_dir)}


@given(st.integers(1, 16), st.integers(1, 300))
def test_all_actors_find_room_on_the_gpus(gpus: int, actors: int) -> None:
    units = round(ray_engine._gpu_share(gpus, actors) * 10_000)  # as Ray counts
    assert 0 < units <= 10_000
    assert gpus * (10_000 // units) >= actors
    assert int(gpus / ray_engine._gpu_share(gpus, actors)) >= actors  # as Flower counts


def test_without_gpus_actors_claim_none() -> None:
    assert ray_engine._gpu_share(0, 4) == 0.0


def test_environment_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    monkeypatch.setenv("NO_PROXY", "hospital.example")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    env = ray_engine._environment(tmp_path)
    assert "RAY_ADDRESS" not in env
    assert env["FLWR_TELEMETRY_ENABLED"] == "0"
    assert env["NO_PROXY"] == "127.0.0.1,hospital.example"
    assert env["OMP_NUM_THREADS"] == "1"
    assert env["PATH"].split(os.pathsep)[0] == sysconfig.get_path("scripts")
    assert env["RAY_AUTH_TOKEN"] != ray_engine._environment(tmp_path)["RAY_AUTH_TOKEN"]


@pytest.mark.parametrize(("folder", "root"), [("/tmp", None), ("/scratch/of/a/job/with/a/long/name", "/tmp")])  # noqa: S108
def test_ray_gets_a_short_path(monkeypatch: pytest.MonkeyPatch, folder: str, root: str | None) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: folder)
    assert ray_engine._scratch_root() == root
