"""A simulation in a browser: followed from its folder, and never harmed by its view."""

import json
import re
import threading
import time
import urllib.request
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from silogan.common.progress import begin, listening
from silogan.common.wire.study import Study
from silogan.simulations import web_view
from silogan.simulations.live import View
from silogan.simulations.times import Clock
from silogan.simulations.web_view import WebView, in_browser
from tests.simulations.test_live import study


@pytest.fixture
def followed(tmp_path: Path) -> tuple[WebView, View, Study]:
    web, view, one = WebView(), View(Console(quiet=True)), study()
    view.expect(["preparing", "rounds"], Clock(None, 0.0), 2)
    web.follow(tmp_path, view)
    return web, view, one


def test_a_run_that_is_not_written_yet_is_waited_for(followed: tuple[WebView, View, Study]) -> None:
    state = followed[0].state()
    assert state["terms"] == "the run is being prepared"
    assert [phase["state"] for phase in state["phases"]] == ["waiting", "waiting"]


def test_phases_are_named_with_their_share(followed: tuple[WebView, View, Study], tmp_path: Path) -> None:
    web, view, one = followed
    one.save(tmp_path)
    with listening(view.tell):
        begin("preparing")
        begin("rounds", "round", done=1, of=4)
    state = web.state()
    assert [phase["state"] for phase in state["phases"]] == ["done", "running"]
    assert 0 < state["phases"][1]["share"] < 1
    assert [site["name"] for site in state["sites"]] == ["site-1", "site-2"]
    assert json.loads(json.dumps(state, allow_nan=False)) == state


def test_the_address_is_printed_and_the_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_view, "POLL_SECONDS", 0.2)
    said, states = StringIO(), list[dict[str, Any]]()

    def poll(address: str) -> None:
        while not states or not states[-1]["ended"]:
            with urllib.request.urlopen(f"{address}state.json", timeout=5) as answer:  # noqa: S310  (our own)
                states.append(json.load(answer))
            time.sleep(0.02)

    study().save(tmp_path)
    with in_browser(Console(file=said, width=200)) as web:
        web.follow(tmp_path, View(Console(quiet=True)))
        (address,) = re.findall(r"see (http://127\.0\.0\.1:\d+/\S+/)", said.getvalue())
        browser = threading.Thread(target=poll, args=(address,), daemon=True)
        browser.start()
        while len(states) < 3:
            time.sleep(0.02)
    browser.join(5)
    assert not browser.is_alive()
    assert [states[0]["ended"], states[-1]["ended"]] == [False, True]


def test_without_a_port_there_is_one_warning_and_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Any) -> Any:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(web_view, "served", refused)
    said, done = StringIO(), False
    with in_browser(Console(file=said, width=200)):
        done = True
    assert done
    assert said.getvalue() == "no live view: Address already in use\n"
