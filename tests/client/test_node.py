"""A hospital's folder: register, plan, approve, take part, and say what it cost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.keys import SiteKey
from client.node import Node, read_proposal
from client.policy import template
from client.site import run_round
from client.words import explain
from common.config import Data
from common.errors import ConfigError, DataError, PrivacyRefusal
from common.messages import Instruction, Weights
from common.plan import make_plan
from common.schema import ImageSchema
from common.study import RUN_FILE, SiteDeclaration, Study

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
    node.add_cohort(name="digits", site="bergen", data=Data(), declared_size=1000)
    return node


@pytest.fixture
def study(make_scenario: Callable[..., Any]) -> Study:
    return study_of(make_scenario)


def study_of(make_scenario: Callable[..., Any], seed: int | None = None, **sections: dict[str, Any]) -> Study:
    scenario = make_scenario(seed=seed, **sections)
    return Study(scenario, DIGITS, make_plan(scenario), (SiteDeclaration("bergen", 1000), SiteDeclaration("oslo", 700)))


def ask(study: Study, number: int = 1) -> Instruction:
    return Instruction(study.study_id, study.plan.plan_id, number)


def kinds(node: Node) -> list[str]:
    return [entry.content["kind"] for entry in node.ledger(node.register.get(None)).entries()]


def test_approved_study_is_run_and_charged(node: Node, study: Study, make_weights: MakeWeights) -> None:
    cohort = node.register.get(None)
    node.approve(study, cohort, server=SERVER)
    reply, _ = run_round(node.site(study.study_id, cohort), ask(study), make_weights(study))
    assert kinds(node) == ["open", "approve", "reserve", "settle"]
    assert reply.ledger_head == node.ledger(cohort).head()
    (statement,) = node.statements().values()
    (run,) = statement.runs
    assert (run.study_id, run.asked_by, run.steps_settled, run.steps_reserved) == (study.study_id, SERVER, 3, 0)
    assert statement.epsilon_charged == statement.epsilon_settled == study.plan.epsilon_after(3)
    assert statement.epsilon_left == 8.0 - statement.epsilon_charged


def test_study_that_was_not_approved_cannot_be_run(node: Node, study: Study) -> None:
    with pytest.raises(PrivacyRefusal, match="not approved"):
        node.site(study.study_id, node.register.get(None))


def test_cost_is_what_the_ledger_will_say(node: Node, study: Study, make_weights: MakeWeights) -> None:
    cohort, plan = node.register.get(None), study.plan
    first = node.cost(study, cohort, SERVER)
    assert (first.epsilon_now, first.epsilon_budget, first.objections) == (0.0, 8.0, ())
    assert (first.epsilon_after_round, first.epsilon_after) == (plan.epsilon_after(3), plan.epsilon_after(12))
    assert kinds(node) == ["open"]
    node.approve(study, cohort, server=SERVER)
    run_round(node.site(study.study_id, cohort), ask(study), make_weights(study))
    assert node.cost(study, cohort, SERVER).epsilon_now == first.epsilon_after_round


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": 3}, "seeded"),
        ({"privacy": {"enabled": False}}, "without privacy"),
        ({"privacy": {"noise_multiplier": 0.4, "epsilon": 50.0}}, "noise_multiplier 0.4 is below 0.5"),
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
        (replace(study, schema=replace(DIGITS, size=28)), "another size"),
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
    _, weights = run_round(node.site(study.study_id, cohort), ask(study), make_weights(study))
    allow(node.folder, servers=[])
    with pytest.raises(PrivacyRefusal, match="'coordinator' is not allowed"):
        run_round(node.site(study.study_id, cohort), ask(study, 2), weights)
    assert kinds(node) == ["open", "approve", "reserve", "settle", "policy", "refuse"]


def test_study_that_was_rejected_is_not_run(node: Node, study: Study, make_weights: MakeWeights) -> None:
    cohort = node.register.get(None)
    node.approve(study, cohort, server=SERVER)
    node.reject(study, cohort, "the ethics board withdrew")
    with pytest.raises(PrivacyRefusal, match="not approved"):
        run_round(node.site(study.study_id, cohort), ask(study), make_weights(study))
    node.approve(study, cohort, server=SERVER)
    run_round(node.site(study.study_id, cohort), ask(study), make_weights(study))


def test_policy_for_patients_refuses_data_that_does_not_know_them(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node", template(epsilon=1.0, delta=1e-5, unit="patient"))
    with pytest.raises(PrivacyRefusal, match="does not say whose"):
        node.add_cohort(name="digits", site="bergen", data=Data(), declared_size=10)
    with pytest.raises(ConfigError, match="for simulations"):
        node.add_cohort(name="digits", site="bergen", data=Data(images_per_patient=5), declared_size=10)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "A", "x" * 65, ".hidden"])
def test_cohort_name_that_is_no_file_name_is_refused(node: Node, name: str) -> None:
    with pytest.raises(ConfigError, match="not a name"):
        node.add_cohort(name=name, site="bergen", data=Data(), declared_size=10)


def test_folder_is_the_owner_s_alone_and_making_it_again_changes_nothing(node: Node) -> None:
    key, policy = (node.folder / "site.key").read_bytes(), (node.folder / "policy.yaml").read_bytes()
    again = Node.create(node.folder, template(epsilon=99.0, delta=0.1, unit="patient"))
    assert (again.folder / "site.key").read_bytes() == key
    assert (again.folder / "policy.yaml").read_bytes() == policy
    assert node.folder.stat().st_mode & 0o077 == 0


def test_folder_that_is_no_node_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"key 'site\.key'"):
        Node(tmp_path)


def test_proposal_must_be_whole(tmp_path: Path, study: Study) -> None:
    study.save(tmp_path)
    path = tmp_path / RUN_FILE
    assert read_proposal(path) == study
    path.write_text(path.read_text(encoding="utf-8").replace("clip_norm: 1.0", "clip_norm: 2.0"), encoding="utf-8")
    with pytest.raises(ConfigError, match="is not whole"):
        read_proposal(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_proposal(tmp_path)


def test_plan_is_explained_in_words(node: Node, study: Study) -> None:
    cohort = node.register.get(None)
    said = dict(explain(study, cohort, SERVER, node.cost(study, cohort, SERVER)))
    assert said["hash"] == study.study_id
    assert said["verdict"] == "allowed by the policy"
    assert "σ = 1" in said["each step"]
    assert said["ε after all"].startswith(f"{study.plan.epsilon_after(12):.4g}, ")


def test_warm_start_is_explained_in_words(node: Node, study: Study) -> None:
    cohort, warm = node.register.get(None), replace(study, plan=replace(study.plan, warm_start_noise_multiplier=2.5))
    cost = node.cost(warm, cohort, SERVER)
    said = dict(explain(warm, cohort, SERVER, cost))
    assert "released once" in said["before the first"]
    assert "σ = 2.5" in said["before the first"]
    assert "before the first" not in dict(explain(study, cohort, SERVER, cost))
    assert cost.epsilon_after == warm.plan.epsilon_after(12) > (study.plan.epsilon_after(12) or 0)


def test_key_derives_secrets_of_its_own(node: Node, tmp_path: Path) -> None:
    other = SiteKey.create(tmp_path / "other.key")
    secrets = {node.key.derived(b"a"), node.key.derived(b"b"), other.derived(b"a")}
    assert len(secrets) == 3
    assert {len(secret) for secret in secrets} == {32}
    assert node.key.derived(b"a") == SiteKey.load(node.folder / "site.key").derived(b"a")
