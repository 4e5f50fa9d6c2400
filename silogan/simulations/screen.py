"""What somebody sees while work lasts: a terminal, a notebook, or nothing. Imports nothing slow."""

import importlib
import io
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner

LOOK_SECONDS = 0.25
"""Between two pictures."""

_WIDTH = 110  # of a notebook's, in characters
_AS_TEXT = '<pre style="line-height: 1.3; font-family: Menlo, Consolas, monospace">{code}</pre>'

Picture = Callable[[], RenderableType]


def watched(console: Console) -> bool:
    """Whether anybody would see it: a terminal or a notebook."""
    return not console.quiet and (console.is_terminal or console.is_jupyter)


@contextmanager
def shown(console: Console, picture: Picture, *, transient: bool = False) -> Generator[None]:
    """Shows a picture that changes, within the context; nothing where nobody watches.

    Args:
        console: where.
        picture: makes it, in any thread.
        transient: whether it goes away at the end.
    """
    if not watched(console):
        yield
        return
    with _in_notebook(picture, transient) if console.is_jupyter else _on_terminal(console, picture, transient):
        yield


@contextmanager
def waiting(console: Console, text: str) -> Generator[None]:
    """Shows a text, and for how long, within the context."""
    start, spinner = time.monotonic(), Spinner("dots")

    def picture() -> RenderableType:
        spinner.update(text=f"{text}  {clock(time.monotonic() - start)}")
        return spinner

    with shown(console, picture, transient=True):
        yield


def clock(seconds: float) -> str:
    """As hours, minutes and seconds, such as 0:07 or 1:02:03."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def _on_terminal(console: Console, picture: Picture, transient: bool) -> Generator[None]:
    """What is printed meanwhile stands above it."""
    with Live(get_renderable=picture, console=console, refresh_per_second=1 / LOOK_SECONDS, transient=transient):
        yield


@contextmanager
def _in_notebook(picture: Picture, transient: bool) -> Generator[None]:
    """By IPython alone: rich's own way needs ipywidgets, and warns where they are not installed."""
    ipython: Any = importlib.import_module("IPython.display")
    handle, done = ipython.display(ipython.HTML(""), display_id=True), threading.Event()

    def show() -> None:
        ended = False
        while not ended:
            ended = done.wait(LOOK_SECONDS)
            handle.update(ipython.HTML("" if ended and transient else _html(picture())))

    shower = threading.Thread(target=show, daemon=True)
    shower.start()
    try:
        yield
    finally:
        done.set()
        shower.join()


def _html(picture: RenderableType) -> str:
    page = Console(file=io.StringIO(), record=True, width=_WIDTH, force_terminal=True, force_jupyter=False)
    page.print(picture)
    return page.export_html(code_format=_AS_TEXT, inline_styles=True)
