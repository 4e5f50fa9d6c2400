"""The script that records pictures of the pages (`docs/img/pages.py`)."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from silogan.server.operations.live_page import render_live_page

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "img" / "pages.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_scheme_does_not_depend_on_the_browser(script: ModuleType) -> None:
    html = render_live_page()
    assert "prefers-color-scheme" not in script.in_scheme(html, "dark")
    assert "@media not all" in script.in_scheme(html, "light")


def test_what_was_served_stands_still_in_a_file(script: ModuleType) -> None:
    html = render_live_page().replace('id="sheet"', 'id="sheet" src="sheet.png?3"')
    still = script.as_a_file(html, b"png")
    assert "<script" not in still
    assert "Content-Security-Policy" not in still
    assert 'src="data:image/png;base64,cG5n"' in still


def test_what_is_empty_below_a_page_is_cut_off(script: ModuleType) -> None:
    picture = Image.new("RGB", (500, 900), "white")
    picture.paste("black", (10, 10, 300, 200))
    assert script.shortened(picture, 400).size == (400, 224)
