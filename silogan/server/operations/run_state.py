"""What a run folder tells of a run that goes on, as plain values for the live view.

Read from `run.yaml`, `events.jsonl` and `report.json` alone: the run does not notice.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from silogan.common.pages.words import budget, counted, epsilon, small
from silogan.common.printable import printable
from silogan.common.privacy.plan import NO_PRIVACY, SEEDED, PrivacyPlan
from silogan.common.privacy.strength import delta_remark
from silogan.common.wire.run_folder import SAMPLES_FOLDER, sample_sheet
from silogan.common.wire.study import Study
from silogan.server.report.verdict import Verdict
from silogan.server.rounds.events import ANSWERED, FITTED, Event, read_events

LARGEST_SHEET = 32 * 2**20
"""Bytes of a contact sheet that is shown, at most."""

_PNG = b"\x89PNG\r\n\x1a\n"


def run_state(run_dir: Path) -> dict[str, Any]:
    """Where a run is.

    Returns:
        `run`, its folder's name; `title` and `terms` in words; `phases`, each with its `name`, `state` ("waiting",
        "running" or "done") and what is `told` of it; `sites`, each with its `name`, `state`, ε `spent` and `budget` in
        words and the `share` (0 to 1) that was spent; `warnings`; `verdict` in words, or None; `sheet`, the name of the
        newest contact sheet, or None.

    Raises:
        ConfigError: the folder holds no readable run.
    """
    study, events = Study.load(run_dir), read_events(run_dir)
    rounds = [event for event in events if event.get("event") == "round"]
    steps = [event for event in events if event.get("event") == "phase"]
    verdict, sheet = Verdict.in_folder(run_dir), newest_sheet(run_dir)
    return {
        "run": printable(run_dir.name),
        "title": printable(study.scenario.title or study.scenario.name),
        "terms": _terms(study),
        "phases": _phases(study, steps, rounds),
        "sites": _sites(study, steps, rounds),
        "warnings": _warnings(study, rounds),
        "verdict": None if verdict is None else printable(str(verdict)),
        "sheet": None if sheet is None else sheet.name,
    }


def newest_sheet(run_dir: Path) -> Path | None:
    """The newest contact sheet of a run: that of the finished generator, else that of the last round that has one."""
    final = sample_sheet(run_dir)
    found = [final] if final.is_file() else sorted((run_dir / SAMPLES_FOLDER).glob("round-??????.png"))
    return found[-1] if found else None


def sheet_bytes(run_dir: Path) -> bytes | None:
    """The newest contact sheet; None if there is none, or if it is a link, larger than one can be, or no PNG."""
    path = newest_sheet(run_dir)
    if path is None or path.is_symlink() or path.stat().st_size > LARGEST_SHEET:
        return None
    content = path.read_bytes()
    return content if content.startswith(_PNG) else None


def _terms(study: Study) -> str:
    plan, many = study.plan, counted(len(study.sites), "hospital")
    if not plan.private:
        return f"{many}, {NO_PRIVACY}"
    return f"{many}, at most ε = {budget(plan.epsilon)} each, δ = {small(plan.delta)}, {plan.unit} level"


def _phases(study: Study, steps: list[Event], rounds: list[Event]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for phase in study.plan.phases:
        if phase.takes_batches:
            done, of = max((event["round"] for event in rounds), default=0), study.scenario.training.rounds
            state = "done" if done >= of else "running" if done else "waiting"
            found.append({"name": phase.name, "state": state, "told": f"round {done} of {of}"})
            continue
        own = [event for event in steps if event.get("phase") == phase.name]
        last = str(own[-1].get("step")) if own else ""
        state = "done" if last == FITTED else "running" if last else "waiting"
        told = f"{last}, {own[-1]['sites_replied']} of {len(study.sites)}" if last == ANSWERED else last
        found.append({"name": phase.name, "state": state, "told": printable(told)})
    return found


def _sites(study: Study, steps: list[Event], rounds: list[Event]) -> list[dict[str, Any]]:
    """Each site with what it may have spent by now: the plan's bound, which is the same for all."""
    last: Event = rounds[-1] if rounds else steps[-1] if steps else {}
    refused = {one["site"] for one in last.get("sites_refused", ())}
    out = set(map(str, last.get("quarantined", ())))
    in_time = {site.name for site in study.sites} - refused - out
    complete = last.get("sites_replied") == len(in_time)
    spent = _spent(study, steps, rounds)
    given = study.plan.epsilon
    return [
        {
            "name": printable(site.name),
            "state": "in quarantine" if site.name in out else "refused" if site.name in refused
            else "answered" if complete else "asked" if last else "waiting",
            "spent": None if spent is None else epsilon(spent),
            "budget": budget(given),
            "share": 0.0 if spent is None else min(1.0, spent / given),
        }
        for site in study.sites
    ]  # fmt: skip


def _spent(study: Study, steps: list[Event], rounds: list[Event]) -> float | None:
    if not study.plan.private:
        return None
    if rounds:
        return max((rounds[-1]["epsilon"] or {}).values(), default=None)
    answered = [event.get("phase") for event in steps if event.get("step") == ANSWERED]
    names = [phase.name for phase in study.plan.phases if phase.name in answered]
    return _spent_after(study.plan, names[-1]) if names else 0.0


@lru_cache(maxsize=16)
def _spent_after(plan: PrivacyPlan, phase: str) -> float | None:
    """Kept, since an accountant takes a moment."""
    return plan.epsilon_after(phase, 1)


def _warnings(study: Study, rounds: list[Event]) -> list[str]:
    plan, found = study.plan, list[str]()
    if not plan.private:
        found.append(f"{NO_PRIVACY}: trained without differential privacy, for comparison only")
    elif plan.seeded:
        found.append(SEEDED)
    sizes = [site.declared_size for site in study.sites]
    if plan.private and (remark := delta_remark(plan.delta, min(sizes), plan.unit)):
        found.append(remark)
    for event in rounds[-1:]:
        missing = len(study.sites) - event["sites_replied"]
        if missing:
            found.append(f"round {event['round']}: {missing} of {len(study.sites)} hospitals gave no usable answer")
        found += [f"{one['site']} was refused: {one.get('why', '')}" for one in event.get("sites_refused", ())]
    backs = [event for event in rounds if event.get("rolled_back_to") is not None]
    found += [f"round {event['round']} was rolled back to round {event['rolled_back_to']}" for event in backs[-3:]]
    return [printable(one) for one in found]
