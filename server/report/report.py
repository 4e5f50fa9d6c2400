"""The report of a run: one page that a clinician and a data protection officer can read without help.

The page is a single file. It fetches nothing, runs no script, and can be mailed, printed and archived.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from common.files import write_bytes_atomically
from common.pages.guarantee import reading
from common.pages.markup import Html, join, table, tag
from common.pages.page import banner, card, document
from common.pages.words import NOTHING, count, duration, equals, memory, moment, number, percent, small, upward
from common.privacy.plan import NO_PRIVACY, SEEDED
from server.report import privacy
from server.report.curves import curves_section
from server.report.settings import origin, settings_section

Report = Mapping[str, Any]
Event = Mapping[str, Any]

NO_REASON = "no reason was recorded"


def write_html(path: Path, report: Report, events: Sequence[Event], grid_png: bytes | None) -> None:
    """Writes the page of `render_html` to `path`; a reader sees the old page or the whole new one.

    Raises:
        OSError: the file cannot be written.
    """
    write_bytes_atomically(path, render_html(report, events, grid_png).encode())


def render_html(report: Report, events: Sequence[Event], grid_png: bytes | None) -> str:
    """The report page.

    Args:
        report: the content of `report.json`.
        events: the lines of `events.jsonl`; those that are not about a round are passed over.
        grid_png: contact sheet of the released generator, or None if there is none.

    Returns:
        A self-contained HTML document.
    """
    rounds = [event for event in events if event.get("event") == "round"]
    title = report["title"] or report["name"]
    main = tag(
        "main",
        _pictures(report, grid_png),
        _key_figures(report),
        privacy.sites_section(report),
        curves_section(report, rounds),
        privacy.scope_section(report),
        settings_section(report),
    )
    footer = tag("footer", origin(report), class_="meta")
    return document(f"{title} · SiloGAN report", _header(report, title), main, footer)


def _header(report: Report, title: str) -> Html:
    done, planned = report["rounds"], report["rounds_planned"]
    who = count(len(report["sites"]), "simulated hospital" if report["engine"] in privacy.SIMULATED else "hospital")
    story = f"{who} trained one generator of synthetic {report['records']['described']} in {count(done, 'round')}. "
    return tag(
        "header",
        tag("p", "SiloGAN run report", class_="kicker"),
        tag("h1", title),
        tag("p", story, privacy.in_one_sentence(report), class_="lede"),
        tag("p", f"{moment(report['created'])} · run “{report['name']}”", class_="meta"),
        *_banners(report),
        banner("care", f"Stopped after {done} of {planned} rounds", report["stopped"]) if report["stopped"] else "",
    )


def _banners(report: Report) -> Iterable[Html]:
    if not report["private"]:
        yield banner(
            "bad", NO_PRIVACY, "trained without differential privacy, for comparison only. Do not share any of it."
        )
    if report["seeded"]:
        yield banner("care", SEEDED, "a fixed seed makes a simulation repeatable, and its noise predictable.")


def _pictures(report: Report, grid_png: bytes | None) -> Html:
    heading = tag("h2", "What the generator draws")
    if grid_png is None:
        return tag("section", heading, tag("p", "Nothing was drawn in this run."))
    classes: list[str] = report["classes"]
    what = f"one column for each of {len(classes)} classes: {', '.join(classes)}" if classes else "without classes"
    width, height = Image.open(BytesIO(grid_png)).size
    image = tag(
        "img",
        src=f"data:image/png;base64,{b64encode(grid_png).decode()}",
        alt=f"Synthetic sample {report['records']['noun']}, {what}.",
        width=width,
        height=height,
        style=f"min-width:{width // 2}px",  # a sheet of many classes scrolls on a phone, rather than shrink to dots
    )
    caption = tag("figcaption", tag("strong", "Synthetic, not patients."), _marks(report))
    return tag("section", heading, tag("figure", tag("div", image, class_="sheet"), caption))


def _marks(report: Report) -> str:
    private, seeded = (
        "" if report["private"] else f" {NO_PRIVACY}.",
        f" {SEEDED.capitalize()}." if report["seeded"] else "",
    )
    return private + seeded


def _key_figures(report: Report) -> Html:
    seconds = report["seconds"]
    parts = f"training {duration(seconds['training'])}, evaluation {duration(seconds['evaluation'])}"
    cards = [
        _use_card(report),
        *_epsilon_cards(report),
        card("Time", duration(seconds["total"]), parts),
        card("Peak memory", memory(report["peak_memory_bytes"]), report["hardware"]),
    ]
    return tag("section", tag("h2", "Key figures"), tag("ul", *cards, class_="cards"), _quality(report))


def _use_card(report: Report) -> Html:
    name = "Accuracy on real test records"
    synthetic, real = report["utility"].get("accuracy_synthetic"), report["utility"].get("accuracy_real")
    if synthetic is None:
        return card(name, "not measured", report["utility_reason"] or NO_REASON)
    ceiling = "" if real is None else f"; {percent(real)} when trained on real ones, the most to hope for"
    label = tag("span", "on real data: not covered", class_="pill care") if report["private"] else ""
    return card(name, percent(synthetic), f"of a classifier trained on synthetic records{ceiling}", label)


def _epsilon_cards(report: Report) -> Iterable[Html]:
    if not report["private"]:
        yield card("Privacy loss ε", "unlimited", "no noise, no clipping", tag("span", NO_PRIVACY, class_="pill bad"))
        return
    found = privacy.groups(report)
    if len(found) > privacy.FEW_GROUPS:
        yield card("Privacy loss ε", "differs", "by hospital, each with its own δ or unit: see the table below")
        return
    for (unit, delta), sites in found.items():
        ends = privacy.spent(sites)
        where = f"{count(len(sites), 'hospital')}, {unit} level, {equals('δ', small(delta))}"
        value = privacy.between(*map(upward, ends)) if ends else NOTHING
        yield card("Privacy loss ε", value, where, reading(ends[1]) if ends else "")


UTILITY = (
    ("accuracy", "Accuracy", "share of real test records named correctly"),
    ("balanced_accuracy", "Balanced accuracy", "the same, each class counting equally"),
    ("auroc", "AUROC", "how well the classes are told apart: 0.5 is chance, 1 perfect"),
)
FIDELITY = (
    ("precision", "Precision", "share of synthetic records that lie among the real ones; 1 is best"),
    ("recall", "Recall", "share of real records that lie among the synthetic ones; 1 is best"),
    ("density", "Density", "how densely real records surround the synthetic ones; about 1 is best"),
    ("coverage", "Coverage", "share of real records with a synthetic one close by; 1 is best"),
    ("frechet_distance", "Fréchet distance", "distance of the two distributions; lower is better, 0 is best"),
)


def _quality(report: Report) -> Html:
    """Utility beside its ceiling, and fidelity, each measure with what it means; or why they are missing."""
    utility, fidelity = report["utility"], report["fidelity"]
    parts: list[Html] = [tag("h3", "How good they are")]
    rows = [
        (_measure(name, meaning), number(utility.get(f"{key}_synthetic")), number(utility.get(f"{key}_real")))
        for key, name, meaning in UTILITY
        if utility.get(f"{key}_synthetic") is not None
    ]
    if rows:
        head = ("Measure", "Trained on synthetic", "Trained on real")
        parts.append(
            table("Use: a classifier tested on real records. Trained on real is the most to hope for.", head, rows)
        )
    else:
        parts.append(tag("p", f"Use was not measured: {report['utility_reason'] or NO_REASON}."))
    if fidelity:
        measures = [(_measure(name, meaning), number(fidelity.get(key))) for key, name, meaning in FIDELITY]
        basis = (
            f"Likeness: {fidelity['samples']:,} synthetic records against real ones, features: {fidelity['features']}"
        )
        parts.append(table(basis, ("Measure", "Value"), measures))
    else:
        parts.append(tag("p", f"Likeness was not measured: {report['fidelity_reason'] or NO_REASON}."))
    return join(parts)


def _measure(name: str, meaning: str) -> Html:
    return join([name, tag("span", meaning, class_="soft")])
