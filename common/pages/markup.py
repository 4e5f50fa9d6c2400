"""HTML that is escaped unless it says otherwise.

`tag` escapes every plain string it is given, in text and in attributes; only what `tag` itself made (`Html`) passes
through as it is. Titles and site names come from other people's files, so no section joins strings by hand.
"""

from collections.abc import Iterable
from html import escape

VOID = frozenset({"meta", "img", "br", "hr"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: str) -> Html:
    """`value` as markup: escaped, unless it is markup already."""
    return value if isinstance(value, Html) else Html(escape(value, quote=True))


def join(parts: Iterable[str], between: str = "") -> Html:
    """The parts one after another, each escaped unless it is markup."""
    return Html(text(between).join(text(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Html:
    """One element.

    Args:
        name: of the element, such as "td".
        children: its content; plain strings are escaped.
        attributes: `class_="note"` is class="note", `aria_label` is aria-label; None leaves the attribute out.
    """
    inside = join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in VOID:
        return Html(f"<{name}{inside}>")
    return Html(f"<{name}{inside}>{join(children)}</{name}>")


def _attribute(key: str, value: str | float) -> Html:
    return Html(f' {key.rstrip("_").replace("_", "-")}="{escape(str(value), quote=True)}"')


def table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]], class_: str = "") -> Html:
    """A table that scrolls sideways on a narrow screen; the first cell of each row is its heading.

    Args:
        caption: read out before the table, and shown above it.
        head: column headings.
        rows: cells, in the order of `head`.
        class_: CSS class of the table.
    """
    headings = [tag("th", cell, scope="col") for cell in head]
    body: list[Html] = []
    for row in rows:
        first, *rest = row
        body.append(tag("tr", tag("th", first, scope="row"), *[tag("td", cell) for cell in rest]))
    content = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *headings)),
        tag("tbody", *body),
        class_=class_ or None,
    )
    # Focusable, so that a keyboard can scroll it.
    return tag("div", content, class_="scroll", role="region", aria_label=caption, tabindex="0")


def details(summary: str, *content: str) -> Html:
    """A part that opens on demand, and is always open on paper."""
    return tag("details", tag("summary", summary), *content)
