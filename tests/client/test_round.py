import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import silogan.client.round
import silogan.common.models.networks
from silogan.client.data import Records
from silogan.client.ledger.ledger import Ledger
from silogan.client.mechanism import Randomness
from silogan.client.round import Site, run_round
from silogan.client.state import SiteState
from silogan.client.training.trainer import SiteTrainer
from silogan.common.errors import (
    Code,
    ConfigError,
    DataError,
    FederationError,
    PrivacyRefusal,
    SiloganError,
    VerificationError,
)
from silogan.common.modality.image import PIXELS, to_unit_range
from silogan.common.models.networks import GAN, build
from silogan.common.models.weights import weights_of
from silogan.common.privacy.statistics import Moments
from silogan.common.wire.messages import STATISTICS, Instruction, Reply, Weights
from silogan.common.wire.study import Study
from tests.client.steps import noise_off
from tests.plans import phase_and_round, with_phase

MakeStudy = Callable[..., Study]
MakeSite = Callable[..., Site]
MakeWeights = Callable[..., Weights]

WARM: dict[str, Any] = {"warm_start": {"noise_multiplier": 2.0, "frequencies": 4, "steps": 2}}


def ask(study: Study, number: int = 1) -> Instruction:
    return Instruction(study.study_id, study.plan.plan_id, *phase_and_round(number))


def fresh(weights: Weights) -> Weights:
    """A copy, as it comes off the wire: a round trains the tensors that it is given."""
    return {name: tensor.clone() for name, tensor in weights.items()}


def ledger_of(site: Site) -> Ledger:
    ledger = site.open_ledger()
    assert ledger is not None
    return ledger


def kinds(site: Site) -> list[str]:
    """What was done since the ledger was opened and the plan approved."""
    opening, approval, *others = [entry.content["kind"] for entry in ledger_of(site).entries()]
    assert (opening, approval) == ("open", "approve")
    return others


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def never_read() -> Records:
    raise AssertionError("the data was read")


# --- a round ---------------------------------------------------------------------------------------------------------


def test_order_of_a_round(
    make_study: MakeStudy,
    make_site: MakeSite,
    make_weights: MakeWeights,
    images: Records,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    def spy(owner: type, name: str, event: str) -> None:
        original = getattr(owner, name)

        def recorded(self: Any, *args: Any, **options: Any) -> Any:
            result = original(self, *args, **options)
            events.append(event)  # when it is done
            return result

        monkeypatch.setattr(owner, name, recorded)

    spy(Ledger, "reserve", "reserve")
    spy(SiteTrainer, "_discriminator_step", "private step")
    spy(SiteTrainer, "run", "trained")
    spy(Ledger, "settle", "settle")
    spy(SiteState, "save", "save")

    def read() -> Records:
        events.append("read")
        return images

    study = make_study()
    run_round(make_site(study, read=read), ask(study), make_weights(study))
    events.append("reply")
    assert events == ["reserve", "read", *["private step"] * 3, "trained", "save", "settle", "reply"]


def test_reply_says_what_was_done_and_carries_both_networks(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    study = make_study()
    site, weights = make_site(study), make_weights(study)
    before = fresh(weights)
    reply, new = run_round(site, ask(study), weights)
    assert reply == Reply("hospital", "training", 1, ledger_of(site).head())
    assert new.keys() == before.keys()
    for name, tensor in new.items():
        assert tensor.shape == before[name].shape
        assert tensor.isfinite().all()
        assert not tensor.requires_grad
        assert not torch.equal(tensor, before[name]), f"{name} was not trained"


def test_ledger_is_charged_with_the_plan_for_each_round(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    study = make_study()
    site, weights = make_site(study), make_weights(study)
    for number in (1, 2, 3):
        _, weights = run_round(site, ask(study, number), fresh(weights))
    assert kinds(site) == ["reserve", "settle"] * 3
    assert ledger_of(site).mechanisms() == [study.plan.training.mechanism(1)] * 3
    assert ledger_of(site).epsilon() == study.plan.epsilon_after("training", 3)


def test_rounds_go_on_where_the_optimizers_stopped(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[dict[str, Any]] = []
    original = SiteTrainer.load_state

    def load_state(self: SiteTrainer, state: dict[str, Any]) -> None:
        loaded.append(copy.deepcopy(state))
        original(self, state)

    monkeypatch.setattr(SiteTrainer, "load_state", load_state)
    study = make_study()
    site = make_site(study)
    _, weights = run_round(site, ask(study), make_weights(study))
    assert loaded == []
    after = SiteState(site.state_folder).load("training", 1)
    assert after is not None
    run_round(site, ask(study, 2), fresh(weights))
    torch.testing.assert_close(loaded, [after.trainer], rtol=0, atol=0)
    steps = [slot["step"] for slot in loaded[0]["discriminator_optimizer"]["state"].values()]
    assert set(map(float, steps)) == {3.0}


def test_after_a_rollback_the_generator_is_slower_and_the_optimizers_begin_anew(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study()
    rates: list[float] = []
    loads: list[int] = []
    build, load = SiteTrainer.__init__, SiteTrainer.load_state

    def built(self: SiteTrainer, *args: Any, **options: Any) -> None:
        rates.append(options["training"].lr_generator)
        build(self, *args, **options)

    def loaded(self: SiteTrainer, state: dict[str, Any]) -> None:
        loads.append(len(rates))
        load(self, state)

    monkeypatch.setattr(SiteTrainer, "__init__", built)
    monkeypatch.setattr(SiteTrainer, "load_state", loaded)
    site, weights = make_site(study), make_weights(study)
    for number, changes in enumerate(({}, {}, {"lr_factor": 0.25, "fresh": True}, {"lr_factor": 0.25}), start=1):
        run_round(site, replace(ask(study, number), **changes), fresh(weights))
    usual = study.scenario.training.lr_generator
    assert rates == pytest.approx([usual, usual, usual / 4, usual / 4])
    assert loads == [2, 4]


def test_private_divisor_is_computed_from_the_declared_size(make_study: MakeStudy, make_site: MakeSite) -> None:
    assert make_site(make_study()).expected_batch == 0.25 * 40  # there are 43 images


def test_randomness_is_secure_without_a_seed_and_seeded_with_one(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    secure, derived = Randomness.secure, silogan.client.round.derive_key
    monkeypatch.setattr(Randomness, "secure", lambda: used.append("secure") or secure())
    monkeypatch.setattr(silogan.client.round, "derive_key", lambda *purpose: used.append("seeded") or derived(*purpose))
    for folder, seed in (("a", None), ("b", 3)):
        study = make_study(seed=seed, training=WARM)
        site = make_site(study, folder=folder)
        run_round(site, ask(study, 0), {})
        run_round(site, ask(study), make_weights(study))
    assert used == ["secure", "secure", "seeded", "seeded"]


def test_seeded_round_is_the_same_everywhere_and_another_with_another_seed_round_or_site(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    study = make_study()
    weights = make_weights(study)

    def outcome(site: Site, number: int = 1) -> Weights:
        return run_round(site, ask(site.study, number), fresh(weights))[1]

    first = outcome(make_site(study, folder="a"))
    assert same(first, outcome(make_site(study, folder="b")))
    assert not same(first, outcome(make_site(study, folder="c"), 2))
    assert not same(first, outcome(make_site(make_study(seed=4), folder="d")))
    assert not same(first, outcome(replace(make_site(study, folder="e"), name="elsewhere")))


def test_unseeded_round_never_comes_out_the_same(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    study = make_study(seed=None)
    weights = make_weights(study)
    first, second = (run_round(make_site(study, folder=f), ask(study), fresh(weights))[1] for f in "ab")
    # of a single value Adam's first step shows the sign alone, which two rounds may well share
    large = [name for name in first if name.startswith("discriminator.") and first[name].numel() > 8]
    assert large
    assert not any(torch.equal(first[name], second[name]) for name in large)


def test_every_seed_site_and_round_has_streams_of_its_own(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[bytes] = []
    seeds: list[int] = []
    draw, build = Randomness.__init__, SiteTrainer.__init__

    def drawing(self: Randomness, key: bytes) -> None:
        keys.append(key)
        draw(self, key)

    def built(self: SiteTrainer, *args: Any, **options: Any) -> None:
        seeds.append(options["public"].initial_seed())
        build(self, *args, **options)

    monkeypatch.setattr(Randomness, "__init__", drawing)
    monkeypatch.setattr(SiteTrainer, "__init__", built)
    for seed in (3, 4):
        study = make_study(seed=seed, training=WARM)
        for name in ("north", "south"):
            site = replace(make_site(study, folder=f"{name}-{seed}"), name=name)
            run_round(site, ask(study, 0), {})
            for number in (1, 2):
                run_round(site, ask(study, number), make_weights(study))
    assert len(keys) == len(set(keys)) == 12
    assert len(seeds) == len(set(seeds)) == 8
    assert {int.from_bytes(key[:8]) for key in keys}.isdisjoint(seeds)


def test_run_without_privacy_has_no_ledger(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    study = make_study(privacy={"enabled": False})
    site = make_site(study)
    reply, _ = run_round(site, ask(study), make_weights(study))
    assert reply.ledger_head == ""
    assert not site.ledger_path.exists()


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(site: Site, instruction: Instruction, weights: Weights, error: type[SiloganError]) -> SiloganError:
    """The error of a round that must be refused before any charge and before the data is read."""
    unreadable = replace(site, read_records=never_read)
    with pytest.raises(error) as caught:
        run_round(unreadable, instruction, weights)
    assert kinds(site) == (["refuse"] if error is PrivacyRefusal else [])
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "change",
    [{"study_id": "0" * 64}, {"plan_id": "0" * 64}, {"phase": "statistics", "round": 1}, {"round": 5}],
    ids=["study", "plan", "phase", "round beyond"],
)
def test_what_the_site_did_not_agree_to_is_refused(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, change: dict[str, Any]
) -> None:
    study = make_study()
    site, asked = make_site(study), replace(ask(study), **change)
    error = refused(site, asked, make_weights(study), PrivacyRefusal)
    entry = ledger_of(site).entries()[-1].content
    assert (entry["study_id"], entry["plan_id"], entry["round"]) == (asked.study_id, asked.plan_id, asked.round)
    assert entry["reason"] == str(error)


def test_spare_rounds_are_no_rounds_of_their_own(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    """They pay for the repetition of an interrupted one."""
    study = make_study(privacy={"spare_rounds": 1})
    site = replace(make_site(study), read_records=never_read)
    with pytest.raises(PrivacyRefusal, match="round 5 of training: is not among the study's 4"):
        run_round(site, ask(study, 5), make_weights(study))


def change_weights(weights: Weights, change: str) -> Weights:
    changed = fresh(weights)
    name = next(name for name in changed if name.startswith("discriminator."))
    generators = next(name for name in changed if name.startswith("generator."))
    match change:
        case "missing":
            del changed[name]
        case "unknown":
            changed["discriminator.more"] = torch.zeros(1)
        case "of neither network":
            changed["more"] = torch.zeros(1)
        case "shape":
            changed[name] = changed[name][1:]
        case "generator's shape":
            changed[generators] = changed[generators][None]
        case "double":
            changed[name] = changed[name].double()
        case "whole numbers":
            changed[name] = changed[name].to(torch.int32)
        case "nan":
            changed[name].view(-1)[0] = torch.nan
        case "infinite":
            changed[generators].view(-1)[0] = torch.inf
        case _:
            changed = {}
    return changed


@pytest.mark.parametrize(
    "change",
    [
        *("missing", "unknown", "of neither network", "shape", "generator's shape", "double", "whole numbers"),
        *("nan", "infinite", "none at all"),
    ],
)
def test_wrong_weights_are_refused_before_any_charge(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, change: str
) -> None:
    study = make_study()
    weights = change_weights(make_weights(study), change)
    error = refused(make_site(study), ask(study), weights, FederationError)
    assert (error.thing, error.code) == ("incoming weights", Code.MESSAGE)


def test_discriminator_that_mixes_patients_is_refused_before_any_charge(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_batch_norm(*args: Any) -> GAN:
        gan = build(*args)
        gan.discriminator.add_module("norm", nn.BatchNorm2d(2))
        return gan

    study = make_study()
    with torch.random.fork_rng(devices=[]):
        monkeypatch.setattr(silogan.common.models.networks, "build", with_batch_norm)
        weights = weights_of(with_batch_norm(study.scenario.model, study.schema))
        error = refused(make_site(study), ask(study), weights, ConfigError)
        assert "norm" in error.thing


def test_device_that_is_not_there_is_refused_before_any_charge(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    study = make_study(training={"device": "cuda:99"})
    error = refused(make_site(study), ask(study), make_weights(study), ConfigError)
    assert error.thing == "training.device"


def test_spent_budget_is_refused_before_the_data_is_read(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    study = make_study(privacy={"epsilon": 4.0})  # pays for two rounds of four
    assert (study.plan.epsilon_after("training", 2) or 0) < 4.0 < (study.plan.epsilon_after("training", 3) or 0)
    site, weights = make_site(study), make_weights(study)
    for number in (1, 2):
        run_round(site, ask(study, number), fresh(weights))
    with pytest.raises(PrivacyRefusal, match="budget"):
        run_round(replace(site, read_records=never_read), ask(study, 3), fresh(weights))
    assert kinds(site) == ["reserve", "settle"] * 2 + ["refuse"]
    assert ledger_of(site).epsilon() == study.plan.epsilon_after("training", 2)


def test_ledger_of_another_run_on_the_same_patients_counts(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    first, second = make_study(privacy={"epsilon": 4.0}), make_study(privacy={"epsilon": 4.0}, seed=9)
    site = replace(make_site(second), state_folder=make_site(second).state_folder / "second", read_records=never_read)
    for number in (1, 2):
        run_round(make_site(first), ask(first, number), make_weights(first))
    with pytest.raises(PrivacyRefusal, match="budget"):
        run_round(site, ask(second), make_weights(second))


# --- repetitions and interruptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [3, None], ids=["seeded", "unseeded"])
def test_finished_round_is_answered_again_from_the_disk(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, seed: int | None
) -> None:
    study = make_study(seed=seed)
    site, weights = make_site(study), make_weights(study)
    reply, new = run_round(site, ask(study), fresh(weights))
    new = fresh(new)
    run_round(site, ask(study, 2), fresh(new))
    unreadable = replace(site, read_records=never_read)
    for _ in range(2):
        again, replayed = run_round(unreadable, ask(study), fresh(weights))
        assert again == reply
        assert same(replayed, new)
    assert kinds(site) == ["reserve", "settle"] * 2


@pytest.mark.parametrize("seed", [3, None], ids=["seeded", "unseeded"])
def test_same_round_on_other_weights_is_refused(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, seed: int | None
) -> None:
    study = make_study(seed=seed)
    site = make_site(study)
    run_round(site, ask(study), make_weights(study, seed=0))
    with pytest.raises(PrivacyRefusal, match="round 1 of training: was already answered"):
        run_round(replace(site, read_records=never_read), ask(study), make_weights(study, seed=1))
    assert kinds(site) == ["reserve", "settle", "refuse"]


class PowerCut(BaseException):
    """Ends a round at once, wherever it is."""


def cut_after(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    """Lets `owner.name` do its work once more, and then the power fails."""
    original = getattr(owner, name)

    def last(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        raise PowerCut

    monkeypatch.setattr(owner, name, last)


CUTS: list[tuple[type, str]] = [
    (Ledger, "reserve"),
    (SiteTrainer, "__init__"),
    (SiteTrainer, "_discriminator_step"),
    (SiteTrainer, "run"),
    (Ledger, "settle"),
    (SiteState, "save"),
]
after_each_cut = pytest.mark.parametrize(("owner", "name"), CUTS, ids=[f"{o.__name__}.{n}" for o, n in CUTS])


@after_each_cut
def test_interrupted_seeded_round_is_repeated_bit_for_bit_at_no_charge(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, owner: type, name: str
) -> None:
    study = make_study()
    whole, site = make_site(study, folder="whole"), make_site(study, folder="cut")
    first = fresh(run_round(whole, ask(study), make_weights(study))[1])
    _, expected = run_round(whole, ask(study, 2), fresh(first))
    run_round(site, ask(study), make_weights(study))

    with pytest.MonkeyPatch.context() as power:
        cut_after(power, owner, name)
        with pytest.raises(PowerCut):
            run_round(site, ask(study, 2), fresh(first))
    assert ledger_of(site).mechanisms() == [study.plan.training.mechanism(1)] * 2  # charged in full, settled or not
    _, repeated = run_round(site, ask(study, 2), fresh(first))
    assert same(repeated, expected)
    assert kinds(site) == ["reserve", "settle"] * 2
    assert ledger_of(site).epsilon() == study.plan.epsilon_after("training", 2)


@after_each_cut
def test_interrupted_unseeded_round_is_charged_again(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, owner: type, name: str
) -> None:
    study = make_study(seed=None)
    site, weights = make_site(study), make_weights(study)
    with pytest.MonkeyPatch.context() as power:
        cut_after(power, owner, name)
        with pytest.raises(PowerCut):
            run_round(site, ask(study), fresh(weights))
    assert ledger_of(site).mechanisms() == [study.plan.training.mechanism(1)]
    run_round(site, ask(study), fresh(weights))
    finished = (owner, name) in {(SiteState, "save"), (Ledger, "settle")}  # its reply was on the disk
    assert ledger_of(site).mechanisms() == [study.plan.training.mechanism(1)] * (1 if finished else 2)


def test_data_that_cannot_be_read_leaves_the_reservation_charged(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    def read() -> Records:
        raise DataError("images", "are unreadable", "repair them")

    study = make_study()
    site = make_site(study, read=read)
    with pytest.raises(DataError, match="unreadable") as caught:
        run_round(site, ask(study), make_weights(study))
    assert caught.value.code is Code.UNAVAILABLE
    assert kinds(site) == ["reserve"]
    assert ledger_of(site).epsilon() == study.plan.epsilon_after("training", 1)


@pytest.mark.parametrize("number", [1, 2])
def test_damaged_state_is_refused_before_any_charge(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, number: int
) -> None:
    study = make_study(seed=None)
    site, weights = make_site(study), make_weights(study)
    run_round(site, ask(study), fresh(weights))
    (file,) = site.state_folder.glob("*.pt")
    file.write_bytes(b"garbage")
    with pytest.raises(DataError, match="site state of round 1 of training"):
        run_round(replace(site, read_records=never_read), ask(study, number), fresh(weights))
    assert kinds(site) == ["reserve", "settle"]


# --- an older copy of the ledger -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen_by", ["server", "site"])
def test_ledger_restored_from_an_older_copy_is_noticed(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, seen_by: str
) -> None:
    study = make_study()
    site, weights = make_site(study), make_weights(study)
    run_round(site, ask(study, 1), fresh(weights))
    backup = site.ledger_path.read_bytes()
    reply, _ = run_round(site, ask(study, 2), fresh(weights))
    site.ledger_path.write_bytes(backup)
    if seen_by == "server":
        shutil.rmtree(site.state_folder)
    asked = replace(ask(study, 3), known_head=reply.ledger_head if seen_by == "server" else "")
    with pytest.raises(VerificationError, match="older copy"):
        run_round(replace(site, read_records=never_read), asked, fresh(weights))
    assert kinds(site) == ["reserve", "settle", "refuse"]


def test_head_that_the_server_knows_may_be_an_older_one(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    """As after a round whose reply was lost."""
    study = make_study()
    site, weights = make_site(study), make_weights(study)
    first, _ = run_round(site, ask(study, 1), fresh(weights))
    run_round(site, ask(study, 2), fresh(weights))
    reply, _ = run_round(site, replace(ask(study, 3), known_head=first.ledger_head), fresh(weights))
    assert reply.round == 3
    assert kinds(site) == ["reserve", "settle"] * 3


# --- the warm start --------------------------------------------------------------------------------------------------


def test_statistics_are_charged_before_the_data_is_read_and_composed_with_the_rounds(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, images: Records
) -> None:
    study = make_study(training=WARM)
    charged: list[int] = []

    def read() -> Records:
        charged.append(len(ledger_of(site).mechanisms()))
        return images

    site = make_site(study, read=read)
    reply, released = run_round(site, ask(study, 0), {})
    assert charged == [1]
    assert (reply.phase, reply.round, reply.ledger_head) == (STATISTICS, 1, ledger_of(site).head())
    assert released.keys() == {STATISTICS}
    assert released[STATISTICS].dtype == torch.float32
    assert ledger_of(site).epsilon() == study.plan.epsilon_after("training", 0)
    run_round(site, ask(study, 1), make_weights(study))
    assert ledger_of(site).mechanisms() == study.plan.mechanisms("training", 1)
    assert ledger_of(site).epsilon() == study.plan.epsilon_after("training", 1)


def test_statistics_that_are_asked_for_again_are_sent_again_and_not_charged(
    make_study: MakeStudy, make_site: MakeSite
) -> None:
    for seed in (3, None):
        study = make_study(seed=seed, training=WARM)
        site = make_site(study)
        first, again = (
            run_round(site, ask(study, 0), {}),
            run_round(replace(site, read_records=never_read), ask(study, 0), {}),
        )
        assert again[0] == first[0]
        assert same(again[1], first[1])
        assert kinds(site) == ["reserve", "settle"]
        shutil.rmtree(site.state_folder)
        site.ledger_path.unlink()


def test_statistics_are_those_of_the_images_and_noise(
    make_study: MakeStudy, make_site: MakeSite, images: Records
) -> None:
    study = make_study(seed=None, training=WARM)
    settings = study.scenario.training.warm_start
    assert settings is not None
    _, released = run_round(make_site(study), ask(study, 0), {})
    moments = Moments(study.schema, settings)
    rows = moments.rows(to_unit_range(images.stored[PIXELS]), images.labels)
    clean = torch.zeros(moments.slots, moments.width).double().index_add_(0, images.labels, rows)
    noise = released[STATISTICS] - clean.flatten()
    assert float(noise.std()) == pytest.approx(2.0, rel=0.15)
    assert float(noise.abs().max()) > 0.1


def test_weights_before_the_first_round_are_refused(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    study = make_study(training=WARM)
    error = refused(make_site(study), ask(study, 0), make_weights(study), FederationError)
    assert error.code is Code.MESSAGE


@pytest.mark.parametrize("kind", [DataError, PrivacyRefusal, VerificationError])
def test_error_where_the_data_is_at_hand_has_one_code_whatever_it_is(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, kind: type[SiloganError]
) -> None:
    def read() -> Records:
        raise kind("class 'malignant'", "has no images", "add some", code=Code.BUDGET)

    study = make_study()
    with pytest.raises(kind, match="malignant") as caught:
        run_round(make_site(study, read=read), ask(study), make_weights(study))
    assert caught.value.code is Code.UNAVAILABLE


def test_plan_without_a_warm_start_has_no_round_before_the_first(make_study: MakeStudy, make_site: MakeSite) -> None:
    study = make_study()
    with pytest.raises(PrivacyRefusal, match="round 1 of statistics: is not among the study's 0"):
        run_round(make_site(study, read=never_read), ask(study, 0), {})


@pytest.mark.parametrize("number", [0, 1])
def test_images_without_patients_are_refused_where_the_plan_protects_patients(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights, number: int
) -> None:
    study = make_study(training=WARM)
    study = replace(study, plan=with_phase(study.plan, unit="patient", records_per_patient=2))
    weights = make_weights(study) if number else {}
    with pytest.raises(DataError, match="records: name no patients"):
        run_round(make_site(study), ask(study, number), weights)


def test_statistics_are_the_mean_of_at_most_k_records_of_each_patient(
    make_study: MakeStudy, make_site: MakeSite, images: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two patients with many images each: what a class has of them is their parts, whose count adds up to two."""
    noise_off(monkeypatch)
    study = make_study(training=WARM)
    settings = study.scenario.training.warm_start
    assert settings is not None
    study = replace(study, plan=with_phase(study.plan, unit="patient", records_per_patient=3))
    own = replace(images, patients=torch.arange(len(images)) % 2)
    _, released = run_round(make_site(study, read=lambda: own), ask(study, 0), {})
    found = Moments(study.schema, settings).of_classes(released[STATISTICS])
    counts = [moment.count for moment in found]
    assert sum(counts) == pytest.approx(2, abs=0.01)
    assert all(abs(3 * count - round(3 * count)) < 0.01 for count in counts), "thirds: three records of each"


def test_generator_that_the_server_trains_comes_back_as_it_went(
    make_study: MakeStudy, make_site: MakeSite, make_weights: MakeWeights
) -> None:
    study = make_study(training={"server_generator_steps": 4})
    weights = make_weights(study)
    before = fresh(weights)
    _, new = run_round(make_site(study), ask(study), weights)
    assert {name for name in new if torch.equal(new[name], before[name])} == {
        name for name in new if name.startswith("generator.")
    }
