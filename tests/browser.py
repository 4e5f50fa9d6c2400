"""A real headless Chromium, where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
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
