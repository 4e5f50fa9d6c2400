"""Memorisation: do synthetic images repeat the images that a generator was trained on?

Each synthetic image has a nearest real one, among training images and held-out ones together. A generator that knows no
more of its training images than of people in general finds it among the training images as often as they are of all:
each is as likely to be the nearest (Platzer and Reutterer, 2021, "Holdout-based empirical assessment of mixed-type
synthetic data", section 3.2, with sets of any size; Meehan, Chaudhuri and Dasgupta, 2020, "A non-parametric test to
detect data-copying in generative models"). An attacker who asks of a given image whether it was trained on looks at its
distance from the nearest synthetic image (Chen et al., 2020, "GAN-Leaks", section 4).

Both are measured on pixels and on lowest frequencies, which noise in a copy does not hide. These are attacks that were
tried, and no guarantee: another may find more. The guarantee is ε.

Privacy:
    Real images are looked at without noise, as in all of this package: figures are outside the guarantee, and for data
    whose owner agrees to that, such as a simulation's. No count of real images is in them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional as F

from silogan.common.modality.image import PIXELS, to_unit_range
from silogan.common.modality.image_features import Spectrum
from silogan.common.models.networks.detail import Detail
from silogan.common.progress import begin_part
from silogan.common.seeding import seeded_generator
from silogan.server.evaluation.base import Comparison

MOST_EXCESS = 0.2
"""Of the share beyond chance of synthetic images that are nearest to a training image: the lower end of its interval
may not be above. One that draws copies alone has 1, and half of them copies 0.5; three runs of `digits.yaml` at ε = 10,
with 360 images a hospital, have lower ends of 0.07, -0.01 and 0.02: a fit to few images leans to them a little."""

MOST_AUC = 0.6
"""Of telling training images from held-out ones: the lower end of its interval may not be above. Those three runs have
lower ends of at most 0.53, a generator of copies 1."""

LEAST_IMAGES = 50
"""Training, held-out and synthetic images, each: fewer could not show that anything was copied."""

MOST_REAL, MOST_SYNTHETIC = 10_000, 5_000
"""Images of each kind, at most, that are compared: drawn at random by a fixed seed."""

ALIKE = 0.9
"""Correlation of fine detail from which a synthetic image is called an edit of a public one."""

_LARGEST = 32  # pixels: larger images are averaged down, so that time and memory are bounded
_LOWEST = 16  # frequencies in each direction
_BLOCK = 512
_Z = 1.959964  # of a 95 % interval
_TAIL = 0.025

Points = Callable[[Tensor], Tensor]
"""Points float32[N, d] of images uint8[N, C, S, S]."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Closeness:
    """How close synthetic images are to training images rather than to held-out ones, by one kind of distance.

    Attributes:
        name: what distances are between.
        share: of synthetic images whose nearest real image is a training image.
        expected: the same by chance: the share of training images among all real ones.
        excess: (share - expected) / (1 - expected): 0 by chance, 1 if all are nearest to a training image.
        ratio: median of the distance to the nearest training image over that to the nearest of equally many held-out
            ones; about 1 by chance, 0 for copies; None where it is infinite, as for copies of held-out images.
        auc: of telling training images from held-out ones by their distance to the nearest synthetic image.
    """

    name: str
    share: Interval
    expected: float
    excess: Interval
    ratio: float | None
    auc: Interval

    def findings(self) -> list[str]:
        """What is above its threshold, in words."""
        found: list[str] = []
        if self.excess.low > MOST_EXCESS:
            told = f"{self.share.value:.0%} of synthetic images are nearest to a training image by {self.name}"
            found.append(f"{told}, where {self.expected:.0%} would be by chance")
        if self.auc.low > MOST_AUC:
            told = f"training images are told from others with an AUC of {self.auc.value:.2f} by {self.name}"
            found.append(f"{told}, where 0.5 is chance")
        return found


def memorisation(asked: Comparison, figures: Mapping[str, Any]) -> dict[str, Any]:
    """`memorisation` of `report.json`; the same arguments give the same result on a CPU.

    Args:
        asked: synthetic records and real ones.
        figures: what the kind's own evaluator says of them: of table rows its attacks.

    Returns:
        `measured`, or the `reason` why not; `passed`, whether every figure is within its threshold, None if nothing was
        measured; `findings`, those that are not, in words; and of images `spaces`, the fields of `Closeness` by each
        kind of distance, and `public`, None or what `edits_of_public` says.
    """
    if asked.synthetic is None:
        return unmeasured("the release draws no records")
    if PIXELS not in asked.train.records:
        return _of_attacks(figures)
    begin_part("memorisation")
    synthetic, train, held_out = (
        _some(records[PIXELS], most, asked.seed)
        for records, most in (
            (asked.synthetic, MOST_SYNTHETIC),
            (asked.train.records, MOST_REAL),
            (asked.test.records, MOST_REAL),
        )
    )
    if min(map(len, (synthetic, train, held_out))) < LEAST_IMAGES:
        return unmeasured(f"there are fewer than {LEAST_IMAGES} training, held-out or synthetic images")
    spaces = [closeness(name, points, synthetic, train, held_out) for name, points in SPACES.items()]
    public = None if asked.detail is None else edits_of_public(synthetic, held_out, asked.detail)
    return _measured([told for space in spaces for told in space.findings()], list(map(asdict, spaces)), public)


def unmeasured(reason: str) -> dict[str, Any]:
    """The same where nothing was measured."""
    return {"measured": False, "reason": reason, "passed": None, "findings": [], "spaces": [], "public": None}


def _measured(findings: list[str], spaces: list[dict[str, Any]], public: dict[str, Any] | None) -> dict[str, Any]:
    found = {"findings": findings, "spaces": spaces, "public": public}
    return {"measured": True, "reason": None, "passed": not findings, **found}


def _of_attacks(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Of table rows: what the attacks of `server/evaluation/risks.py` find beyond their control."""
    table: Mapping[str, Any] = figures.get("table") or {}
    attacks = [attack for attack in table.get("risks") or () if attack["excess"]]
    if not attacks:
        return unmeasured(table.get("risks_reason") or "no attack could be tried")
    findings = [
        f"{attack['name']} succeeds in {attack['excess']['value']:.0%} of cases beyond its control"
        for attack in attacks
        if attack["excess"]["low"] > MOST_EXCESS
    ]
    return _measured(findings, [], None)


def closeness(name: str, points: Points, synthetic: Tensor, train: Tensor, held_out: Tensor) -> Closeness:
    """Compares images uint8[N, C, S, S] of three kinds, at least one of each, in the space that `points` leads to.

    Memory grows with the number of images, not with its square.
    """
    drawn = points(synthetic)
    to_train, nearest_train, members = _nearest(points, drawn, train)
    to_held, nearest_held, others = _nearest(points, drawn, held_out)
    wins = (to_train < to_held).double() + (to_train == to_held).double() / 2
    nearest = torch.where(to_train <= to_held, nearest_train, len(train) + nearest_held)
    share = clopper_pearson(float(wins.mean()), _independent(nearest))
    expected = len(train) / (len(train) + len(held_out))
    excess = Interval(*((end - expected) / (1 - expected) for end in (share.value, share.low, share.high)))
    count = min(len(train), len(held_out))

    def of_as_many(real: Tensor, to_all: Tensor) -> Tensor:
        return to_all if len(real) == count else _nearest(points, drawn, real[:count])[0]

    ratio = _ratio(of_as_many(train, to_train), of_as_many(held_out, to_held))
    return Closeness(name, share, expected, excess, ratio, area_under_curve(-members, -others))


def edits_of_public(synthetic: Tensor, held_out: Tensor, detail: Detail) -> dict[str, Any]:
    """How many synthetic images are edits of public ones: their fine detail is that of a public image.

    Returns:
        `edits`, the share of synthetic images whose detail correlates with that of some public image by `ALIKE` or
        more, and `control`, the same of held-out real images, each with its 95 % Clopper-Pearson interval.
    """
    spectrum = Spectrum(tuple(detail.images.shape[1:]), detail.above)

    def fine(images: Tensor) -> Tensor:
        whole = to_unit_range(images)
        return F.normalize((whole - spectrum.smooth(spectrum.of(whole))).flatten(1))

    known = fine(detail.images)

    def edits(images: Tensor) -> dict[str, float]:
        best = torch.cat([(fine(part) @ known.T).max(dim=1).values for part in images.split(_BLOCK)])
        return asdict(clopper_pearson(float((best >= ALIKE).double().mean()), len(images)))

    return {"edits": edits(synthetic), "control": edits(held_out)}


def _pixels(images: Tensor) -> Tensor:
    return _small(images).flatten(1)


def _frequencies(images: Tensor) -> Tensor:
    small = _small(images)
    spectrum = Spectrum(tuple(small.shape[1:]), min(_LOWEST, small.shape[-1]))
    return spectrum.of(small) * spectrum.weights.float()


def _small(images: Tensor) -> Tensor:
    """Images float32[N, C, S, S] in [-1, 1], averaged down to at most `_LARGEST` pixels."""
    return F.adaptive_avg_pool2d(to_unit_range(images), min(_LARGEST, images.shape[-1]))


SPACES: dict[str, Points] = {"pixels": _pixels, "lowest frequencies": _frequencies}


def _some(images: Tensor, most: int, seed: int) -> Tensor:
    """At most so many images, in random order."""
    return images[torch.randperm(len(images), generator=seeded_generator(seed, "memorisation"))[:most]]


def _nearest(points: Points, drawn: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of real images and points drawn float32[M, d], who is nearest to whom.

    Returns:
        The distance float32[M] of each point from the nearest real image, the place int64[M] of that image, and the
        distance float32[N] of each real image from the nearest point.
    """
    best, places = drawn.new_full((len(drawn),), torch.inf), torch.zeros(len(drawn), dtype=torch.int64)
    back: list[Tensor] = []
    for start in range(0, len(real), _BLOCK):
        block = points(real[start : start + _BLOCK])
        apart = torch.cdist(block, drawn)  # by products, which is fast; those that count are computed again
        back.append((block - drawn[apart.argmin(dim=1)]).norm(dim=1))
        found = apart.argmin(dim=0)
        exact = (block[found] - drawn).norm(dim=1)
        closer = exact < best
        best, places = torch.where(closer, exact, best), torch.where(closer, start + found, places)
    return best, places, torch.cat(back)


def _ratio(to_train: Tensor, to_held: Tensor) -> float | None:
    """Median ratio of distances float[M] from as many training as held-out images; None if it is infinite."""
    median = float((to_train / to_held).nan_to_num(nan=1.0, posinf=math.inf).median())
    return median if math.isfinite(median) else None


def _independent(nearest: Tensor) -> float:
    """How many independent draws synthetic images are worth, by the real image int64[M] that is nearest to each.

    Those with the same nearest image fall together on one side: Kish's effective number 1 / Σ w² of the weights w with
    which real images are the nearest (Kish, 1965, section 11.7).
    """
    weights = torch.unique(nearest, return_counts=True)[1].double() / len(nearest)
    return 1 / float(weights.square().sum())


def clopper_pearson(value: float, number: float) -> Interval:
    """A share with its Clopper-Pearson interval (1934) for a number of draws, which need not be whole."""
    hits, misses = value * number, (1 - value) * number
    low = float(betaincinv(hits, misses + 1, _TAIL)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, misses, 1 - _TAIL)) if misses > 0 else 1.0
    return Interval(value, low, high)


def area_under_curve(members: Tensor, others: Tensor) -> Interval:
    """Area under the ROC curve of scores float[N] and float[M], larger for members; interval of DeLong et al., 1988."""

    def placements(scores: Tensor, among: Tensor) -> Tensor:
        """Share of `among` that is below each score; equal ones count half."""
        ordered = among.sort().values
        below, upto = (torch.searchsorted(ordered, scores, right=right) for right in (False, True))
        return (below + upto).double() / (2 * len(among))

    above, below = placements(members, others), 1 - placements(others, members)
    value = float(above.mean())
    error = (above.var() / len(members) + below.var() / len(others)).sqrt()
    reach = _Z * float(error)
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach))
