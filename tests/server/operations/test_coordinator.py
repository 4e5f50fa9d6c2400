import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from silogan.common.errors import ConfigError, UsageError, VerificationError
from silogan.common.operations.flower import free_port
from silogan.common.wire.study import Study
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.prometheus import metrics_text, serve_metrics
from silogan.server.operations.settings import SETTINGS_FILE
from silogan.server.operations.status import status
from silogan.server.operations.submission import Submission

# One line of Prometheus' text format: a comment, or name{labels} value.
LINE = re.compile(r'#.*|[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\[\\"n])*"(,[a-z]+="(?:[^"\\\n]|\\[\\"n])*")*\})? -?[0-9.e+-]+')


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return Coordinator.create(tmp_path / "server", ["fl.example.org"], port=free_port())


def test_secrets_and_authority_stay_when_it_is_made_again(coordinator: Coordinator) -> None:
    kept = {name: (coordinator.folder / name).read_bytes() for name in ("superexec.secret", "ca.pem", "ca.key")}
    before = (coordinator.folder / "server.pem").read_bytes()
    again = Coordinator.create(coordinator.folder, ["fl.example.org"])
    assert {name: (again.folder / name).read_bytes() for name in kept} == kept
    assert (again.folder / "server.pem").read_bytes() != before  # a new certificate
    assert again.settings == coordinator.settings
    for name in ("superexec.secret", "ca.key", "server.key"):
        assert (again.folder / name).stat().st_mode & 0o077 == 0


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make one with `silogan server init`"):
        Coordinator(tmp_path)


@pytest.mark.parametrize("line", ["port: 0", "more: 1", "names: 3"])
def test_settings_are_checked(coordinator: Coordinator, line: str) -> None:
    path = coordinator.folder / SETTINGS_FILE
    kept = [old for old in path.read_text().splitlines() if old.partition(":")[0] != line.partition(":")[0]]
    path.write_text("\n".join([*kept, line]))
    with pytest.raises(ConfigError, match=line.partition(":")[0]):
        Coordinator(coordinator.folder)


def test_certificate_must_be_for_its_names(coordinator: Coordinator) -> None:
    path = coordinator.folder / SETTINGS_FILE
    path.write_text(path.read_text().replace("fl.example.org", "other.example.org"))
    with pytest.raises(VerificationError):
        Coordinator(coordinator.folder).start(as_root=True)


def test_root_must_be_asked_for(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(UsageError, match="would run as root"):
        coordinator.start()


def test_stopping_what_does_not_run_is_said(coordinator: Coordinator) -> None:
    with pytest.raises(UsageError, match="is not running"):
        coordinator.stop()


def test_status_and_metrics_say_how_it_stands(coordinator: Coordinator, make_study: Callable[..., Study]) -> None:
    name = coordinator.runs.propose(make_study())
    coordinator.runs.set(name, Submission("queued", 0, 1, "2 of 3 sites"))
    found = status(coordinator)
    (run,) = found["runs"]
    assert (run["name"], run["state"], run["round"], run["rounds"]) == (name, "queued", 0, 4)
    assert found["services"] == {}
    assert found["certificate"]["days_left"] > 300
    assert json.loads(json.dumps(found)) == found
    found["sites"] = [{"name": 'a "strange"\\\nname', "declared_size": 1, "status": "online", "heard": 1.5}]
    lines = metrics_text(found).decode().splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    assert f'silogan_run_state{{run="{name}",state="queued"}} 1.0' in lines
    assert {line.split("{")[0].split()[0] for line in lines if not line.startswith("#")} == {
        f"silogan_{name}"
        for name in (
            *("service_up", "problems", "certificate_days_left", "site_online", "site_heard_seconds"),
            *("run_round", "run_rounds", "run_sites_answered", "run_state", "run_sites_refused"),
        )
    }  # and nothing of this process


def test_metrics_are_answered_on_the_loopback_address_only(coordinator: Coordinator) -> None:
    port = free_port()
    path = coordinator.folder / SETTINGS_FILE
    lines = [line for line in path.read_text().splitlines() if not line.startswith("metrics_port")]
    path.write_text("\n".join([*lines, f"metrics_port: {port}"]))
    server = serve_metrics(Coordinator(coordinator.folder))
    try:
        assert server.server_address[0] == "127.0.0.1"
        with httpx.Client(trust_env=False) as client:
            assert "silogan_service_up" in client.get(f"http://127.0.0.1:{port}/metrics").text
            assert client.get(f"http://127.0.0.1:{port}/other").status_code == 404
        with pytest.raises(ConfigError, match="is taken"):
            serve_metrics(Coordinator(coordinator.folder))
    finally:
        server.shutdown()
        server.server_close()
