"""The picture in the README: samples, the budget that each hospital spent, and the audit's verdict on one run.

python docs/img/hero.py runs/demo/seed-0 docs/img/hero.png
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

INK, GREY, GREEN = "#1f2933", "#9aa5b1", "#2f855a"
ACCOUNTANTS = (("prv", "PRV (Opacus)"), ("pld", "PLD (dp-accounting)"), ("rdp", "RDP"))


def draw(run: Path, out: Path) -> None:
    """Draws the run's report, samples and audit."""
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "silogan", "audit", str(run), "--json"]
    audited = subprocess.run(command, capture_output=True, text=True, check=False)
    plt.rcParams.update({"font.size": 11, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK})
    figure, (images, ledgers, verdict) = plt.subplots(
        1, 3, figsize=(13, 4.4), gridspec_kw={"width_ratios": [1.15, 1, 1.05]}, layout="constrained"
    )
    _samples(images, run)
    _ledgers(ledgers, report["sites"])
    _verdict(verdict, json.loads(audited.stdout), report)
    figure.savefig(out, dpi=110)


def _samples(axes: Axes, run: Path) -> None:
    axes.imshow(plt.imread(run / "samples" / "final.png"), cmap="gray")
    axes.set_title("synthetic images, a column for each class", loc="left")
    axes.axis("off")


def _ledgers(axes: Axes, sites: list[dict[str, Any]]) -> None:
    names, spent = [site["name"] for site in sites], [site["epsilon"] for site in sites]
    axes.barh(names, [site["epsilon_budget"] for site in sites], color="#e4e7eb", height=0.5)
    axes.barh(names, spent, color=GREEN, height=0.5)
    for row, site in enumerate(sites):
        axes.text(0.2, row, f"{site['epsilon']:.3f} of {site['epsilon_budget']:g}", va="center", color="white")
    axes.invert_yaxis()
    axes.set_title(f"ε that each hospital spent (δ = {sites[0]['delta']:g})", loc="left")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _verdict(axes: Axes, audited: dict[str, Any], report: dict[str, Any]) -> None:
    cohort, utility = audited["cohorts"][0], report["utility"]
    lines = [("All checks passed" if audited["ok"] else "PROBLEMS FOUND", GREEN if audited["ok"] else "#c53030", 15)]
    told = [f"of {len(audited['cohorts'])} signed ledgers", ""]
    told += [f"ε = {cohort[f'epsilon_{key}']:.3f}  by {name}" for key, name in ACCOUNTANTS]
    told += ["", f"trained on synthetic images: {utility['accuracy_synthetic']:.1%} right"]
    lines += [(text, INK, 11 if text else 6) for text in told]
    lines += [(f"trained on real images: {utility['accuracy_real']:.1%}", GREY, 11)]
    axes.axis("off")
    axes.set_title("what the audit found", loc="left")
    height = 0.92
    for text, colour, size in lines:
        axes.text(0.0, height, text, color=colour, fontsize=size, transform=axes.transAxes, va="top")
        height -= 0.055 + 0.004 * size


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
