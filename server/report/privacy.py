"""What the report says of privacy: exact about the guarantee, and as plain about what it does not cover."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.pages.guarantee import against_an_attacker, bar, box, largest_success, reading
from common.pages.markup import Html, details, join, table, tag
from common.pages.words import NOTHING, count, equals, number, small, upward
from common.privacy.strength import SCALE

Report = Mapping[str, Any]
Site = Mapping[str, Any]

SIMULATED = ("inprocess", "ray")
SITES_AT_A_GLANCE = 20
FEW_GROUPS = 3
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"


def groups(report: Report) -> dict[tuple[str, float], list[Site]]:
    """The sites by unit and delta: the values of epsilon within one group, and only those, can be compared."""
    found: dict[tuple[str, float], list[Site]] = {}
    for site in report["sites"]:
        found.setdefault((site["unit"], site["delta"]), []).append(site)
    return found


def spent(sites: Sequence[Site]) -> tuple[float, float] | None:
    """Smallest and largest epsilon of the sites, or None if none has one."""
    values = [site["epsilon"] for site in sites if site["epsilon"] is not None]
    return (min(values), max(values)) if values else None


def in_one_sentence(report: Report) -> Html:
    """The guarantee, exactly, for the top of the page."""
    if not report["private"]:
        return Html(
            "It was trained <strong>without differential privacy</strong>: nothing limits what it tells of a patient."
        )
    ranges = [(unit, delta, spent(sites)) for (unit, delta), sites in groups(report).items()]
    if len(ranges) == 1 and ranges[0][2]:
        unit, delta, (_, most) = ranges[0][0], ranges[0][1], ranges[0][2]
        what = "any one patient's records" if unit == "patient" else "any one record"
        return join([
            f"At each hospital by itself, adding or removing {what} makes no result more than ",
            tag("strong", tag("var", "e"), tag("sup", upward(most)), " times as likely, plus ", small(delta)),
            f" (differential privacy with {equals('ε', upward(most))}, {equals('δ', small(delta))}).",
        ])  # fmt: skip
    if len(ranges) > FEW_GROUPS or not all(ends for _, _, ends in ranges):
        return Html("Each trained under differential privacy of its own; the guarantees differ and are listed below.")
    limits = [
        f"{equals('ε', upward(ends[1]))} with {equals('δ', small(delta))} for any one {unit}"
        for unit, delta, ends in ranges
        if ends
    ]
    return join(
        [f"Each trained under differential privacy of its own, at most {' or '.join(limits)} added or removed."]
    )


def sites_section(report: Report) -> Html:
    """What each hospital spent; a summary comes first if they are many or differ."""
    sites: list[Site] = list(report["sites"])
    heading = tag("h2", "Privacy at each hospital")
    if not report["private"]:
        intro = tag("p", "No privacy was spent because none was given: ε is unlimited at every site.")
        rows = [(site["name"], f"{site['steps']:,}", site["unit"]) for site in sites]
        return tag(
            "section", heading, intro, _folded(table("Trained without noise", ("Site", "Steps", "Unit"), rows), sites)
        )
    intro = tag(
        "p",
        "ε is what this run cost each hospital's patients, rounded up; smaller is more private. Other runs on the same "
        "patients add to it: each hospital's ledger keeps the total.",
    )
    kinds = len(groups(report))
    warning = tag("p", "Values of ε with different δ or unit are not comparable.") if kinds > 1 else ""
    summary = _summary(report) if len(sites) > SITES_AT_A_GLANCE >= kinds or 1 < kinds <= FEW_GROUPS else ""
    every = table("Privacy spent by each hospital in this run", SITE_HEAD, map(_row, sites), "figures")
    return tag("section", heading, intro, warning, summary, _folded(every, sites))


SITE_HEAD = (
    "Site",
    "ε spent of its budget",
    "δ",
    f"Noise {SIGMA}",
    "Sampling rate q",
    "Steps",
    "Clip C",
    "Unit",
    "Declared size",
)


def _row(site: Site) -> tuple[str, ...]:
    declared = site.get("declared_size")
    return (
        site["name"],
        bar(site["epsilon"], site["epsilon_budget"]),
        small(site["delta"]),
        number(site["noise_multiplier"], 4),
        number(site["sample_rate"]),
        f"{site['steps']:,}",
        number(site["clip_norm"]),
        site["unit"],
        NOTHING if declared is None else f"{declared:,}",
    )


def _folded(listed: Html, sites: Sequence[Site]) -> Html:
    """The list of sites, behind a line to open if they are many."""
    return listed if len(sites) <= SITES_AT_A_GLANCE else details(f"All {len(sites)} hospitals", listed)


def _summary(report: Report) -> Html:
    """One row for each unit and delta."""
    rows: list[tuple[str, ...]] = []
    for (unit, delta), sites in groups(report).items():
        epsilons = spent(sites)
        rows.append((
            count(len(sites), "hospital"),
            unit,
            small(delta),
            between(*(upward(value) for value in epsilons)) if epsilons else NOTHING,
            reading(epsilons[1]) if epsilons else NOTHING,
            between(*(number(value, 4) for value in _ends(sites, "noise_multiplier"))),
            between(*(number(value) for value in _ends(sites, "sample_rate"))),
            between(*(f"{value:,}" for value in _ends(sites, "steps"))),
        ))  # fmt: skip
    head = ("Hospitals", "Unit", "δ", "ε spent", "Reading", f"Noise {SIGMA}", "Sampling rate q", "Steps")
    return table("Privacy spent, by unit and δ", head, rows, "figures")


def _ends(sites: Sequence[Site], key: str) -> tuple[Any, Any]:
    values = [site[key] for site in sites]
    return min(values), max(values)


def between(low: str, high: str) -> str:
    """A range, or the one value if both ends read the same."""
    return low if low == high else f"{low} to {high}"


def scope_section(report: Report) -> Html:
    """What is private and what is not, whom one has to trust, and how to read epsilon."""
    heading = tag("h2", "What is private and what is not")
    if not report["private"]:
        return tag(
            "section", heading, tag("div", box("Nothing on this page is private", NON_PRIVATE, "no"), class_="sides")
        )
    boxes = [box("Covered by the guarantee", COVERED, "yes"), box("Not covered", NOT_COVERED, "no")]
    boxes += [box("Whom you have to trust", _trust(report)), box("How to read ε", _how_to_read(report))]
    return tag("section", heading, tag("div", *boxes, class_="sides"))


NON_PRIVATE = (
    "The generator saw the discriminator's gradients without noise or clipping: its pictures may repeat a patient's.",
    "It serves as a comparison in simulation only. Neither weights nor pictures may leave the place where the data is.",
    Html("<code>silogan generate</code> refuses this run, and so does a hospital's node."),
)

COVERED = (
    "The weights of generator and discriminator, of every round.",
    "Everything computed from the weights alone: the synthetic pictures, on this page and any drawn later, the "
    "discriminator's accuracy on synthetic pictures, and the size of the updates.",
    "This holds for each hospital by itself, even against everyone else working together.",
)

NOT_COVERED = (
    "The evaluation (accuracy and fidelity). It uses real data without noise and is for the researcher: do not publish "
    "it for a hospital's private data, and do not choose between runs by it as if that were free.",
    "The size of a cohort, where a hospital declared it.",
    "That a hospital took part, and in which rounds; how long things took and how much memory they needed.",
    "The settings, class names and picture format: people chose them, they are not computed from patients.",
    "What is true of patients in general. The guarantee hides whether one patient is in the data, not what medicine "
    "can learn from all of them.",
)


def _trust(report: Report) -> list[str]:
    points = [
        "Each hospital clips and adds its own, full noise before anything leaves it. The server, the network and the "
        "other hospitals never see an update without noise and need not be trusted with one.",
        "What has to be trusted is the hospital's own machine and this software on it.",
    ]
    if report["engine"] in SIMULATED:
        points.append(
            "In this run the hospitals were simulated in one place that held all the data; the guarantee is about what "
            "leaves a simulated hospital."
        )
    if report["seeded"]:
        seed = report["configuration"].get("seed")
        named = f"the seed {seed}, which is written on this page" if seed is not None else "a fixed seed"
        points.append(
            f"Sampling and noise were drawn from {named}. Whoever knows it can take the noise away: against them the "
            "run is not private."
        )
    else:
        points.append("Sampling and noise were drawn from the operating system's secure source; no seed was fixed.")
    return points


def _how_to_read(report: Report) -> list[str]:
    limits = [(delta, unit, ends[1]) for (unit, delta), sites in groups(report).items() if (ends := spent(sites))]
    weakest = sorted(limits, key=lambda limit: largest_success(limit[2], limit[0]), reverse=True)[:FEW_GROUPS]
    points = [against_an_attacker(epsilon, delta, unit) for delta, unit, epsilon in weakest]
    points.append("That is an upper limit, not an estimate of what an attack would achieve.")
    if any(site["unit"] == "record" for site in report["sites"]):
        points.append("Record level: for a patient with several records at a hospital, ε grows about in proportion.")
    points += [
        "For a person treated at several of the hospitals, their ε and δ add up.",
        f"{SCALE} Values of ε are not ranked against those with another δ or unit.",
    ]
    return points
