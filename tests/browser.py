"""A real headless Chromium, where there is one."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


def chromium() -> str:
    """Its path; the test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: install the package chromium to run the tests in a browser")
    return found


def seen(address: str, profile: Path, milliseconds: int = 5000) -> str:
    """What the page is after its scripts have run for so long: its HTML."""
    options = [f"--user-data-dir={profile}", f"--virtual-time-budget={milliseconds}", "--dump-dom"]
    done = subprocess.run(
        [chromium(), *_OPTIONS, *options, address], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def cut_off(page: str, folder: Path, width: int = 400) -> list[str]:
    """What of a page reaches beyond a window of that many pixels, or beyond its own box: tags and classes."""
    # The page runs no script, so a frame around it measures.
    measure = """onload = () => {
      const within = document.querySelector("iframe").contentDocument;
      const found = [within.documentElement, ...within.querySelectorAll(".scroll, pre, .cards li, .box, td, th")];
      const cut = found.filter(one => one.scrollWidth > one.clientWidth + 1 && one.clientWidth);
      document.title = "cut: " + cut.map(one => one.tagName + " " + one.className + " " + one.innerText).join("; ");
    };"""
    frame = folder / "frame.html"
    frame.write_text(
        f'<meta charset="utf-8"><iframe width="{width}" height="2000" srcdoc="{html.escape(page)}"></iframe>'
        f"<script>{measure}</script>",
        encoding="utf-8",
    )
    (title,) = re.findall("<title>cut: (.*?)</title>", seen(frame.as_uri(), folder / "profile"), re.DOTALL)
    return [one for one in title.split("; ") if one]
