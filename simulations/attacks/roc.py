"""How well a score tells members from others: the ROC curve, its area, and the rate of sure finds."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FALSE_POSITIVE_RATE = 0.01
"""An attack harms those it finds for sure: Carlini et al. (2022), "Membership inference attacks from first principles",
ask for the true positive rate where false positives are rare."""

RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: on all that was scored.
        low, high: the 2.5 % and 97.5 % points of a bootstrap over members and over others.
    """

    value: float
    low: float
    high: float


def area_under_curve(scores: Floats, members: Flags) -> float:
    """Probability that a member outscores another, ties counting half (Mann and Whitney, 1947); 0.5 is chance.

    Args:
        scores: float64[N], large where a member is presumed.
        members: bool[N], with at least one of either.
    """
    # `bootstrap` asks a thousand times, and scikit-learn's `roc_auc_score` takes four times as long as ranks do
    count = int(members.sum())
    rank_sum = float(rankdata(scores)[members].sum())
    return (rank_sum - count * (count + 1) / 2) / (count * (len(members) - count))


def true_positive_rate(scores: Floats, members: Flags, false_positive_rate: float = FALSE_POSITIVE_RATE) -> float:
    """Share of members above the score that at most `false_positive_rate` of the others exceed.

    See `area_under_curve` for the arguments.
    """
    others = np.sort(scores[~members])[::-1]
    threshold = others[int(false_positive_rate * len(others))]
    return float((scores[members] > threshold).mean())


def bootstrap(figure: Callable[[Floats, Flags], float], scores: Floats, members: Flags, seed: int = 0) -> Estimate:
    """A figure of scores, and how far it varies if members and others are drawn again (Efron, 1979)."""
    rng = np.random.default_rng(seed)
    inside, outside = scores[members], scores[~members]
    flags = np.arange(len(scores)) < len(inside)
    drawn = [
        figure(np.concatenate((rng.choice(inside, len(inside)), rng.choice(outside, len(outside)))), flags)
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(figure(scores, members), float(low), float(high))


def curve(scores: Floats, members: Flags) -> tuple[Floats, Floats]:
    """False and true positive rates, float64[K] each, from (0, 0) to (1, 1), one point for each distinct score."""
    false, true, _ = roc_curve(members, scores, drop_intermediate=False)
    return false, true


def plot(curves: Mapping[str, tuple[Floats, Floats]]) -> bytes:
    """ROC curves in one picture (SVG), on logarithmic axes, where the rare sure finds can be seen.

    Args:
        curves: `curve` of each attack, by its name.
    """
    # Imported here, for it takes a second that those who only want figures need not wait.
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(4.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([1e-4, 1], [1e-4, 1], "--", color="#90a4ae", linewidth=1, label="chance")
    for name, (false, true) in curves.items():
        axes.step(false, true, where="post", label=name)
    axes.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-3, 1))
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(loc="lower right", frameon=False)
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "silogan"}):  # text stays text; equal curves, equal bytes
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
