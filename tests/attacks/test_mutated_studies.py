"""Whatever becomes of a run.yaml or a policy, a node accepts just what it approved, or refuses in one line.

Values are replaced by every kind of nonsense, dropped, added and exchanged; the text itself is cut and filled; plans
and hashes are made to fit again, as a coordinator would.
"""

import copy
import datetime
import hashlib
import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silogan.client.ledger.entries import Charge, read
from silogan.client.node.hospital import site_of
from silogan.client.node.node import Node, read_proposal
from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import SiloganError
from silogan.common.privacy.accounting import Mechanism, epsilon
from silogan.common.privacy.plan import canonical_json, make_plan
from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.wire.study import Study
from tests.attacks.conftest import DELTA, SERVER, HospitalNode, new_hospital_node

SECONDS, BYTES = 2.0, 200 * 2**20  # of one example


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


NONSENSE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 10**6, 10**9, 2**53 + 1, 2**63, -(2**70), 10**40),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -1.0, 5e-324, 1e-300, 1e-12, 1e-6, 1e6, 1e300, math.nan, math.inf, -math.inf),
    *(
        "",
        "1",
        "1.0",
        "1e3",
        "no",
        "yes",
        "null",
        "record",
        "patient",
        "x" * 300,
        "x" * 5000,
        "\x1b[2J",
        "\u202e",
        "a\nb",
    ),
    *([], {}, [1], [[1]], {"a": 1}, {1: 2}, [None] * 50, nested(15), nested(30)),
    *(datetime.date(2020, 1, 1), b"bytes", {"more": {"more": 1}}),
]
"""What may stand in place of any value."""

TEXTS = [
    "",
    "&a [1]",
    "*a",
    "- ",
    "[" * 40,
    "{",
    "!!python/object:os.system {}",
    "\x00",
    "\t",
    "x" * 5000,
    "1" * 5000,
    "? ",
    "<<: ",
]
"""What may stand anywhere in the text."""

values = st.sampled_from(NONSENSE) | st.integers() | st.floats() | st.text(max_size=4)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each part of a plain value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


def parent_of(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


@dataclass(frozen=True)
class Base:
    """A hospital and what is right for it; what an example does to its folder is undone after it."""

    at: HospitalNode
    runs: tuple[dict[str, Any], ...]
    policy: dict[str, Any]
    ledger: bytes

    @property
    def proposal(self) -> Path:
        return self.at.node.folder.parent / RUN_FILE

    @property
    def policy_file(self) -> Path:
        return self.at.node.folder / "policy.yaml"

    def restore(self) -> None:
        (path,) = self.at.node.ledger_paths()
        for leftover in path.parent.glob(f"{path.name}-*"):
            leftover.unlink()
        if path.read_bytes() != self.ledger:
            path.write_bytes(self.ledger)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    at = new_hospital_node(tmp_path_factory.mktemp("mutated") / "hospital")
    plain = at.study()
    warm = at.study(
        training={"warm_start": {"frequencies": 4}, "d_steps_per_g_step": {"threshold": 0.7}},
        privacy={"noise_multiplier": None, "spare_rounds": 2, "epsilon": 4.0},
    )
    runs: list[dict[str, Any]] = []
    for study in (plain, warm):
        study.save(at.node.folder.parent)
        runs.append(yaml.safe_load((at.node.folder.parent / RUN_FILE).read_text(encoding="utf-8")))
    policy = yaml.safe_load((at.node.folder / "policy.yaml").read_text(encoding="utf-8"))
    at.ledger.entries()
    (path,) = at.node.ledger_paths()
    return Base(at, tuple(runs), policy, path.read_bytes())


def mutated(draw: st.DrawFn, original: dict[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
    """One to three parts below `within` replaced, dropped, renamed, added to, or exchanged with another one's."""
    changed = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        found = [path for path in places(changed) if path[: len(within)] == within and len(path) > len(within)]
        if not found:
            return changed
        path = draw(st.sampled_from(found))
        parent, how = parent_of(changed, path), draw(st.integers(0, 9))
        if how <= 5:  # most often
            parent[path[-1]] = copy.deepcopy(draw(values))
        elif how == 6:
            del parent[path[-1]]
        elif how == 7:
            other = draw(st.sampled_from(found))
            with suppress(LookupError, TypeError):
                parent[path[-1]] = copy.deepcopy(parent_of(changed, other)[other[-1]])
        elif isinstance(parent, dict):
            parent[draw(st.sampled_from(["more", "seeded", "round", 1, "\x1b"]))] = copy.deepcopy(draw(values))
        else:
            parent.append(copy.deepcopy(draw(values)))
    return changed


def with_its_hash(run: dict[str, Any]) -> dict[str, Any]:
    """The same with the hash that is right for it, where there is one."""
    with suppress(SiloganError, ValueError, TypeError, KeyError, RecursionError):
        scenario = parse_scenario(run["scenario"]).model_dump(mode="json")
        plain = {"scenario": scenario, **{key: run[key] for key in ("schema", "plan", "sites")}}
        return {**run, "study_id": hashlib.sha256(canonical_json(plain).encode()).hexdigest()}
    return run


def with_its_plan(run: dict[str, Any]) -> dict[str, Any]:
    """The same with the plan that is right for its scenario, as an honest coordinator's software would write it."""
    with suppress(SiloganError, ValueError, TypeError, KeyError, RecursionError):
        return {**run, "plan": asdict(make_plan(parse_scenario(run["scenario"]), "record"))}
    return run


@st.composite
def proposals(draw: st.DrawFn, base: Base) -> str:
    """The text of a run.yaml that somebody has made the worst of."""
    original = base.runs[draw(st.sampled_from([0, 0, 0, 1]))]
    how = draw(st.integers(0, 9))
    if how <= 3:
        run = mutated(draw, original, ())
    elif how <= 5:
        run = with_its_hash(mutated(draw, original, ("plan",)))
    elif how <= 7:
        run = with_its_hash(with_its_plan(mutated(draw, original, ("scenario",))))
    else:
        part = draw(st.sampled_from(["training", "privacy"]))
        run = with_its_hash(with_its_plan(mutated(draw, original, ("scenario", part))))
    return draw(texts(run)) if draw(st.integers(0, 9)) == 0 else dumped(run)


@st.composite
def texts(draw: st.DrawFn, original: dict[str, Any]) -> str:
    """A text with a piece cut out of it, or put into it."""
    text = dumped(original)
    start = draw(st.integers(0, len(text)))
    cut = draw(st.sampled_from([0, 0, 1, 10, 1000]))
    return text[:start] + draw(st.sampled_from(TEXTS)) + text[start + cut :]


def dumped(value: object) -> str:
    return yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def outcome(act: Callable[[], Any]) -> Any:
    """What comes of it, or None where it is refused in one line; anything else is raised, or took too much."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return act()
    except SiloganError as error:
        assert_one_short_line(str(error))
        return None
    finally:
        assert time.process_time() - began < SECONDS
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES


def assert_one_short_line(text: str) -> None:
    assert len(text.splitlines()) == 1
    assert len(text) < 2000
    assert text.isprintable()


def approve(base: Base) -> Study:
    """What the hospital's people do with what was sent: look at it, and sign it if nothing speaks against it."""
    node, cohort = base.at.node, base.at.registration
    study = read_proposal(base.proposal)
    cost = node.cost(study, cohort, SERVER)
    node.approve(study, cohort, server=SERVER)
    assert cost.objections == ()
    return study


def assert_just_that_was_approved(base: Base, study: Study) -> None:
    """The plan is the scenario's, it is what was signed and kept, and it is charged at what it costs."""
    node, ledger = Node(base.at.node.folder), base.at.ledger
    assert site_of(node, study.study_id, base.at.registration).study == study
    entry = ledger.entries()[-1].content
    assert (entry["kind"], entry["study_id"]) == ("approve", study.study_id)
    scenario, policy = study.scenario, node.policy()
    assert read(ledger.entries()[-1]).plan == make_plan(scenario, "record")  # pyright: ignore[reportAttributeAccessIssue]
    privacy, training, plan = scenario.privacy, scenario.training, study.plan
    assert (scenario.seed, plan.seeded, plan.private) == (None, False, True)
    assert (
        plan.training.noise_multiplier
        == (privacy.noise_multiplier or plan.training.noise_multiplier)
        >= policy.min_noise_multiplier
    )
    assert (plan.training.steps_per_round, plan.training.rounds) == (
        training.local_steps,
        training.rounds + privacy.spare_rounds,
    )
    assert (plan.training.sample_rate, plan.training.clip_norm, plan.delta) == (
        training.sample_rate,
        privacy.clip_norm,
        privacy.delta,
    )
    charges: list[Mechanism] = []
    for release in plan.phases[:-1]:
        ledger.reserve(Charge.of(plan, "statistics", 1, study.study_id))
        charges.append(Mechanism(release.noise_multiplier, 1.0, 1))
    with suppress(SiloganError):  # the budget need not pay for both
        ledger.reserve(Charge.of(plan, "training", 1, study.study_id))
        charges.append(Mechanism(plan.training.noise_multiplier, training.sample_rate, training.local_steps))
    assert ledger.epsilon() >= epsilon(charges, DELTA)


@settings(max_examples=4000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_study_is_approved_as_it_is_or_refused_in_one_line(base: Base, data: st.DataObject) -> None:
    base.proposal.write_text(data.draw(proposals(base)), encoding="utf-8", errors="surrogatepass")
    base.policy_file.write_text(dumped(base.policy), encoding="utf-8")
    study = outcome(lambda: approve(base))
    if study is not None:
        assert_just_that_was_approved(base, study)
    base.restore()


@settings(max_examples=1000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_policy_allows_what_it_says_or_nothing(base: Base, data: st.DataObject) -> None:
    base.proposal.write_text(dumped(base.runs[0]), encoding="utf-8")
    changed = mutated_policy(data, base)
    base.policy_file.write_text(changed, encoding="utf-8", errors="surrogatepass")
    study = outcome(lambda: approve(base))
    if study is not None:
        assert_just_that_was_approved(base, study)
    base.restore()


def mutated_policy(data: st.DataObject, base: Base) -> str:
    changed = data.draw(st.composite(lambda draw: mutated(draw, base.policy, ()))())
    return data.draw(texts(changed)) if data.draw(st.integers(0, 9)) == 0 else dumped(changed)


def test_what_is_right_is_approved(base: Base) -> None:
    """Otherwise everything above could be refused for one reason."""
    base.policy_file.write_text(dumped(base.policy), encoding="utf-8")
    for run in base.runs:
        for text in (dumped(run), dumped(with_its_hash(with_its_plan(run)))):
            base.proposal.write_text(text, encoding="utf-8")
            study = outcome(lambda: approve(base))
            assert study is not None
            assert_just_that_was_approved(base, study)
            base.restore()
