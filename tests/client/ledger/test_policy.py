"""A policy forbids what it does not name, and is refused itself where it is not whole."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from silogan.client.ledger.policy import Policy, template
from silogan.common.errors import PrivacyRefusal
from silogan.common.privacy.plan import PrivacyPlan
from tests.plans import training_plan, with_phase, with_statistics

PLAN = training_plan(True, False, "patient", 8.0, 1e-5, 1.5, 0.1, 0.7, 30, 9, 3)
POLICY = Policy.of_plan(PLAN, "dcgan", "coordinator").model_copy(update={"max_steps": 5_000_000})


def objections(plan: PrivacyPlan = PLAN, family: str = "dcgan", server: str = "coordinator") -> list[str]:
    return list(POLICY.objections(plan, family, server))


def test_what_the_policy_was_made_for_is_allowed() -> None:
    assert objections() == []


@pytest.mark.parametrize(
    "stricter",
    [
        *({"noise_multiplier": 2.0}, {"sample_rate": 0.05}, {"clip_norm": 0.1}, {"steps_per_round": 1}),
        {"delta": 1e-6},
    ],
    ids=str,
)
def test_what_is_stricter_is_allowed(stricter: dict[str, Any]) -> None:
    assert objections(with_phase(PLAN, **stricter)) == []


@pytest.mark.parametrize(
    ("laxer", "problem"),
    [
        ({"private": False}, "without privacy"),
        ({"unit": "record"}, "unit is the record, not the patient"),
        ({"delta": 1e-4}, "δ 0.0001 is above 1e-05"),
        ({"noise_multiplier": 0.75}, "noise_multiplier 0.75 is below 1.5"),
        ({"clip_norm": 0.71}, "clip_norm 0.71 is above 0.7"),
        ({"sample_rate": 0.11}, "sample_rate 0.11 is above 0.1"),
        ({"records_per_patient": 4}, "records_per_patient 4 is above 3"),
        ({"steps_per_round": 31}, "steps_per_round 31 is above 30"),
        ({"rounds": 200_000}, "steps 6e+06 is above 5e+06"),
    ],
    ids=str,
)
def test_what_is_laxer_is_named(laxer: dict[str, Any], problem: str) -> None:
    assert any(problem in found for found in objections(with_phase(PLAN, **laxer)))


def test_other_families_and_servers_are_named() -> None:
    assert objections(family="seed") == ["model family 'seed' is not allowed"]
    assert objections(server="elsewhere") == ["server 'elsewhere' is not allowed"]


def test_everything_that_is_forbidden_is_said_at_once() -> None:
    assert len(objections(with_phase(PLAN, clip_norm=9.0, sample_rate=0.9), server="elsewhere")) == 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(template(epsilon=2.5, delta=1e-6, unit="patient"), encoding="utf-8")
    return path


def test_template_is_a_policy_that_allows_no_server(path: Path) -> None:
    policy = Policy.load(path)
    assert (policy.epsilon, policy.delta, policy.unit, policy.servers) == (2.5, 1e-6, "patient", ())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"min_sigma": 1.0}, "min_sigma: unknown key"),
        ({"max_step": 5}, "did you mean 'max_steps'"),
        ({"epsilon": float("inf")}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"epsilon": -1}, "epsilon"),
        ({"delta": 1}, "delta"),
        ({"unit": "image"}, "unit"),
        ({"max_sample_rate": 1.5}, "max_sample_rate"),
        ({"servers": "all"}, "servers"),
        ({"max_steps": None}, "max_steps"),
        ({"max_steps": 5.0}, "max_steps"),
        ({"max_steps": True}, "max_steps"),
        ({"max_steps": "5"}, "max_steps"),
        ({"epsilon": 1e300}, "epsilon"),
    ],
    ids=str,
)
def test_key_that_is_unknown_or_wrong_means_no(path: Path, change: dict[str, Any], problem: str) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(values | change), encoding="utf-8")
    with pytest.raises(PrivacyRefusal) as caught:
        Policy.load(path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(set(Policy.model_fields) - {"approvers"}))  # which older policies lack
def test_every_limit_must_be_given(path: Path, key: str) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    del values[key]
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(PrivacyRefusal, match=f"{key}: is missing"):
        Policy.load(path)


def test_no_policy_can_allow_a_seed(path: Path) -> None:
    """A seeded study is for a rehearsal node, which is made as one; no key of the policy lets it into another."""
    path.write_text(path.read_text(encoding="utf-8") + "seeded: true\n", encoding="utf-8")
    with pytest.raises(PrivacyRefusal, match="seeded: unknown key"):
        Policy.load(path)


def test_a_release_may_take_all_patients_and_needs_as_much_noise() -> None:
    """q = 1 and C = 1 are what statistics are; the limits of them are for batches."""
    assert objections(with_statistics(PLAN, 1.5)) == []
    assert objections(with_statistics(PLAN, 0.75)) == ["statistics: noise_multiplier 0.75 is below 1.5"]
    for plan in (PLAN, with_statistics(PLAN, 1.5)):
        assert Policy.of_plan(plan, "dcgan", "coordinator") == POLICY.model_copy(update={"max_steps": 2**53})


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"epsilon: [", b"\xff\xfe\x00", b"epsilon"], ids=repr)
def test_file_that_is_no_policy_means_no(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(PrivacyRefusal):
        Policy.load(path)


def test_no_policy_means_no(tmp_path: Path) -> None:
    for nothing in (tmp_path / "policy.yaml", tmp_path):
        with pytest.raises(PrivacyRefusal, match="cannot be read"):
            Policy.load(nothing)
