import sys
import types
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from silogan.simulations import screen
from silogan.simulations.screen import clock, shown, waiting, watched


class Notebook:
    """What IPython's display would get."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def display(self, page: str, *, display_id: bool) -> "Notebook":
        assert display_id
        self.pages.append(page)
        return self

    def update(self, page: str) -> None:
        self.pages.append(page)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    found = Notebook()
    module: Any = types.ModuleType("IPython.display")
    module.display, module.HTML = found.display, str
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(screen, "LOOK_SECONDS", 0.01)
    return found


def test_a_notebook_shows_one_picture_that_changes(notebook: Notebook) -> None:
    console = Console(force_jupyter=True)
    assert watched(console)
    pictures = iter(Text(f"<{number}>") for number in range(10_000))
    with shown(console, lambda: next(pictures)):
        pass
    assert notebook.pages[0] == ""
    assert "&lt;0&gt;" in notebook.pages[1]


def test_a_notebook_forgets_what_was_waited_for(notebook: Notebook) -> None:
    with waiting(Console(force_jupyter=True), "starting"):
        pass
    assert notebook.pages[-1] == ""


def test_a_terminal_says_for_how_long_it_waits() -> None:
    file = StringIO()
    with waiting(Console(file=file, force_terminal=True, color_system=None), "starting"):
        pass
    assert "starting  0:00" in file.getvalue()


@pytest.mark.parametrize(
    "console", [Console(file=StringIO()), Console(file=StringIO(), force_terminal=True, quiet=True)]
)
def test_nothing_is_shown_where_nobody_watches(console: Console) -> None:
    assert not watched(console)
    with shown(console, lambda: pytest.fail("a picture was asked for")):
        pass


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754.0, "12:34"), (3723.0, "1:02:03")])
def test_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
