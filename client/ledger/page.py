"""The audit as a page that a data protection officer can read, print and file: one HTML file that fetches nothing."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from client.ledger.audit import THE_LEDGER, Audit
from client.ledger.page_cohort import cohort_section, in_utc
from common.errors import UsageError
from common.files import write_bytes_atomically
from common.pages.guarantee import bar, box, reading
from common.pages.markup import Html, join, table, tag
from common.pages.page import banner, document
from common.pages.words import NOTHING, count, downward, moment, small
from common.privacy.plan import SEEDED
from common.privacy.strength import SCALE

_OPENING = b"<!doctype html>"


def write_page(audits: Sequence[Audit], path: Path, at: datetime) -> None:
    """Writes the page of `render_page` to `path`; a reader sees the old page or the whole new one.

    Raises:
        UsageError: the file cannot be written, or is something else than a page: a ledger must not be lost to a slip.
    """
    try:
        if path.exists() and not path.read_bytes().startswith(_OPENING):
            raise UsageError(f"'{path}'", "exists and is no page", "name a new file")
        write_bytes_atomically(path, render_page(audits, at).encode())
    except OSError as error:
        problem = f"cannot be written ({error.strerror or 'no reason given'})"
        raise UsageError(f"'{path}'", problem, "name a file in a folder that exists") from None


def render_page(audits: Sequence[Audit], at: datetime) -> str:
    """The page.

    Args:
        audits: what was found, one for each ledger.
        at: when, with its time zone.

    Returns:
        A self-contained HTML document. What the ledgers say is escaped.
    """
    main = tag(
        "main",
        _verdict_section(audits),
        _summary_section(audits) if len(audits) > 1 else "",
        *[cohort_section(found, _anchor(index)) for index, found in enumerate(audits)],
        _scope_section(),
    )
    foot = "Written by silogan audit. The same facts for machines: silogan audit --json."
    footer = tag("footer", tag("p", foot), class_="meta")
    return document("SiloGAN privacy audit", _header(audits, at), main, footer)


def _header(audits: Sequence[Audit], at: datetime) -> Html:
    findings = sum(len(found.findings) for found in audits)
    if not findings:
        verdict = banner("good", "Everything holds", "no entry of a ledger contradicts another, or what others know.")
    else:
        problem = "1 thing does not hold" if findings == 1 else f"{findings:,} things do not hold"
        verdict = banner("bad", problem, "ask the hospital, and restore the newest copy of its ledger.")
    entries = sum(found.statement.entries for found in audits if found.statement)
    story = (
        f"{count(len(audits), 'privacy ledger')} examined; entries read: {entries:,}. A ledger is "
        "a hospital's signed book of what training has cost the privacy of its patients."
    )
    seeded = any(run.seeded for found in audits if found.statement for run in found.statement.runs)
    return tag(
        "header",
        tag("p", "SiloGAN privacy audit", class_="kicker"),
        tag("h1", "What was spent of the patients' privacy"),
        tag("p", story, class_="lede"),
        tag("p", f"Audited on {moment(in_utc(at.isoformat()))}", class_="meta"),
        verdict,
        banner("care", SEEDED, "some rounds drew their noise from a fixed seed, as simulations may.") if seeded else "",
    )


def _verdict_section(audits: Sequence[Audit]) -> Html:
    rows = [
        (_link(found, index), _place(finding.entry), tag("strong", finding.problem, class_="bad"))
        for index, found in enumerate(audits)
        for finding in found.findings
    ]
    listed = table("What does not hold", ("Ledger", "Where", "Problem"), rows) if rows else ""
    return tag(
        "section",
        tag("h2", "Does everything hold?"),
        listed or tag("p", "Yes. Nothing was found."),
        tag("p", "This is examined, as far as a ledger can be read:"),
        tag("ul", *[tag("li", point) for point in EXAMINED]),
    )


def _place(entry: int) -> str:
    return "the ledger" if entry == THE_LEDGER else f"entry {entry:,}"


def _summary_section(audits: Sequence[Audit]) -> Html:
    """One row for each ledger, and a link to its section."""
    head = ("Ledger", "Holds?", "Unit", "δ", "ε charged, of its budget", "Left", "Reading")
    rows = [_summary_row(found, index) for index, found in enumerate(audits)]
    terms = {(found.unit, found.delta) for found in audits if found.statement}
    warning = tag("p", "Values of ε with different δ or unit are not comparable.") if len(terms) > 1 else ""
    listed = table("Every ledger; ε is by PRV, the figure that counts", head, rows, "figures")
    return tag("section", tag("h2", "All ledgers at a glance"), warning, listed)


def _summary_row(found: Audit, index: int) -> Iterator[str]:
    yield _link(found, index)
    yield _holds(found)
    statement = found.statement
    if statement is None:
        yield from [NOTHING] * 5
        return
    yield statement.unit
    yield small(statement.delta)
    yield bar(statement.epsilon_charged, statement.epsilon_budget)
    yield downward(statement.epsilon_left)
    yield reading(statement.epsilon_charged, short=True)


def _holds(found: Audit) -> Html:
    if found.findings:
        return tag("span", count(len(found.findings), "finding"), class_="pill bad")
    return tag("span", "holds", class_="pill good") if found.statement else tag("span", "no ledger", class_="pill care")


def _link(found: Audit, index: int) -> Html:
    return tag("a", found.name, href=f"#{_anchor(index)}")


def _anchor(index: int) -> str:
    """Names may repeat, so sections go by number."""
    return f"ledger-{index + 1}"


def _scope_section() -> Html:
    boxes = join([
        box("Outside the guarantee", OUTSIDE, "no"),
        box("What a ledger alone cannot show", UNSEEN, "no"),
        box("Whom you have to trust", TRUST),
        box("How to read ε", READING),
    ])  # fmt: skip
    return tag("section", tag("h2", "What is outside the guarantee"), tag("div", boxes, class_="sides"))


EXAMINED = (
    "Every entry is what was written: its hash, its place after the one before, and the site's signature.",
    "Every charge was reserved for a plan that the hospital had approved, within its policy and budget of that day.",
    "Every release was reserved for once, and settled at most once, with no more steps than were reserved.",
    "ε was counted again from the entries, by three accountants, and they agree within their stated errors.",
    "The last entry that a server saw is there, and the key is the site's, where a run's folder says what they are.",
)

OUTSIDE = (
    "Figures computed on real test data, such as the accuracy and the likeness in a run's report: they have no noise. "
    "They are for the researcher; do not publish them for a hospital's private data.",
    "What a hospital declares publicly: its name, that it takes part, and the size of its cohort, rounded down.",
    "Timing: when a hospital answered and how long it took.",
    "Values without noise that are computed from patients' data in training: none leaves, so there are none to list.",
)

UNSEEN = (
    "A ledger whose end was cut off is a shorter ledger that holds. It shows only beside a head, the hash of the last "
    "entry, that a server saw: audit the run's folder, or compare with the coordinator's heads.",
    "A ledger that was written anew with another key shows only beside the site's public key, known from elsewhere.",
    "Each ledger speaks for one hospital. For a person treated at several of them, their ε and δ add up.",
    "An audit examines the book, not the machine: training that was kept from the ledger would not be in it.",
)

TRUST = (
    "Nothing without noise leaves a hospital: it clips, and adds its own, full noise first. The server, the network "
    "and the other hospitals see weights after noise, and need not be trusted with others.",
    "What has to be trusted is the hospital's own machine, this software on it, and whoever holds the site's key.",
)

READING = (
    SCALE,
    "ε is an upper limit that is proved, not an estimate of what an attack would achieve; smaller is more private.",
    "It is counted over all runs, servers and years that the ledger holds. What was reserved counts until it is "
    "settled.",
)
