"""The live view of simulations in a browser: which run it shows, and what is known of its progress."""

import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from silogan.common.errors import SiloganError
from silogan.common.operations.local_page import served
from silogan.server.operations.live_page import POLL_SECONDS, live_contents
from silogan.server.operations.run_state import run_state
from silogan.simulations.screen import clock

if TYPE_CHECKING:
    from silogan.simulations.live import View


class WebView:
    """What the page of a simulation shows. It only reads, and waits for a run folder that cannot be read yet."""

    def __init__(self) -> None:
        self._run_dir: Path | None = None
        self._view: View | None = None
        self.ended = False

    @property
    def run_dir(self) -> Path | None:
        """The run that is shown."""
        return self._run_dir

    def follow(self, run_dir: Path, view: "View") -> None:
        """Shows this run from now on."""
        self._run_dir, self._view = run_dir, view

    def state(self) -> dict[str, Any]:
        """See `silogan.server.operations.live_page`."""
        progress, left = ([], None) if self._view is None else self._view.lines()
        found: dict[str, Any] = {"title": "", "terms": "the run is being prepared", "ended": self.ended}
        with suppress(SiloganError):  # not yet written
            found |= {} if self._run_dir is None else run_state(self._run_dir)
        told = "" if left is None or self.ended else f"{clock(left)} left"
        return {**found, "phases": progress or found.get("phases", []), "left": told}


@contextmanager
def in_browser(console: Console) -> Generator[WebView]:
    """Serves the page of what is followed within the context, and prints its address.

    Where it cannot be served, one warning says so, and the work goes on.
    """
    web = WebView()
    with ExitStack() as stack:
        try:
            page = stack.enter_context(served(live_contents(web.state, lambda: web.run_dir)))
            console.print(f"see {page.address}", highlight=False, soft_wrap=True)
        except OSError as error:
            page = None
            console.print(f"no live view: {error.strerror or 'no port is free'}", style="yellow", soft_wrap=True)
        try:
            yield web
        finally:
            web.ended = True
            if page is not None and page.asked:
                time.sleep(2 * POLL_SECONDS)  # in which a page that is open learns of the end
