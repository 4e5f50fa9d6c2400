"""The patient as the unit of privacy: checks that pass on the product and fail when it is broken on purpose.

As in `test_privacy_invariants.py`, a check watches from outside what the discriminator is shown and which gradient
reaches its optimizer. Statistical bounds lie at eight standard deviations.
"""

import html
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import silogan.client.mechanism.noisy_sum
import silogan.client.mechanism.patients
import silogan.client.round
import silogan.simulations.partition
import silogan.simulations.prepare
from silogan.client.data import DataSet, Records
from silogan.client.data.positions import load_positions
from silogan.client.ledger.policy import Policy
from silogan.client.mechanism import Patients, Randomness
from silogan.client.mechanism.dpsgd import BookKeepingModule
from silogan.client.mechanism.units import Bags, Units
from silogan.client.round import Site
from silogan.client.training.steps import PrivateStep
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.models.networks import GAN, build, initialise
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.run_folder import PARTITION_FILE
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.simulations.prepare import prepare
from silogan.simulations.simulate import simulate

Check = Callable[[Path], None]
Break = Callable[[pytest.MonkeyPatch], None]

SCHEMA = ImageSchema(8, 1, ("benign", "malignant"))
RATE, MOST = 0.25, 3
DECLARED = 22  # B = q · 22 is the public divisor
SIZES = [1, 1, 2, 3, 4, 6, 8, 12]  # images of each patient


pytestmark = pytest.mark.usefixtures("one_thread")


# --- patients under observation --------------------------------------------------------------------------------------


def make_images(sizes: list[int]) -> Records:
    """Random images; the first pixel of each is its own number. Those of a patient do not follow each other."""
    rng = torch.Generator().manual_seed(1)
    owners = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    owners = owners[torch.randperm(len(owners), generator=rng)]
    pixels = torch.randint(0, 256, (len(owners), 1, 8, 8), generator=rng, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(len(owners))
    return Records({PIXELS: pixels}, torch.randint(0, 2, (len(owners),), generator=rng), patients=owners)


def make_scenario(*, rate: float = RATE, sites: int = 1, **privacy: Any) -> Scenario:
    return parse_scenario(
        {
            "name": "tiny",
            "seed": 3,
            "sites": {"count": sites},
            "model": {"latent_dim": 4, "width": 2},
            "training": {"sample_rate": rate, "local_steps": 2, "d_steps_per_g_step": 1000, "device": "cpu"},
            "privacy": {"epsilon": 10.0, "noise_multiplier": 1.0, "records_per_patient": MOST, **privacy},
        }
    )


@dataclass
class Seen:
    """What was seen of a site's steps.

    Attributes:
        drawn: numbers of the images that counted in each step; what fills a place of a bag or a block does not.
        gradients: what reached D's Adam, one float[parameters] a step.
    """

    drawn: list[list[int]] = field(default_factory=list[list[int]])
    gradients: list[Tensor] = field(default_factory=list[Tensor])


def watch(images: Records, scenario: Scenario, steps: int) -> Seen:
    """Lets a site take private steps, with networks that are the same each time."""
    study = Study(scenario, SCHEMA, make_plan(scenario, "patient"), (SiteDeclaration("hospital", DECLARED),))
    nowhere = Path("nowhere")
    site = Site("hospital", study, DECLARED, lambda: images, nowhere, nowhere, nobodys_policy, nowhere)
    gan: GAN = build(scenario.model, SCHEMA)
    initialise(gan, torch.Generator().manual_seed(0))
    trainer = silogan.client.round.new_trainer(site, 1, gan, torch.device("cpu"), scenario.training)
    seen, shown, losses, fakes = Seen(), list[Tensor](), list[Tensor](), max(1, round(site.expected_batch))

    def see_input(_network: torch.nn.Module, args: tuple[Tensor, Tensor | None]) -> None:
        shown.append(args[0].clone())

    def see_losses(original: Any, self: BookKeepingModule, of_records: Tensor, *args: Any, **options: Any) -> None:
        losses.append(of_records.detach().flatten())
        original(self, of_records, *args, **options)

    def see_gradient(optimizer: torch.optim.Optimizer, _args: Any, _options: Any) -> None:
        seen.gradients.append(torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]]))
        counted = torch.cat(shown)[:-fakes][torch.cat(losses)[:-fakes] != 0]
        seen.drawn.append(((counted[:, 0, 0, 0] + 1) * 127.5).round().int().tolist())
        shown.clear()
        losses.clear()

    trainer._discriminator.register_forward_pre_hook(see_input)
    trainer._d_optimizer.register_step_pre_hook(see_gradient)
    with pytest.MonkeyPatch.context() as patch:
        wrap(patch, BookKeepingModule, "add", see_losses)
        for _ in range(steps):
            trainer._discriminator_step()
    return seen


def nobodys_policy() -> Policy:
    raise AssertionError("a trainer has no business with the policy")


def wrap(patch: pytest.MonkeyPatch, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Replaces `owner.name` by `wrapper(original, ...)`."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **options: wrapper(original, *args, **options))


# --- the checks ------------------------------------------------------------------------------------------------------


def patients_are_clipped(_folder: Path) -> None:
    """One patient more or less, with any number of images, changes the sum by C at most and here by nearly C."""
    images, scenario = make_images(SIZES), make_scenario(rate=1.0, clip_norm=0.01, records_per_patient=max(SIZES))
    owners = images.patients
    assert owners is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            silogan.client.mechanism.noisy_sum, "rounded_gaussian", lambda _, size, __: torch.zeros(size).double()
        )
        (whole,) = watch(images, scenario, 1).gradients
        for left_out in range(len(SIZES)):
            (rest,) = watch(images.select((owners != left_out).nonzero().squeeze(1)), scenario, 1).gradients
            change = float((whole - rest).norm()) * DECLARED / 0.01  # in units of C; B = 1.0 · declared
            assert 0.98 < change <= 1


def patients_are_sampled(_folder: Path) -> None:
    """A patient is in a step with probability q however many images there are, independently of all others."""
    images, steps = make_images(SIZES), 400
    owners = images.patients
    assert owners is not None
    taken = torch.zeros(steps, len(SIZES), dtype=torch.float64)
    for row, numbers in zip(taken, watch(images, make_scenario(), steps).drawn, strict=True):
        row[owners[torch.tensor(numbers, dtype=torch.int64)]] = 1
    one = (RATE * (1 - RATE)) ** 0.5
    assert (taken.mean(dim=0) - RATE).abs().max() < 8 * one / steps**0.5
    assert (torch.corrcoef(taken.T) - torch.eye(len(SIZES))).abs().max() < 8 / steps**0.5


def at_most_k_records_anew(_folder: Path) -> None:
    """A sampled patient shows all images or k of them; all images of everybody come round."""
    images = make_images(SIZES)
    owners = images.patients
    assert owners is not None
    met: set[int] = set()
    for numbers in watch(images, make_scenario(), 400).drawn:
        met.update(numbers)
        shown = owners[torch.tensor(sorted(set(numbers)), dtype=torch.int64)].bincount(minlength=len(SIZES))
        assert all(count in (0, min(size, MOST)) for count, size in zip(shown.tolist(), SIZES, strict=True))
    assert met == set(range(sum(SIZES)))


def number_of_patients_is_no_divisor(_folder: Path) -> None:
    """The noise in a step has the size that public figures give it, for few patients as for many."""
    for patients in (4, 60):
        scenario = make_scenario(noise_multiplier=20.0, clip_norm=0.5)
        noise = torch.stack(watch(make_images([2] * patients), scenario, 40).gradients) * RATE * DECLARED / (20.0 * 0.5)
        assert abs(noise.std() - 1) < 0.1


def a_patient_is_at_one_site(folder: Path) -> None:
    """No patient's images are spread over hospitals, whose guarantees would add up; sizes are in patients."""
    images = make_images([5] * 40)
    owners = images.patients
    assert owners is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(silogan.simulations.prepare, "read", lambda _: DataSet(SCHEMA, images, images))
        study = prepare(make_scenario(sites=4), folder)
    assert study.plan.unit == "patient"
    parts = [owners[load_positions(folder / PARTITION_FILE, index)].unique() for index in range(4)]
    assert torch.cat(parts).sort().values.equal(torch.arange(40))
    assert [site.declared_size for site in study.sites] == [10] * 4


# --- the ways to break the product -----------------------------------------------------------------------------------


def records_sampled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        silogan.client.mechanism.patients, "Units", lambda records, _patients, _views: Units(records, None, 1)
    )


def patients_are_not_told(patch: pytest.MonkeyPatch) -> None:
    """The site forgets to say whose the images are."""

    def init(original: Any, self: Patients, records: Tensor, labels: Tensor, _codes: Tensor, **options: Any) -> None:
        options["terms"] = replace(options["terms"], records_per_patient=1)
        original(self, records, labels, None, **options)

    wrap(patch, Patients, "__init__", init)


def patients_sampled_by_their_records(patch: pytest.MonkeyPatch) -> None:
    """A Poisson sample of records, of which each brings its patient."""

    def sample(self: Units, rate: float, randomness: Randomness) -> Bags:
        assert self._records is not None
        drawn = randomness.poisson_sample(int(self._records.counts.sum()), rate)
        owners = torch.arange(self._count).repeat_interleave(self._records.counts)[drawn].unique()
        return self._records.draw(owners, self.views, randomness)

    patch.setattr(Units, "sample", sample)


def units_made_of(patch: pytest.MonkeyPatch, views: Callable[[int], int]) -> None:
    """Lets a row of a patient's losses be several units, each of so many views of it."""

    def add(
        original: Any, self: BookKeepingModule, losses: Tensor, clip_norm: float, *counts: Tensor, **how: Any
    ) -> None:
        if counts:  # not the fakes
            losses = losses.view(-1, views(losses.shape[1]))
            counts = ((losses != 0).any(dim=1),)
        original(self, losses, clip_norm, *counts, **how)

    wrap(patch, BookKeepingModule, "add", add)


def records_clipped(patch: pytest.MonkeyPatch) -> None:
    units_made_of(patch, lambda _: 1)


def bags_split(patch: pytest.MonkeyPatch) -> None:
    units_made_of(patch, lambda views: views // 2)


def every_record_taken(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch,
        Units,
        "__init__",
        lambda original, self, records, patients, _: original(self, records, patients, records),
    )


def the_first_records_always(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Randomness, "permutation", lambda _, size: torch.arange(size))


def divided_by_the_patients(patch: pytest.MonkeyPatch) -> None:
    def init(original: Any, self: Any, network: Any, adam: Any, patients: Patients, **options: Any) -> None:
        drawn = patients._terms.sample_rate * patients._units._count
        original(self, network, adam, patients, **{**options, "expected_batch": drawn})

    wrap(patch, PrivateStep, "__init__", init)


def images_partitioned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        silogan.simulations.prepare,
        "partition",
        lambda *args: silogan.simulations.partition.partition(*args[:4], patients=None),
    )


def images_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(np, "unique", lambda values, intact=np.unique, **keys: intact(values, **keys) if keys else values)


class Case(NamedTuple):
    """A check, and a way to break the product that it must notice."""

    check: Check
    broken: Break


CASES = [
    Case(patients_are_clipped, records_sampled),
    Case(patients_are_clipped, patients_are_not_told),
    Case(patients_are_clipped, records_clipped),
    Case(patients_are_clipped, bags_split),
    Case(patients_are_sampled, records_sampled),
    Case(patients_are_sampled, patients_are_not_told),
    Case(patients_are_sampled, patients_sampled_by_their_records),
    Case(at_most_k_records_anew, records_sampled),
    Case(at_most_k_records_anew, every_record_taken),
    Case(at_most_k_records_anew, the_first_records_always),
    Case(number_of_patients_is_no_divisor, divided_by_the_patients),
    Case(a_patient_is_at_one_site, images_partitioned),
    Case(a_patient_is_at_one_site, images_counted),
]


@pytest.mark.parametrize("check", dict.fromkeys(case.check for case in CASES), ids=lambda check: check.__name__)
def test_the_product_keeps_it(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.check.__name__}-{case.broken.__name__}")
def test_a_broken_product_is_noticed(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case.broken(monkeypatch)
    with pytest.raises(AssertionError):
        case.check(tmp_path)


# --- a whole run -----------------------------------------------------------------------------------------------------


def test_a_run_with_simulated_patients_says_patient_level(tmp_path: Path) -> None:
    scenario = parse_scenario(
        {
            "name": "patients",
            "seed": 1,
            "data": {"source": "digits", "images_per_patient": 5},
            "sites": {"count": 2},
            "model": {"latent_dim": 4, "width": 4},
            "training": {"rounds": 2, "local_steps": 2, "sample_rate": 0.05, "device": "cpu"},
            "privacy": {"epsilon": 10.0, "delta": 1e-4, "noise_multiplier": 2.0, "records_per_patient": 3},
            "evaluation": {"enabled": False},
        }
    )
    report = simulate(scenario, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "report.json").read_bytes()) == report
    assert report["rounds"] == 2
    for site in report["sites"]:
        assert site["unit"] == "patient"
        assert site["declared_size"] == 140, "of 291 patients, a half at each site"
        assert 0 < site["epsilon"] < 10
    page = " ".join(html.unescape((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).split())
    assert "adding or removing any one patient's records" in page
    assert "patient level" in page
    assert "record level" not in page.lower()
