"""A hospital's folder: register, plan, approve, take part, and say what it cost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from silogan.client.data import read
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.policy import template
from silogan.client.node.explanation import explain
from silogan.client.node.hospital import site_of
from silogan.client.node.node import Node, read_proposal
from silogan.client.round import run_round
from silogan.common.errors import ConfigError, DataError, PrivacyRefusal
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Digits, MedMnist
from silogan.common.modality.table_options import BreastCancer, Table
from silogan.common.pages.words import epsilon as in_words
from silogan.common.privacy.accounting import epsilon_filtered, filter_order
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.messages import Instruction, Weights
from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.simulations.rehearsal.shares import write_share
from tests.plans import phase_and_round, with_phase

SERVER = "coordinator"
DIGITS = ImageSchema(8, 1, tuple("0123456789"))
MakeWeights = Callable[..., Weights]


def allow(folder: Path, **changes: Any) -> None:
    """The hospital edits its policy."""
    path = folder / "policy.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(values | changes), encoding="utf-8")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A hospital with scikit-learn's digits, whose policy allows the study."""
    node = Node.create(tmp_path / "node", template(epsilon=8.0, delta=1e-4, unit="record"))
    allow(node.folder, servers=[SERVER])
    node.add_cohort(name="digits", site="bergen", data=Digits(), declared_size=1000)
    return node


@pytest.fixture
def study(make_scenario: Callable[..., Any]) -> Study:
    return study_of(make_scenario)


def study_of(make_scenario: Callable[..., Any], seed: int | None = None, **sections: dict[str, Any]) -> Study:
    scenario = make_scenario(seed=seed, **sections)
    return Study(scenario, DIGITS, make_plan(scenario), (SiteDeclaration("bergen", 1000), SiteDeclaration("oslo", 700)))


def ask(study: Study, number: int = 1) -> Instruction:
    return Instruction(study.study_id, study.plan.plan_id, *phase_and_round(number))


def kinds(node: Node) -> list[str]:
    return [entry.content["kind"] for entry in node.ledger(node.register.get(None)).entries()]


def test_approved_study_is_run_and_charged(node: Node, study: Study, make_weights: MakeWeights) -> None:
    cohort = node.register.get(None)
    node.approve(study, cohort, server=SERVER)
    reply, _ = run_round(site_of(node, study.study_id, cohort), ask(study), make_weights(study))
    assert kinds(node) == ["open", "approve", "reserve", "settle"]
    assert reply.ledger_head == node.ledger(cohort).head()
    (statement,) = node.statements().values()
    (run,) = statement.runs
    assert (run.study_id, run.asked_by, run.steps_settled, run.steps_reserved) == (study.study_id, SERVER, 3, 0)
    assert statement.epsilon_charged == statement.epsilon_settled == study.plan.epsilon_after("training", 1)
    assert statement.epsilon_left == 8.0 - statement.epsilon_charged


def test_study_that_was_not_approved_cannot_be_run(node: Node, study: Study) -> None:
    with pytest.raises(PrivacyRefusal, match="not approved"):
        site_of(node, study.study_id, node.register.get(None))


def test_plan_and_approve_agree_of_a_study_that_was_approved_under_another_policy(node: Node, study: Study) -> None:
    cohort = node.register.get(None)
    node.approve(study, cohort, server=SERVER)
    allow(node.folder, servers=[])
    refusal = node.refusal(study, cohort, server=SERVER)
    assert refusal is not None
    with pytest.raises(PrivacyRefusal) as raised:
        node.approve(study, cohort, server=SERVER)
    assert str(raised.value) == str(refusal)
    allow(node.folder, servers=[SERVER])
    assert node.refusal(study, cohort, server=SERVER) is None
    assert node.approve(study, cohort, server=SERVER)


def test_cost_is_what_the_ledger_will_say(node: Node, study: Study, make_weights: MakeWeights) -> None:
    cohort, plan = node.register.get(None), study.plan
    first = node.cost(study, cohort, SERVER)
    assert (first.epsilon_now, first.epsilon_budget, first.objections) == (0.0, 8.0, ())
    assert (first.epsilon_after_round, first.epsilon_after) == (plan.epsilon_after("training", 1), plan.epsilon_after())
    assert kinds(node) == ["open"]
    node.approve(study, cohort, server=SERVER)
    run_round(site_of(node, study.study_id, cohort), ask(study), make_weights(study))
    assert node.cost(study, cohort, SERVER).epsilon_now == first.epsilon_after_round


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": 3}, "seeded"),
        ({"privacy": {"enabled": False}}, "without privacy"),
        ({"privacy": {"noise_multiplier": 0.3, "epsilon": 90.0}}, "noise_multiplier 0.3 is below 0.4"),
        ({"training": {"sample_rate": 0.3}}, "sample_rate 0.3 is above 0.25"),
        ({"training": {"local_steps": 201}, "privacy": {"noise_multiplier": 9.0}}, "steps_per_round 201"),
    ],
    ids=str,
)
def test_study_that_cannot_be_allowed_says_why(
    node: Node, make_scenario: Callable[..., Any], change: dict[str, Any], problem: str
) -> None:
    study, cohort = study_of(make_scenario, **change), node.register.get(None)
    assert problem in "; ".join(node.cost(study, cohort, SERVER).objections)
    with pytest.raises(PrivacyRefusal, match=problem):
        node.approve(study, cohort, server=SERVER)
    assert kinds(node) == ["open", "refuse"]


def test_study_of_other_images_or_without_this_hospital_is_refused(node: Node, study: Study) -> None:
    cohort = node.register.get(None)
    for other, problem in (
        (replace(study, schema=replace(DIGITS, size=28)), "differ from the cohort's"),
        (replace(study, sites=study.sites[1:]), "roster does not hold 'bergen'"),
        (replace(study, sites=(SiteDeclaration("bergen", 1001),)), "declared size 1000"),
    ):
        with pytest.raises(PrivacyRefusal, match=problem):
            node.approve(other, cohort, server=SERVER)


def test_epsilon_above_20_needs_a_signed_override(node: Node, make_scenario: Callable[..., Any]) -> None:
    allow(node.folder, epsilon=40.0)
    study = study_of(make_scenario, privacy={"epsilon": 60.0, "noise_multiplier": 0.51}, training={"rounds": 20})
    cohort = node.register.get(None)
    for nothing in ("", "  "):
        with pytest.raises(PrivacyRefusal, match="above 20"):
            node.approve(study, cohort, server=SERVER, override=nothing)
    node.approve(study, cohort, server=SERVER, override="phantoms, not patients")
    assert node.ledger(cohort).entries()[-1].content["override"] == "phantoms, not patients"


def test_policy_that_was_tightened_stops_a_study(node: Node, study: Study, make_weights: MakeWeights) -> None:
    cohort = node.register.get(None)
    node.approve(study, cohort, server=SERVER)
    _, weights = run_round(site_of(node, study.study_id, cohort), ask(study), make_weights(study))
    allow(node.folder, servers=[])
    with pytest.raises(PrivacyRefusal, match="'coordinator' is not allowed"):
        run_round(site_of(node, study.study_id, cohort), ask(study, 2), weights)
    assert kinds(node) == ["open", "approve", "reserve", "settle", "policy", "refuse"]


def test_study_that_was_rejected_is_not_run(node: Node, study: Study, make_weights: MakeWeights) -> None:
    cohort = node.register.get(None)
    node.approve(study, cohort, server=SERVER)
    node.reject(study, cohort, "the ethics board withdrew")
    with pytest.raises(PrivacyRefusal, match="not approved"):
        run_round(site_of(node, study.study_id, cohort), ask(study), make_weights(study))
    node.approve(study, cohort, server=SERVER)
    run_round(site_of(node, study.study_id, cohort), ask(study), make_weights(study))


def test_policy_for_patients_refuses_data_that_does_not_know_them(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node", template(epsilon=1.0, delta=1e-5, unit="patient"))
    with pytest.raises(PrivacyRefusal, match="does not say which patient"):
        node.add_cohort(name="digits", site="bergen", data=Digits(), declared_size=10)
    with pytest.raises(ConfigError, match="for simulations"):
        node.add_cohort(name="digits", site="bergen", data=Digits(images_per_patient=5), declared_size=10)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "A", "x" * 65, ".hidden"])
def test_cohort_name_that_is_no_file_name_is_refused(node: Node, name: str) -> None:
    with pytest.raises(ConfigError, match="not a valid name"):
        node.add_cohort(name=name, site="bergen", data=Digits(), declared_size=10)


def test_folder_is_the_owner_s_alone_and_making_it_again_changes_nothing(node: Node) -> None:
    key, policy = (node.folder / "site.key").read_bytes(), (node.folder / "policy.yaml").read_bytes()
    again = Node.create(node.folder, template(epsilon=99.0, delta=0.1, unit="patient"))
    assert (again.folder / "site.key").read_bytes() == key
    assert (again.folder / "policy.yaml").read_bytes() == policy
    assert node.folder.stat().st_mode & 0o077 == 0


def test_folder_that_is_no_node_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"': holds no node; make one with silogan node init"):
        Node(tmp_path)
    (tmp_path / "site.key").touch(mode=0o600)
    with pytest.raises(DataError, match=r"key 'site\.key'"):
        Node(tmp_path)


def test_proposal_must_be_whole(tmp_path: Path, study: Study) -> None:
    study.save(tmp_path)
    path = tmp_path / RUN_FILE
    assert read_proposal(path) == study
    text = path.read_text(encoding="utf-8")
    for changed, problem in (
        (text.replace("clip_norm: 1.0", "clip_norm: 2.0"), "does not match the hash"),
        (
            text.replace("clip_norm: 1.0", "clip_norm: 2.0", 1),
            "plan.training.clip_norm is 1.0, but the scenario gives 2.0",
        ),
        (text.replace("rounds: 4", "rounds: -4"), "training.rounds: input should be greater than or equal to 0"),
        (f"{text}more: 1\n", "has the unknown key 'more'"),
        (text.replace("sites:", "sides:"), "has the unknown key 'sides'"),
        ("x" * 2_000_000, "is longer than 1000000 bytes"),
    ):
        path.write_text(changed, encoding="utf-8")
        with pytest.raises(ConfigError, match=problem) as caught:
            read_proposal(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_proposal(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        *({"noise_multiplier": 2.0}, {"sample_rate": 0.1}, {"clip_norm": 0.5}, {"epsilon": 7.0}, {"delta": 1e-5}),
        *({"steps_per_round": 2}, {"rounds": 3}, {"records_per_patient": 2}),
        *({"seeded": True}, {"private": False}),
    ],
    ids=str,
)
def test_a_plan_that_is_not_the_scenario_s_is_refused_though_it_asks_for_less(
    node: Node, study: Study, change: dict[str, Any]
) -> None:
    cohort, other = node.register.get(None), replace(study, plan=with_phase(study.plan, **change))
    (name,) = change
    where = f"plan.{name}" if hasattr(study.plan, name) else f"plan.training.{name}"
    assert any(f"{where} is" in objection for objection in node.cost(other, cohort, SERVER).objections)
    with pytest.raises(PrivacyRefusal, match=f"{where} is"):
        node.approve(other, cohort, server=SERVER)
    assert kinds(node) == ["open", "refuse"]


def test_a_node_computes_in_one_precision(node: Node, make_scenario: Callable[..., Any]) -> None:
    study = study_of(make_scenario, training={"precision": "bfloat16"})
    with pytest.raises(PrivacyRefusal, match="a node computes in float32"):
        node.approve(study, node.register.get(None), server=SERVER)


# --- rehearsals ------------------------------------------------------------------------------------------------------


@pytest.fixture
def rehearsal(tmp_path: Path) -> Node:
    """A rehearsal node with scikit-learn's digits."""
    node = Node.create(tmp_path / "rehearsal", template(epsilon=8.0, delta=1e-4, unit="record"))
    allow(node.folder, servers=[SERVER])
    node.add_cohort(name="digits", site="bergen", data=Digits(), declared_size=1000, rehearsal=True)
    return node


def test_a_rehearsal_node_takes_seeded_studies_and_no_others(
    rehearsal: Node, study: Study, make_scenario: Callable[..., Any], make_weights: MakeWeights
) -> None:
    cohort, seeded = rehearsal.register.get(None), study_of(make_scenario, seed=3)
    assert cohort.rehearsal
    assert rehearsal.ledger(cohort).entries()[0].content["cohort"]["rehearsal"] is True
    rehearsal.approve(seeded, cohort, server=SERVER)
    run_round(site_of(rehearsal, seeded.study_id, cohort), ask(seeded), make_weights(seeded))
    with pytest.raises(PrivacyRefusal, match="is not seeded, but this is a rehearsal"):
        rehearsal.approve(study, cohort, server=SERVER)
    assert kinds(rehearsal) == ["open", "approve", "reserve", "settle", "refuse"]
    said = dict(explain(seeded, cohort, SERVER, rehearsal.cost(seeded, cohort, SERVER)))
    assert "a rehearsal without patients' data" in said["noise"]


def test_a_node_stays_what_it_was_made(node: Node, rehearsal: Node) -> None:
    for one, other in ((node, True), (rehearsal, False)):
        for name in ("digits", "again"):
            with pytest.raises(PrivacyRefusal, match="rehearsal node, and this cannot change"):
                one.add_cohort(name=name, site="bergen", data=Digits(), declared_size=1000, rehearsal=other)
        assert [cohort.name for cohort in one.register.all()] == ["digits"]


def test_nobody_s_patients_are_in_a_rehearsal(tmp_path: Path) -> None:
    """Whatever the data is called: it is the images that count."""
    (tmp_path / "a").mkdir()
    node = Node.create(tmp_path / "rehearsal", template(epsilon=8.0, delta=1e-4, unit="record"))
    pixels = np.zeros((30, 8, 8), np.uint8)
    pixels[0, 0, 0] = 1
    arrays = {f"{part}_{kind}": values for part in ("train", "test") for kind, values in
              (("images", pixels), ("labels", np.zeros(30, np.uint8)))}  # fmt: skip
    np.savez(tmp_path / "scans.npz", **arrays)
    data = MedMnist(root=tmp_path / "scans.npz", classes=("scan",))
    with pytest.raises(PrivacyRefusal, match="holds records that are not public"):
        node.add_cohort(name="scans", site="bergen", data=data, declared_size=30, rehearsal=True)
    assert node.register.all() == []
    node.add_cohort(name="scans", site="bergen", data=data, declared_size=30)


def test_a_rehearsal_takes_public_rows_from_a_file_and_no_others(tmp_path: Path) -> None:
    public = read(BreastCancer())
    folder = write_share(tmp_path / "share", public, np.arange(50)).parent
    data = Table(root=folder / "share.csv", columns=folder / "columns.yaml", test_fraction=0.0)
    node = Node.create(tmp_path / "rehearsal", template(epsilon=8.0, delta=1e-4, unit="record"))
    rows = (folder / "share.csv").read_text("utf-8")
    node.add_cohort(name="rows", site="bergen", data=data, declared_size=50, rehearsal=True)
    first, other = public.train.stored["mean radius"][:1].tolist()[0], public.train.labels[:1].tolist()[0] ^ 1
    line = rows.splitlines()[1]
    changes = {
        "a value": rows.replace(f"\n{first}", f"\n{first + 1e-9}", 1),
        "a class": rows.replace(line, f"{line.rpartition(',')[0]},{public.schema.classes[other]}", 1),
    }
    for what, text in changes.items():
        assert text != rows, what
        (folder / "share.csv").write_text(text, encoding="utf-8")
        with pytest.raises(PrivacyRefusal, match=r"holds records that are not public.*digits or breast-cancer"):
            node.add_cohort(name="changed", site="bergen", data=data, declared_size=50, rehearsal=True)
        with pytest.raises(PrivacyRefusal, match="holds records that are not public"):
            node.check_cohort(node.register.get("rows"))


def test_plan_is_explained_in_words(node: Node, study: Study) -> None:
    cohort = node.register.get(None)
    said = dict(explain(study, cohort, SERVER, node.cost(study, cohort, SERVER)))
    assert said["hash"] == study.study_id
    assert said["verdict"] == "allowed by the policy"
    assert "σ = 1" in said["training"]
    assert said["ε after all"].startswith(f"{in_words(study.plan.epsilon_after())}, ")
    assert "rounds: 4, each answered once; 0 more if as many are interrupted (spare rounds)" in said["training"]
    assert "at most 12 steps: 4 rounds of 3" in said["training"]
    assert said["ε of this study"].startswith(f"at most {in_words(study.plan.epsilon_after())}, ")
    assert "counted" not in said


def test_the_most_that_a_study_can_cost_is_said_with_its_spare_rounds(
    node: Node, make_scenario: Callable[..., Any]
) -> None:
    cohort = node.register.get(None)
    for epsilon, noise in ((8.0, 4.0), (2.5, 1.0)):  # all rounds are paid for, or not
        privacy = {"spare_rounds": 3, "epsilon": epsilon, "noise_multiplier": noise}
        study = study_of(make_scenario, privacy=privacy, training={"rounds": 4, "local_steps": 1})
        said = dict(explain(study, cohort, SERVER, node.cost(study, cohort, SERVER)))
        assert "rounds: 4, each answered once; 3 more" in said["training"]
        assert "at most 7 steps: 7 rounds of 1" in said["training"]
        most = min(epsilon, study.plan.epsilon_after() or 0)
        assert said["ε of this study"].startswith(f"at most {in_words(most)}, ")


def test_a_second_study_is_explained_as_the_ledger_will_count_it(
    node: Node, make_scenario: Callable[..., Any], make_weights: MakeWeights
) -> None:
    cohort = node.register.get(None)
    first, second = (study_of(make_scenario, data={"test_fraction": part}, privacy={"noise_multiplier": 3.0})
                     for part in (0.2, 0.3))  # fmt: skip
    for study in (first, second):
        node.approve(study, cohort, server=SERVER)
        before = node.cost(study, cohort, SERVER)
        assert before.earlier_studies == (study is second)
        run_round(site_of(node, study.study_id, cohort), ask(study), make_weights(study))
        assert node.cost(study, cohort, SERVER).epsilon_now == before.epsilon_after_round
    ledger, order = node.ledger(cohort), filter_order(8.0, 1e-4)
    assert ledger.epsilon() == epsilon_filtered([second.plan.training.mechanism(2)], 1e-4, order)
    assert before.epsilon_after == epsilon_filtered([second.plan.training.mechanism(1 + 4)], 1e-4, order)
    assert "7% more noise" in dict(explain(second, cohort, SERVER, before))["counted"]


def test_warm_start_is_explained_in_words(node: Node, study: Study, make_scenario: Callable[..., Any]) -> None:
    cohort = node.register.get(None)
    warm = study_of(make_scenario, training={"warm_start": {"noise_multiplier": 2.5, "frequencies": 4}})
    cost = node.cost(warm, cohort, SERVER)
    said = dict(explain(warm, cohort, SERVER, cost))
    assert "averages or covariances" in said["statistics"]
    assert "σ = 2.5" in said["statistics"]
    assert "statistics" not in dict(explain(study, cohort, SERVER, cost))
    assert cost.epsilon_after == warm.plan.epsilon_after() > (study.plan.epsilon_after() or 0)


def test_key_derives_secrets_of_its_own(node: Node, tmp_path: Path) -> None:
    other = SiteKey.create(tmp_path / "other.key")
    secrets = {node.key.derived(b"a"), node.key.derived(b"b"), other.derived(b"a")}
    assert len(secrets) == 3
    assert {len(secret) for secret in secrets} == {32}
    assert node.key.derived(b"a") == SiteKey.load(node.folder / "site.key").derived(b"a")
