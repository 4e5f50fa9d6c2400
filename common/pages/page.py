"""The frame of every page, and the parts that pages share: a page is one file, fetches nothing and runs no script."""

from common.pages.markup import Html, tag
from common.pages.style import STYLE

# Held to by the browser: whatever the page contains, it loads nothing and runs nothing.
NO_FETCHING = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, *body: str) -> str:
    """The whole page, from its title in the browser and the content of its body."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=NO_FETCHING),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', *body), lang='en')}\n"


def banner(kind: str, what: str, why: str) -> Html:
    """A line that must be seen; `kind` is "good", "care" or "bad"."""
    return tag("div", tag("p", tag("strong", what), f": {why}"), class_=f"banner {kind}", role="note")


def card(what: str, value: str, note: str, label: str = "") -> Html:
    """One figure of a list of class "cards"."""
    return tag(
        "li",
        tag("span", what, class_="what"),
        tag("span", value, class_="value"),
        tag("span", note, class_="note"),
        label,
    )
