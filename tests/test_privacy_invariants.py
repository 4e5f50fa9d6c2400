"""The privacy invariants, each with a check that passes on the product and fails when the product is broken on purpose.

A check watches whole rounds from outside: what the discriminator is shown, which gradient reaches its optimizer, what
the ledger's file holds at that moment, what is sent. `CASES` pairs each check with the ways to break what it guards.
Statistical bounds lie at eight standard deviations or more, and a broken product misses them by far more.
"""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import dp_accounting
import pytest
import torch
import yaml
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import recorddict_to_proto
from torch import Tensor

import silogan.client.ledger.ledger
import silogan.client.mechanism.noisy_sum
import silogan.client.mechanism.patients
import silogan.client.mechanism.randomness
import silogan.client.round
import silogan.common.privacy.accounting
import silogan.server.release.generator
import silogan.simulations.prepare
from silogan.client.data import DataSet, Records
from silogan.client.ledger.ledger import Charge, Ledger
from silogan.client.mechanism import Patients, Randomness
from silogan.client.mechanism.dpsgd import BookKeepingModule
from silogan.client.mechanism.dpsgd.rules import Contribution, Factors
from silogan.client.mechanism.units import Bags, Units
from silogan.client.round import Site, run_round
from silogan.client.simulated import open_ledgers, simulated_site
from silogan.client.training.steps import PrivateStep
from silogan.client.training.trainer import SiteTrainer
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import PrivacyRefusal, VerificationError
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.models.networks import build, initialise
from silogan.common.models.weights import generator_weights, weights_of
from silogan.common.privacy.plan import NO_PRIVACY, SEEDED, PrivacyPlan, make_plan
from silogan.common.wire.messages import Instruction, Reply, Weights
from silogan.common.wire.run_folder import GENERATOR_FILE, LEDGER_FOLDER, RUN_FILE
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.release.generate import generate
from silogan.server.release.generator import save_generator
from silogan.simulations.prepare import prepare
from silogan.simulations.simulate import simulate

Check = Callable[[Path], None]
Break = Callable[[pytest.MonkeyPatch], None]

SCHEMA = ImageSchema(8, 1, ("benign", "malignant"))
DECLARED = 40  # B = q · 40 is the public divisor
RATE = 0.25


pytestmark = pytest.mark.usefixtures("one_thread")


# --- a hospital under observation ------------------------------------------------------------------------------------


def make_images(count: int, *, seed: int = 1) -> Records:
    """Random images; the first pixel of each is its own number."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=rng, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(count)
    return Records({PIXELS: pixels}, torch.randint(0, 2, (count,), generator=rng))


def make_scenario(
    *, seed: int | None = None, steps: int = 3, rate: float = RATE, name: str = "tiny", **privacy: Any
) -> Scenario:
    training = {"rounds": 4, "local_steps": steps, "sample_rate": rate, "generator_batch_size": 4, "device": "cpu"}
    defaults = {"epsilon": 10.0, "delta": 1e-4, "noise_multiplier": 1.0}
    return parse_scenario(
        {
            "name": name,
            "seed": seed,
            "model": {"latent_dim": 4, "width": 2},
            "training": {**training, "d_steps_per_g_step": 2},
            "privacy": {**defaults, **privacy},
            "evaluation": {"enabled": False},
        }
    )


def make_study(**changes: Any) -> Study:
    scenario = make_scenario(**changes)
    return Study(scenario, SCHEMA, make_plan(scenario), (SiteDeclaration("hospital", DECLARED),))


@dataclass
class Watched:
    """What was seen of one site from outside.

    Attributes:
        inputs: real images as D was shown them, one float[n, 1, 8, 8] a private step; without those that fill the
            places of a block and do not count.
        gradients: what reached D's Adam, one float[parameters] a step.
        ledger_when_reading: the ledger's file whenever the data was read, as (kind, steps) of its entries.
        ledger_when_training: the same at each private step.
        replies: of the rounds.
        weights: after the last round.
    """

    site: Site
    inputs: list[Tensor] = field(default_factory=list[Tensor])
    gradients: list[Tensor] = field(default_factory=list[Tensor])
    ledger_when_reading: list[list[tuple[str, int]]] = field(default_factory=list[list[tuple[str, int]]])
    ledger_when_training: list[list[tuple[str, int]]] = field(default_factory=list[list[tuple[str, int]]])
    replies: list[Reply] = field(default_factory=list[Reply])
    weights: Weights = field(default_factory=dict[str, Tensor])

    def drawn(self) -> list[list[int]]:
        """Numbers of the images in each private step."""
        return [((real[:, 0, 0, 0] + 1) * 127.5).round().int().tolist() for real in self.inputs]

    def noise(self) -> Tensor:
        """float[steps, parameters]: gradients in units of σC/B; noise, where the plan's σ drowns the signal."""
        plan = self.site.study.plan
        public_batch = plan.training.sample_rate * DECLARED
        return (
            torch.stack(self.gradients).double()
            * public_batch
            / (plan.training.noise_multiplier * plan.training.clip_norm)
        )


def entries_on_disk(path: Path) -> list[tuple[str, int]]:
    """The committed charges of a ledger's file, read without the product."""
    if not path.exists():
        return []
    db = sqlite3.connect(path)
    try:
        bodies = [json.loads(body) for (body,) in db.execute("SELECT body FROM entries ORDER BY seq")]
    finally:
        db.close()
    return [(body["kind"], body["steps"]) for body in bodies if body["kind"] in ("reserve", "settle")]


def watch_trainer(watched: Watched, patch: pytest.MonkeyPatch) -> type[SiteTrainer]:
    """The product's trainer, as it is at this moment, with windows."""
    fakes = max(1, round(watched.site.expected_batch))
    shown, losses = list[Tensor](), list[Tensor]()

    def see_losses(original: Any, critic: BookKeepingModule, of_records: Tensor, *args: Any, **options: Any) -> None:
        losses.append(of_records.detach().flatten())
        original(critic, of_records, *args, **options)

    wrap(patch, BookKeepingModule, "add", see_losses)

    class Trainer(silogan.client.round.SiteTrainer):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            losses.clear()  # of made-up records: the machine was tried before

            def see_input(network: torch.nn.Module, args: tuple[Tensor, Tensor | None]) -> None:
                if next(network.parameters()).requires_grad:  # not in the generator's step
                    shown.append(args[0].clone())

            def see_gradient(optimizer: torch.optim.Optimizer, args: Any, options: Any) -> None:
                parameters = optimizer.param_groups[0]["params"]
                watched.gradients.append(torch.cat([p.grad.flatten() for p in parameters]))
                watched.ledger_when_training.append(entries_on_disk(watched.site.ledger_path))
                counted = torch.cat(losses)[:-fakes] != 0
                watched.inputs.append(torch.cat(shown)[:-fakes][counted])
                shown.clear()
                losses.clear()

            self._discriminator.register_forward_pre_hook(see_input)
            self._d_optimizer.register_step_pre_hook(see_gradient)

    return Trainer


def initial_weights(study: Study) -> Weights:
    gan = build(study.scenario.model, study.schema)
    initialise(gan, torch.Generator().manual_seed(0))
    return weights_of(gan)


def watch(folder: Path, study: Study, images: Records, *, rounds: int = 1) -> Watched:
    """Lets a new hospital take part in some rounds, and watches."""
    (folder / LEDGER_FOLDER).mkdir(parents=True)
    open_ledgers(study, folder)

    def read() -> Records:
        watched.ledger_when_reading.append(entries_on_disk(watched.site.ledger_path))
        return images

    watched = Watched(replace(simulated_site(study, folder, 0), read_records=read))
    watched.weights = initial_weights(study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(silogan.client.round, "SiteTrainer", watch_trainer(watched, patch))
        for number in range(1, rounds + 1):
            ask = Instruction(study.study_id, study.plan.plan_id, "training", number)
            reply, watched.weights = run_round(
                watched.site, ask, {name: tensor.clone() for name, tensor in watched.weights.items()}
            )
            watched.replies.append(reply)
    return watched


def loud_study(*, steps: int, **changes: Any) -> Study:
    """A study whose noise drowns the signal: σ = 20, C = 0.5."""
    return make_study(steps=steps, noise_multiplier=20.0, clip_norm=0.5, **changes)


# --- the checks ------------------------------------------------------------------------------------------------------


def noise_is_the_plans(folder: Path) -> None:
    """Invariant 2: N(0, σ²C²) in every coordinate of every step, anew each time."""
    noise = watch(folder, loud_study(steps=40), make_images(43)).noise()
    assert len(noise) == 40
    assert abs(noise.std() - 1) < 0.1
    by_coordinate = noise.std(dim=0)
    assert by_coordinate.min() > 0.3
    assert by_coordinate.max() < 2.0
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.2


def units_are_clipped(folder: Path) -> None:
    """Invariant 2: one unit more or less changes the sum, as it is before the noise, by C at most, here by nearly C."""
    images = make_images(8)
    study = make_study(seed=3, steps=1, rate=1.0, noise_multiplier=2.0, clip_norm=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            silogan.client.mechanism.noisy_sum, "rounded_gaussian", lambda _, size, __: torch.zeros(size).double()
        )
        (whole,) = watch(folder / "whole", study, images).gradients
        for left_out in range(len(images)):
            others = images.select(torch.tensor([i for i in range(len(images)) if i != left_out]))
            (rest,) = watch(folder / f"without-{left_out}", study, others).gradients
            change = (
                float((whole - rest).norm()) * DECLARED / study.plan.training.clip_norm
            )  # in units of C; B = 1.0 · declared
            assert 0.98 < change <= 1


def divisor_is_public(folder: Path) -> None:
    """Invariant 2: the size of the data set and of the batch that was drawn do not scale the step."""
    for count in (10, 160):
        noise = watch(folder / str(count), loud_study(steps=40), make_images(count)).noise()
        assert abs(noise.std() - 1) < 0.1
        assert (noise.std(dim=1) - 1).abs().max() < 0.5  # of each step: eight deviations of 247 values are 0.36


def sampling_is_poisson(folder: Path) -> None:
    """Invariant 2: every unit is in every step with probability q, whatever else is drawn and was drawn."""
    steps, count = 200, 40
    drawn = watch(folder, loud_study(steps=steps), make_images(count)).drawn()
    taken = torch.zeros(steps, count, dtype=torch.float64)
    for row, numbers in zip(taken, drawn, strict=True):
        assert len(set(numbers)) == len(numbers)
        row[numbers] = 1
    one = (RATE * (1 - RATE)) ** 0.5
    assert abs(taken.mean() - RATE) < 8 * one / (steps * count) ** 0.5
    assert (taken.mean(dim=0) - RATE).abs().max() < 8 * one / steps**0.5
    variance = count * RATE * (1 - RATE)
    assert abs(taken.sum(dim=1).var() - variance) < 8 * variance * (2 / steps) ** 0.5
    for lag in range(1, 8):  # a shuffled epoch does not take the same unit twice
        together = (taken[lag:] * taken[:-lag]).mean()
        assert abs(together - RATE**2) < 8 * RATE / ((steps - lag) * count) ** 0.5


def empty_batch_is_a_step(folder: Path) -> None:
    """Invariant 2: a step that draws nobody is as noisy as any other, and is taken."""
    watched = watch(folder, loud_study(steps=30, rate=0.01), make_images(3))
    assert len(watched.gradients) == 30
    assert watched.drawn().count([]) > 10
    assert (watched.noise().std(dim=1) - 1).abs().max() < 0.5


def images_are_scaled_by_constants(folder: Path) -> None:
    """Invariant 3: what D is shown of an image depends on that image alone."""
    images = make_images(43)
    watched = watch(folder, make_study(), images)
    public = images.stored[PIXELS].double() / 127.5 - 1
    assert sum(map(len, watched.inputs)) > 0
    for real in watched.inputs:
        distance = (real.double().flatten(1)[:, None] - public.flatten(1)[None]).abs().amax(dim=2)
        assert (distance.amin(dim=1) < 1e-6).all()


def only_private_results_leave(folder: Path) -> None:
    """Invariant 3: while nobody is drawn, hospitals with other data of another size send the same bytes."""
    sent: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        nobody = torch.empty(0, dtype=torch.int64)
        patch.setattr(Randomness, "poisson_sample", lambda *_: nobody)
        for count in (5, 120):
            watched = watch(folder / str(count), make_study(seed=3), make_images(count, seed=count))
            ledger, (reply,) = watched.site.open_ledger(), watched.replies
            assert ledger is not None
            assert reply.ledger_head == ledger.head()
            for entry in ledger.entries():  # the head is a hash of these, so they are sent in a way
                assert entry.content.keys() - {"kind", "created", "versions"} == ENTRY_FIELDS[entry.content["kind"]]
            record = replace(reply, ledger_head="").to_record(watched.weights)
            assert set(record) == {"header", "weights"}
            assert isinstance(record["header"], ConfigRecord)
            assert set(record["header"]) == HEADER
            assert isinstance(record["weights"], ArrayRecord)
            assert set(record["weights"]) == set(initial_weights(watched.site.study))
            sent.append(recorddict_to_proto(record).SerializeToString(deterministic=True))
    assert sent[0] == sent[1]


HEADER = {"site", "phase", "round", "ledger_head"}
ENTRY_FIELDS = {
    "open": {"key", "cohort", "policy"},
    "approve": {"study_id", "plan", "family", "server", "override", "approver", "reason"},
    "reserve": {
        *("study_id", "plan_id", "phase", "round", "steps"),
        *("noise_multiplier", "sample_rate", "clip_norm", "records_per_patient", "replay_key"),
    },
    "settle": {"reservation", "steps"},
}


def run_file_has_no_exact_size(folder: Path) -> None:
    """Invariant 3: what a study says in public of a hospital's size is rounded."""
    sizes = (123, 123, 123)
    images = Records(
        {PIXELS: torch.zeros(sum(sizes), 1, 8, 8, dtype=torch.uint8)}, torch.zeros(sum(sizes), dtype=torch.int64)
    )
    scenario = make_scenario().model_copy(update={"sites": make_scenario().sites.model_copy(update={"count": 3})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(silogan.simulations.prepare, "read", lambda _: DataSet(SCHEMA, images, images))
        study = prepare(scenario, folder)
    text = (folder / RUN_FILE).read_text(encoding="utf-8")
    assert [site.declared_size for site in study.sites] == [120, 120, 120]
    assert re.search(r"\b(123|369)\b", text) is None


def charge_precedes_data(folder: Path) -> None:
    """Invariant 4: the whole round is on the disk before the data is read, and is not lowered before it is over."""
    watched = watch(folder, make_study(steps=3), make_images(43), rounds=2)
    done = [("reserve", 3), ("settle", 3)]
    assert watched.ledger_when_reading == [[("reserve", 3)], [*done, ("reserve", 3)]]
    assert watched.ledger_when_training == [[("reserve", 3)]] * 3 + [[*done, ("reserve", 3)]] * 3
    assert entries_on_disk(watched.site.ledger_path) == done * 2


def budget_holds_over_rounds(folder: Path) -> None:
    """Invariant 4: ε composes over the rounds; the round that would pass the budget is refused, its data unread."""
    study = make_study(epsilon=4.0)
    assert (
        (study.plan.epsilon_after("training", 2) or 0)
        < study.plan.epsilon
        < (study.plan.epsilon_after("training", 3) or 0)
    )
    watched = watch(folder / "two", study, make_images(43), rounds=2)
    assert entries_on_disk(watched.site.ledger_path) == [("reserve", 3), ("settle", 3)] * 2
    ask = Instruction(study.study_id, study.plan.plan_id, "training", 3)
    reads = len(watched.ledger_when_reading)
    try:
        run_round(watched.site, ask, initial_weights(study))
    except PrivacyRefusal:
        assert len(watched.ledger_when_reading) == reads
    else:
        raise AssertionError("a round beyond the budget was not refused")


def two_accountants_agree(folder: Path) -> None:
    """Invariant 6: Google's accountant finds the ledger's ε in its raw entries, within 1 %."""
    watched = watch(folder, make_study(), make_images(43), rounds=3)
    ledger = watched.site.open_ledger()
    assert ledger is not None
    pld, rdp = independent_epsilons(watched.site.ledger_path, watched.site.study.plan.delta)
    assert abs(ledger.epsilon() / pld - 1) < 0.01
    assert ledger.epsilon() <= rdp


def independent_epsilons(path: Path, delta: float) -> tuple[float, float]:
    """ε by dp-accounting from a ledger's raw entries: its PLD and its RDP accountant."""
    db = sqlite3.connect(path)
    bodies = [json.loads(body) for (body,) in db.execute("SELECT body FROM entries ORDER BY seq")]
    db.close()
    settled = {body["reservation"]: body["steps"] for body in bodies if body["kind"] == "settle"}
    accountants = (PLDAccountant(value_discretization_interval=1e-3), RdpAccountant(orders=range(2, 64)))
    for number, body in enumerate(bodies, start=1):
        if body["kind"] != "reserve":
            continue
        step = dp_accounting.PoissonSampledDpEvent(
            body["sample_rate"], dp_accounting.GaussianDpEvent(body["noise_multiplier"])
        )
        for accountant in accountants:
            accountant.compose(dp_accounting.SelfComposedDpEvent(step, settled.get(number, body["steps"])))
    pld, rdp = (float(accountant.get_epsilon(delta)) for accountant in accountants)
    return pld, rdp


def real_randomness_is_nobodys(folder: Path) -> None:
    """Invariant 7: without a seed, neither sample nor noise is what it was before, whatever torch was seeded with."""
    study = loud_study(steps=10)
    seen: list[Watched] = []
    with torch.random.fork_rng(devices=[]):
        for name in ("first", "second"):
            torch.manual_seed(0)
            seen.append(watch(folder / name, study, make_images(43)))
    assert seen[0].drawn() != seen[1].drawn()
    first, second = (watched.noise() for watched in seen)
    assert abs((first * second).mean()) < 0.3  # eight deviations of 2470 products are 0.16


def seed_is_written_on_everything(folder: Path) -> None:
    """Invariant 7: a seeded run says so in its plan, its file, its generator and its images."""
    folder.mkdir()
    study = make_study(seed=3)
    study.save(folder)
    save_generator(study, fresh_generator(study), folder / GENERATOR_FILE)
    assert SEEDED in study.plan.marks()
    assert yaml.safe_load((folder / RUN_FILE).read_text(encoding="utf-8"))["plan"]["seeded"] is True
    drawn = generate(folder, count=2, out=folder / "out", file_format="png", labels=None, seed=None)
    assert SEEDED in drawn.marks
    pictures = list((folder / "out").rglob("*.png"))
    assert len(pictures) == 2
    assert all(SEEDED.encode() in picture.read_bytes() for picture in pictures)
    assert not make_study().plan.marks()


def unprotected_run_releases_nothing(folder: Path) -> None:
    """Invariant 8: a run without privacy is marked so, and `generate` refuses it."""
    folder.mkdir()
    study = make_study(enabled=False)
    study.save(folder)
    save_generator(study, fresh_generator(study), folder / GENERATOR_FILE)
    assert NO_PRIVACY in study.plan.marks()
    assert NO_PRIVACY.encode() in (folder / GENERATOR_FILE).read_bytes()
    assert yaml.safe_load((folder / RUN_FILE).read_text(encoding="utf-8"))["plan"]["private"] is False
    try:
        generate(folder, count=2, out=folder / "out", file_format="png", labels=None, seed=None)
    except PrivacyRefusal:
        assert not (folder / "out").exists()
    else:
        raise AssertionError("images were drawn from a generator that is not private")


def fresh_generator(study: Study) -> Weights:
    return generator_weights(initial_weights(study))


# --- the ways to break the product -----------------------------------------------------------------------------------


def wrap(patch: pytest.MonkeyPatch, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Replaces `owner.name` by `wrapper(original, ...)`."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **options: wrapper(original, *args, **options))


def released(patch: pytest.MonkeyPatch, changed: Callable[[float, float], float]) -> None:
    """Lets sums be released with another σ, computed from σ and C."""

    def release(original: Any, total: Tensor, clip: float, sigma: float, randomness: Randomness) -> Tensor:
        return original(total, clip, changed(sigma, clip), randomness)

    wrap(patch, silogan.client.mechanism.patients, "release", release)


def noise_off(patch: pytest.MonkeyPatch) -> None:
    released(patch, lambda _sigma, _clip: 0.0)


def noise_halved(patch: pytest.MonkeyPatch) -> None:
    released(patch, lambda sigma, _clip: sigma / 2)


def noise_without_clip_norm(patch: pytest.MonkeyPatch) -> None:
    released(patch, lambda sigma, clip: sigma / clip)


def noise_repeated(patch: pytest.MonkeyPatch) -> None:
    vector: dict[int, Tensor] = {}

    def gaussian(original: Any, randomness: Randomness, size: int, scale: float) -> Tensor:
        return vector.setdefault(size, original(randomness, size, scale)).clone()

    wrap(patch, silogan.client.mechanism.noisy_sum, "rounded_gaussian", gaussian)


def noise_on_some_layers(patch: pytest.MonkeyPatch) -> None:
    def release(original: Any, total: Tensor, *terms: Any) -> Tensor:
        return torch.cat((original(total, *terms)[:-2], total[-2:]))

    wrap(patch, silogan.client.mechanism.patients, "release", release)


def add_weighted(patch: pytest.MonkeyPatch, factors: Callable[[float, list[Tensor]], list[Tensor]]) -> None:
    """Lets each parameter's contribution be weighted by its own factors [N], found from C and all squared norms."""

    def add(
        self: BookKeepingModule, parts: list[Contribution], clip_norm: float, counts: Tensor | None, _: bool
    ) -> None:
        chosen = factors(clip_norm, [part.squared for part in parts])
        for part, values in zip(parts, chosen, strict=True):
            dropped = torch.zeros_like(values, dtype=torch.bool) if counts is None else ~counts
            self._sums[part.parameter] += part.weighted_sum(Factors(values.float(), dropped))

    patch.setattr(BookKeepingModule, "_add", add)


def clipping_off(patch: pytest.MonkeyPatch) -> None:
    add_weighted(patch, lambda _, squared: [torch.ones_like(part) for part in squared])


def clipping_by_layer(patch: pytest.MonkeyPatch) -> None:
    add_weighted(patch, lambda clip, squared: [(clip / part.sqrt()).clamp(max=1) for part in squared])


def clipping_of_the_batch(patch: pytest.MonkeyPatch) -> None:
    def add(original: Any, self: BookKeepingModule, parts: list[Contribution], clip_norm: float, *how: Any) -> None:
        before, self._sums = self._sums, self._zeros()
        original(self, parts, float("inf"), *how)
        factor = min(1.0, clip_norm / float(torch.cat([total.flatten() for total in self._sums.values()]).norm()))
        self._sums = {parameter: before[parameter] + factor * total for parameter, total in self._sums.items()}

    wrap(patch, BookKeepingModule, "_add", add)


def clipping_to_twice_the_norm(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch,
        BookKeepingModule,
        "_add",
        lambda original, self, parts, clip, *how: original(self, parts, 2 * clip, *how),
    )


def clipping_without_the_first_layer(patch: pytest.MonkeyPatch) -> None:
    add_weighted(
        patch, lambda clip, squared: [(clip / torch.stack(squared[2:]).sum(dim=0).sqrt()).clamp(max=1)] * len(squared)
    )


def when_drawn(patch: pytest.MonkeyPatch, then: Callable[[int], None]) -> None:
    """Calls `then` with the number of units that were drawn."""

    def sample(original: Any, self: Units, rate: float, randomness: Randomness) -> Bags:
        bags = original(self, rate, randomness)
        then(len(bags.positions))
        return bags

    wrap(patch, Units, "sample", sample)


def divisor_realised(patch: pytest.MonkeyPatch) -> None:
    steps: list[PrivateStep] = []

    def init(original: Any, self: PrivateStep, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        steps.append(self)

    wrap(patch, PrivateStep, "__init__", init)
    when_drawn(patch, lambda drawn: setattr(steps[-1], "_expected_batch", max(1, drawn)))


def divisor_from_the_data(patch: pytest.MonkeyPatch) -> None:
    def init(original: Any, self: Any, network: Any, adam: Any, patients: Patients, **options: Any) -> None:
        drawn = patients._terms.sample_rate * len(patients._labels)
        original(self, network, adam, patients, **{**options, "expected_batch": drawn})

    wrap(patch, PrivateStep, "__init__", init)


def batches_shuffled(patch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []

    def poisson_sample(self: Randomness, population: int, rate: float) -> Tensor:
        if not waiting:
            waiting.extend(torch.randperm(population, generator=torch.Generator().manual_seed(0)).tolist())
        chosen = [waiting.pop() for _ in range(min(len(waiting), round(rate * population)))]
        return torch.tensor(sorted(chosen))

    patch.setattr(Randomness, "poisson_sample", poisson_sample)


def batches_of_fixed_size(patch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)

    def poisson_sample(self: Randomness, population: int, rate: float) -> Tensor:
        return torch.randperm(population, generator=rng)[: round(rate * population)].sort().values

    patch.setattr(Randomness, "poisson_sample", poisson_sample)


def batches_too_large(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, Randomness, "poisson_sample", lambda original, self, n, rate: original(self, n, 1.4 * rate))


def batches_repeated(patch: pytest.MonkeyPatch) -> None:
    def poisson_sample(original: Any, self: Any, population: int, rate: float) -> Tensor:
        if not hasattr(self, "kept"):
            self.kept = original(self, population, rate)
        return self.kept

    wrap(patch, Randomness, "poisson_sample", poisson_sample)


class _NobodyDrawn(Exception):  # noqa: N818
    pass


def empty_batch_skipped(patch: pytest.MonkeyPatch) -> None:
    def stop_if_nobody(drawn: int) -> None:
        if not drawn:
            raise _NobodyDrawn

    def discriminator_step(original: Any, self: SiteTrainer) -> None:
        with suppress(_NobodyDrawn):
            original(self)

    when_drawn(patch, stop_if_nobody)
    wrap(patch, SiteTrainer, "_discriminator_step", discriminator_step)


def empty_batch_without_noise(patch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    when_drawn(patch, drawn.append)
    released(patch, lambda sigma, _clip: sigma if drawn[-1] else 0.0)


def images_standardised(patch: pytest.MonkeyPatch) -> None:
    def standardise(_schema: ImageSchema, stored: Stored) -> Tensor:
        values = stored[PIXELS].float()
        return (values - values.mean()) / (values.std() + 1e-6)

    patch.setattr(ImageSchema, "encode", standardise)


def header_says(patch: pytest.MonkeyPatch, figure: Callable[[SiteTrainer], dict[str, Any]]) -> None:
    """Sends a figure of the trainer's along in the header."""
    figures: dict[str, Any] = {}

    def run(original: Any, self: SiteTrainer, *args: Any) -> None:
        original(self, *args)
        figures.update(figure(self))

    def to_record(original: Any, self: Reply, weights: Weights) -> RecordDict:
        record = original(self, weights)
        record["header"].update(figures)
        return record

    wrap(patch, SiteTrainer, "run", run)
    wrap(patch, Reply, "to_record", to_record)


def behind_the_door(trainer: SiteTrainer) -> tuple[Tensor, Tensor]:
    """A trainer's real images float[N, 1, 8, 8] in [-1, 1], and their labels."""
    step: Any = trainer._step
    return step._patients._records[PIXELS].float() / 127.5 - 1, step._patients._labels


def accuracy_on_real_images_sent(patch: pytest.MonkeyPatch) -> None:
    @torch.no_grad()
    def accuracy(trainer: SiteTrainer) -> dict[str, Any]:
        return {"fake_accuracy": float(trainer._discriminator(*behind_the_door(trainer)).sigmoid().mean())}

    header_says(patch, accuracy)


def exact_count_sent(patch: pytest.MonkeyPatch) -> None:
    header_says(patch, lambda trainer: {"round": len(behind_the_door(trainer)[0])})


def label_histogram_sent(patch: pytest.MonkeyPatch) -> None:
    def run(original: Any, self: SiteTrainer, *args: Any) -> None:
        original(self, *args)
        histogram = torch.bincount(behind_the_door(self)[1], minlength=2).float()
        self._discriminator.register_buffer("histogram", histogram)

    wrap(patch, SiteTrainer, "run", run)


def statistics_hidden_in_the_weights(patch: pytest.MonkeyPatch) -> None:
    def run(original: Any, self: SiteTrainer, *args: Any) -> None:
        original(self, *args)
        with torch.no_grad():
            next(self._generator.parameters()).flatten()[0] += behind_the_door(self)[0].mean()

    wrap(patch, SiteTrainer, "run", run)


def loss_sent(patch: pytest.MonkeyPatch) -> None:
    def to_record(original: Any, self: Reply, weights: Weights) -> RecordDict:
        record = original(self, weights)
        record["header"]["real_loss"] = 0.693
        return record

    wrap(patch, Reply, "to_record", to_record)


def count_in_the_ledger(patch: pytest.MonkeyPatch) -> None:
    def append(original: Any, db: Any, entries: Any, body: dict[str, Any]) -> int:
        return original(db, entries, {**body, "patients": 43})

    wrap(patch, silogan.client.ledger.ledger, "_append", append)


def generator_sees_real_images(patch: pytest.MonkeyPatch) -> None:
    def generator_step(original: Any, self: SiteTrainer) -> None:
        original(self)
        with torch.no_grad():  # towards the mean of the real images
            list(self._generator.parameters())[-1].add_(behind_the_door(self)[0].mean() / 2)

    wrap(patch, SiteTrainer, "_generator_step", generator_step)


def exact_size_declared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(silogan.simulations.prepare, "declared_size", lambda size: size)


def nothing_reserved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "reserve", lambda *_: 1)
    patch.setattr(Ledger, "settle", lambda self, *_: self.head())


def reserved_too_little(patch: pytest.MonkeyPatch) -> None:
    """By software that writes less than what was agreed to: the ledger itself takes no such charge."""
    append = silogan.client.ledger.ledger._append

    def one_step(book: Any, kind: str, body: dict[str, Any]) -> Any:
        return append(book, kind, {**body, "steps": 1} if kind == "reserve" else body)

    patch.setattr(silogan.client.ledger.ledger, "_append", one_step)
    wrap(patch, Ledger, "settle", lambda original, self, reservation, _: original(self, reservation, 1))


def reserved_after_training(patch: pytest.MonkeyPatch) -> None:
    wanted: list[Charge] = []
    reserve = Ledger.reserve

    def settle(original: Any, self: Ledger, reservation: int, steps: int) -> str:
        return original(self, reserve(self, wanted.pop()), steps)

    patch.setattr(Ledger, "reserve", lambda _, charge, *__: wanted.append(charge) or 0)
    wrap(patch, Ledger, "settle", settle)


def settled_before_training(patch: pytest.MonkeyPatch) -> None:
    def reserve(original: Any, self: Ledger, charge: Charge, *_: Any) -> int:
        number = original(self, charge)
        self.settle(number, charge.steps)
        return number

    wrap(patch, Ledger, "reserve", reserve)


def data_read_before_reserving(patch: pytest.MonkeyPatch) -> None:
    def open_ledger(original: Any, self: Site) -> Ledger | None:
        self.read_records()
        return original(self)

    wrap(patch, Site, "open_ledger", open_ledger)


def ledger_restarted(patch: pytest.MonkeyPatch) -> None:
    def fresh(original: Any, self: Site) -> Ledger | None:
        self.ledger_path.unlink(missing_ok=True)
        open_ledgers(self.study, self.ledger_path.parents[1])
        return original(self)

    wrap(patch, Site, "open_ledger", fresh)
    patch.setattr(silogan.client.round, "_missing_history", lambda *_: None)  # or it would be noticed


def rounds_not_composed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(silogan.client.ledger.ledger, "paid_for", lambda *_: [])


def settled_to_nothing(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, Ledger, "settle", lambda original, self, reservation, _: original(self, reservation, 0))


def budget_ignored(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch,
        silogan.client.ledger.ledger,
        "epsilon",
        lambda original, mechanisms, delta: min(3.9, original(mechanisms, delta)),
    )


def epsilon_understated(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch,
        silogan.client.ledger.ledger,
        "epsilon",
        lambda original, mechanisms, delta: 0.95 * original(mechanisms, delta),
    )


def equal_rounds_counted_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(silogan.common.privacy.accounting, "merge", lambda mechanisms: tuple(sorted(set(mechanisms))))


def seeded_without_a_seed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Randomness, "secure", lambda: Randomness(bytes(range(32))))


def seeded_by_torch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Randomness, "bits", lambda _, size, width: torch.randint(2 ** min(width, 62), (size,)))


def noise_from_torch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        silogan.client.mechanism.noisy_sum,
        "rounded_gaussian",
        lambda _, size, scale: torch.randn(size, dtype=torch.float64).mul_(scale).round_(),
    )


def key_constant(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(silogan.client.mechanism.randomness.os, "urandom", bytes)


def marks_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PrivacyPlan, "marks", lambda _: ())


def marks_not_heeded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(silogan.server.release.generator, "NO_PRIVACY", "not this mark")


class Case(NamedTuple):
    """A check, and a way to break the product that it must notice."""

    check: Check
    broken: Break


CASES = [
    Case(noise_is_the_plans, noise_off),
    Case(noise_is_the_plans, noise_halved),
    Case(noise_is_the_plans, noise_without_clip_norm),
    Case(noise_is_the_plans, noise_repeated),
    Case(noise_is_the_plans, noise_on_some_layers),
    Case(units_are_clipped, clipping_off),
    Case(units_are_clipped, clipping_by_layer),
    Case(units_are_clipped, clipping_of_the_batch),
    Case(units_are_clipped, clipping_to_twice_the_norm),
    Case(units_are_clipped, clipping_without_the_first_layer),
    Case(divisor_is_public, divisor_realised),
    Case(divisor_is_public, divisor_from_the_data),
    Case(sampling_is_poisson, batches_shuffled),
    Case(sampling_is_poisson, batches_of_fixed_size),
    Case(sampling_is_poisson, batches_too_large),
    Case(sampling_is_poisson, batches_repeated),
    Case(empty_batch_is_a_step, empty_batch_skipped),
    Case(empty_batch_is_a_step, empty_batch_without_noise),
    Case(images_are_scaled_by_constants, images_standardised),
    Case(only_private_results_leave, accuracy_on_real_images_sent),
    Case(only_private_results_leave, exact_count_sent),
    Case(only_private_results_leave, label_histogram_sent),
    Case(only_private_results_leave, statistics_hidden_in_the_weights),
    Case(only_private_results_leave, loss_sent),
    Case(only_private_results_leave, count_in_the_ledger),
    Case(only_private_results_leave, generator_sees_real_images),
    Case(run_file_has_no_exact_size, exact_size_declared),
    Case(charge_precedes_data, nothing_reserved),
    Case(charge_precedes_data, reserved_too_little),
    Case(charge_precedes_data, reserved_after_training),
    Case(charge_precedes_data, settled_before_training),
    Case(charge_precedes_data, data_read_before_reserving),
    Case(charge_precedes_data, ledger_restarted),
    Case(budget_holds_over_rounds, ledger_restarted),
    Case(budget_holds_over_rounds, rounds_not_composed),
    Case(budget_holds_over_rounds, settled_to_nothing),
    Case(budget_holds_over_rounds, budget_ignored),
    Case(two_accountants_agree, epsilon_understated),
    Case(two_accountants_agree, equal_rounds_counted_once),
    Case(two_accountants_agree, rounds_not_composed),
    Case(real_randomness_is_nobodys, seeded_without_a_seed),
    Case(real_randomness_is_nobodys, seeded_by_torch),
    Case(real_randomness_is_nobodys, noise_from_torch),
    Case(real_randomness_is_nobodys, key_constant),
    Case(seed_is_written_on_everything, marks_left_out),
    Case(unprotected_run_releases_nothing, marks_left_out),
    Case(unprotected_run_releases_nothing, marks_not_heeded),
]

_passed: set[Check] = set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.check.__name__}-{case.broken.__name__}")
def test_invariant_holds_and_its_check_notices_when_it_is_broken(case: Case, tmp_path: Path) -> None:
    if case.check not in _passed:  # once is enough: the product is the same for every way to break it
        case.check(tmp_path / "intact")
        _passed.add(case.check)
    with pytest.MonkeyPatch.context() as patch:
        case.broken(patch)
        with pytest.raises((AssertionError, VerificationError)):  # the latter where the ledger itself notices
            case.check(tmp_path / "broken")


@pytest.mark.slow
def test_reported_epsilon_of_a_run_is_found_again_in_its_ledgers(tmp_path: Path) -> None:
    """From the command's own report down to the raw entries of every site."""
    scenario = make_scenario(seed=0, steps=3)
    report = simulate(scenario, tmp_path / "run", workers=2)
    assert report["private"]
    assert report["seeded"]
    assert report["unit"] == "record"
    written = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert len(written["sites"]) == 4
    for site in written["sites"]:
        assert (site["steps"], site["unit"]) == (12, "record")
        pld, rdp = independent_epsilons(tmp_path / "run" / "ledgers" / f"{site['name']}.sqlite", site["delta"])
        assert abs(site["epsilon"] / pld - 1) < 0.01
        assert site["epsilon"] <= min(rdp, site["epsilon_budget"])
