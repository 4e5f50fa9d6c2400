"""Pictures of every page: light and dark, 1,280 and 400 pixels wide, and the printed PDF. Needs Chromium.

From the root of the repository:

    python docs/img/pages.py digits=runs/digits xray=runs/xray

`digits` is a folder of several seeds (`silogan simulate digits --seeds 0,1,2`), `xray` a run. All pictures are
written to docs/img/all, which git ignores; the first screens of those in `KEPT` also to docs/img, with few colours.
"""

import base64
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from silogan.common.operations.local_page import served
from silogan.server.operations.live_page import live_contents
from silogan.server.operations.run_state import run_state, sheet_bytes

HERE = Path(__file__).parent
ALL = HERE / "all"
WIDTHS = (1280, 400)
# Chromium draws no more than 16,384 pixels: the audit of four hospitals on a phone just misses its last lines.
LONGEST, FIRST_SCREEN = 16000, 1100
COLOURS = 64
KEPT = ("report-xray-light-1280", "report-xray-dark-400", "audit-light-1280", "summary-light-1280", "live-dark-1280")
SCHEMES = {"light": "@media not all", "dark": "@media screen"}

_QUERY = "@media screen and (prefers-color-scheme: dark)"
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def in_scheme(html: str, scheme: str) -> str:
    """The page as it looks in one scheme, whatever the browser prefers."""
    return html.replace(_QUERY, SCHEMES[scheme])


def as_a_file(html: str, sheet: bytes | None) -> str:
    """The live view as a browser has drawn it, without its script, and with its picture inside."""
    still = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    still = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", still)
    return re.sub(r"sheet\.png\?\d+", f"data:image/png;base64,{base64.b64encode(sheet or b'').decode()}", still)


def shortened(picture: Image.Image, width: int) -> Image.Image:
    """The left part of that width, without what is empty below the page."""
    cut = picture.convert("RGB").crop((0, 0, width, picture.height))
    empty: Any = cut.getpixel((2, cut.height - 2))
    box = ImageChops.difference(cut, Image.new("RGB", cut.size, empty)).getbbox()
    return cut.crop((0, 0, width, min(cut.height, (box[3] if box else cut.height) + 24)))


def browse(chromium: str, *words: str) -> str:
    """Runs the browser once, with a profile of its own."""
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *_OPTIONS, f"--user-data-dir={profile}", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def photograph(chromium: str, name: str, html: str) -> None:
    """All pictures of one page, and its PDF."""
    with tempfile.TemporaryDirectory() as folder:
        page, frame, shot = (Path(folder) / file for file in ("page.html", "frame.html", "shot.png"))
        for scheme in SCHEMES:
            page.write_text(in_scheme(html, scheme), encoding="utf-8")
            for width in WIDTHS:
                # a window may not be as narrow as a phone, but a frame may
                frame.write_text(f'<body style="margin:0"><iframe src="page.html" width={width} height={LONGEST} '
                                 'style="border:0"></iframe></body>', encoding="utf-8")  # fmt: skip
                browse(chromium, f"--screenshot={shot}", f"--window-size=1280,{LONGEST}", frame.as_uri())
                picture = shortened(Image.open(shot), width)
                picture.save(ALL / f"{name}-{scheme}-{width}.png", optimize=True)
                if f"{name}-{scheme}-{width}" in KEPT:
                    first = picture.crop((0, 0, width, min(picture.height, FIRST_SCREEN)))
                    first.quantize(COLOURS).save(HERE / f"{name}-{scheme}-{width}.png", optimize=True)
        page.write_text(html, encoding="utf-8")
        browse(chromium, f"--print-to-pdf={ALL / name}.pdf", "--no-pdf-header-footer", page.as_uri())


def pages(digits: Path, xray: Path, chromium: str) -> Iterator[tuple[str, str]]:
    """Name and HTML of every page."""
    seeds = sorted(digits.glob("seed-*"))
    yield "report-digits", (seeds[0] / "report.html").read_text(encoding="utf-8")
    yield "report-xray", (xray / "report.html").read_text(encoding="utf-8")
    yield "summary", (digits / "summary.html").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        audit = Path(folder) / "audit.html"
        command = [sys.executable, "-m", "silogan", "audit", str(seeds[0]), "--html", str(audit)]
        subprocess.run(command, capture_output=True, check=True)
        yield "audit", audit.read_text(encoding="utf-8")
    yield "live", as_a_file(_drawn(xray, chromium), sheet_bytes(xray))


def main(digits: Path, xray: Path) -> None:
    """Records everything."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium on this machine: install the package chromium")
    ALL.mkdir(exist_ok=True)
    for name, html in pages(digits, xray, chromium):
        photograph(chromium, name, html)
        print(name)  # noqa: T201


def _drawn(run: Path, chromium: str) -> str:
    state: dict[str, Any] = {**run_state(run), "left": "", "ended": True}
    with served(live_contents(lambda: state, lambda: run)) as page:
        return browse(chromium, "--virtual-time-budget=4000", "--dump-dom", page.address)


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    main(Path(given["digits"]), Path(given["xray"]))
