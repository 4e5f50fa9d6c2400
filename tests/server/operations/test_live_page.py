"""The page that follows a run: it runs its own script alone, and shows what it is told as text."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from silogan.common.operations.local_page import served
from silogan.server.operations.live_page import POLICY, SCRIPT, live_contents, render_live_page
from tests.browser import seen
from tests.pages import Page

EVIL = "<img src=x onerror=alert(1)><script>document.title = 'taken'</script>"
STATE: dict[str, Any] = {
    "run": "run-1", "title": EVIL, "terms": "2 hospitals, at most ε = 10 each", "left": "0:42 left", "ended": True,
    "phases": [{"name": "statistics", "state": "running", "share": 0.25, "told": "0:07 means"}],
    "sites": [
        {"name": EVIL, "state": "answered", "spent": "5.001", "budget": "10", "share": 0.5},
        {"name": "oslo", "state": "refused", "spent": None, "budget": "10", "share": 0.0},
    ],
    "nodes": [{"name": "bergen", "state": "online"}],
    "runs": [{"name": "run-1", "state": "running", "told": "round 3 of 9"}],
    "warnings": [f"{EVIL} was refused"], "verdict": "usable: good", "sheet": None,
}  # fmt: skip


def test_the_policy_admits_exactly_the_script_of_the_page() -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", render_live_page(), re.DOTALL)
    assert script == SCRIPT
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in POLICY
    assert POLICY.startswith("default-src 'none';")
    assert "unsafe-eval" not in POLICY
    assert "script-src 'unsafe-inline'" not in POLICY


def test_the_page_names_nothing_elsewhere_and_has_landmarks() -> None:
    html = render_live_page()
    page = Page(re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL))
    assert not re.search(r"https?://|@import|url\(", html)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.tags["main"] == page.tags["header"] == page.tags["footer"] == page.tags["h1"] == 1
    assert page.tags["caption"] == page.tags["table"]
    assert html.count("<th ") == html.count('<th scope="col">')


def test_the_script_writes_text_and_never_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", SCRIPT)


def test_only_three_contents_are_served() -> None:
    assert set(live_contents(dict, lambda: None)) == {"", "state.json", "sheet.png"}


def test_a_browser_shows_the_state_as_text(tmp_path: Path) -> None:
    with served(live_contents(lambda: STATE, lambda: None)) as page:
        html = seen(page.address, tmp_path)
    text = Page(re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)).text
    for words in (EVIL, "0:42 left", "statistics running 0:07 means", "5.001 of 10", "bergen online", "usable: good"):
        assert words in text
    assert '<p class="banner good" id="verdict"' in html
    assert "<title>SiloGAN live view</title>" in html
    assert "The run has ended." in text
    assert "<img src=x" not in html
