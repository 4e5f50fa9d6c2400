"""Hooks of mkdocs: the papers at the top of the repository become pages, and links work on the site as in a clone."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAPERS = {"index.md": "README.md", **{name: name for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")}}
_DOWN = re.compile(r"\]\(docs/")
_UP = re.compile(rf"\]\(\.\./({'|'.join(map(re.escape, PAPERS.values()))})")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the papers, as if they lay in docs/."""
    for page, paper in PAPERS.items():
        text = (ROOT / paper).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_DOWN.sub("](", text)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Points links to the papers at their pages."""
    return _UP.sub(r"](\1", markdown)
