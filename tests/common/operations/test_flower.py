import socket
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.errors import ConfigError
from silogan.common.operations import flower
from silogan.common.operations.flower import FlowerError


@given(st.text(st.characters(codec="utf-8")))
def test_toml_strings_come_back(text: str) -> None:
    assert tomllib.loads(f"value = {flower.toml_string(text)}") == {"value": text}


def test_nothing_is_sent_or_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    env = flower.environment(tmp_path, OWN="x")
    wanted = {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_HOME": str(tmp_path),
        "OWN": "x",
    }
    assert wanted.items() <= env.items()


def test_connection_is_what_flower_reads(tmp_path: Path) -> None:
    flower.write_connection(tmp_path / "home", "coordinator", "127.0.0.1:9")
    link = tomllib.loads((tmp_path / "home" / "config.toml").read_text())["superlink"]
    assert link == {"default": "coordinator", "coordinator": {"address": "127.0.0.1:9", "insecure": True}}


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FlowerError, match="'flower-superlink' is not on the PATH"):
        flower.program("flower-superlink", {"PATH": str(tmp_path)})


@pytest.mark.parametrize(("said", "works"), [('{"success": true, "run-id": "7"}', True), ("[]", False), ("oh", False)])
def test_an_answer_is_success_or_an_error(tmp_path: Path, said: str, works: bool) -> None:
    script = tmp_path / "flwr"
    script.write_text(f"#!/bin/sh\necho '{said}'\n")
    script.chmod(0o755)
    with (tmp_path / "log").open("wb") as log:
        if works:
            assert flower.ask({"PATH": str(tmp_path)}, tmp_path, log, "run")["run-id"] == "7"
        else:
            with pytest.raises(FlowerError, match="'flwr run' failed"):
                flower.ask({"PATH": str(tmp_path)}, tmp_path, log, "run")


def test_a_port_that_somebody_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower, "_ENDING_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"metrics_port {port} on 127\.0\.0\.1: cannot be used \(Address already"
        ):
            flower.check_free("127.0.0.1", port, "metrics_port")
    flower.check_free("127.0.0.1", port, "metrics_port")


def test_another_machine_s_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower, "_ENDING_SECONDS", 0.3)
    with pytest.raises(ConfigError, match=r"port 9443 on 192\.0\.2\.1: cannot be used"):
        flower.check_free("192.0.2.1", 9443, "port")
