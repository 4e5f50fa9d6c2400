"""Only printable characters may reach a terminal, a log or a page.

A title, a site's name or a hash from somebody else could contain an escape sequence, which moves a terminal's cursor,
renames its window or sends input in the reader's place, or marks that change the direction of writing.
"""


def printable(text: str) -> str:
    r"""The text with everything unprintable escaped, as \x1b; ends of lines too."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
