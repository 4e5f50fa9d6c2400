"""A study is read back as it was written, or not at all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import ConfigError
from silogan.common.modality.image import ImageSchema
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.wire.study import SiteDeclaration, Study, declared_size, versions
from tests.plans import with_phase

SCENARIO = parse_scenario(
    {
        "name": "tiny",
        "title": "Zwölf Röntgenbilder: 'a' #1",
        "seed": 2**63 - 1,
        "data": {"root": "some/where", "classes": ["no", "yes"]},
        "training": {"sample_rate": 1.0, "local_steps": 1, "d_steps_per_g_step": {"threshold": 0.7}},
        "privacy": {"noise_multiplier": 3.0, "delta": 1e-5},
    }
)
SITES = (SiteDeclaration("north", 1200), SiteDeclaration("süd", 99))
STUDY = Study(SCENARIO, ImageSchema(28, 1, ("no", "yes")), make_plan(SCENARIO), SITES)


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    STUDY.save(tmp_path)
    read = Study.load(tmp_path)
    assert read == STUDY
    assert read.study_id == STUDY.study_id


def test_the_file_says_what_made_it(tmp_path: Path) -> None:
    STUDY.save(tmp_path)
    written = yaml.safe_load((tmp_path / RUN_FILE).read_text(encoding="utf-8"))
    assert written["study_id"] == STUDY.study_id
    assert written["versions"] == versions()
    assert {"silogan", "python", "torch", "opacus", "flwr", "dp-accounting"} <= versions().keys()


@pytest.mark.parametrize(
    "changed",
    [
        replace(STUDY, scenario=SCENARIO.model_copy(update={"title": "another"})),
        replace(STUDY, schema=replace(STUDY.schema, classes=("yes", "no"))),
        replace(STUDY, plan=with_phase(STUDY.plan, clip_norm=2.0)),
        replace(STUDY, sites=SITES[::-1]),
        replace(STUDY, sites=SITES[:1]),
    ],
    ids=["scenario", "schema", "plan", "order of sites", "sites"],
)
def test_its_identity_covers_everything(changed: Study) -> None:
    assert changed.study_id != STUDY.study_id


def drop(section: str) -> Callable[[dict], object]:
    return lambda written: written.pop(section)


def change(section: str, **values: object) -> Callable[[dict], object]:
    return lambda written: written[section].update(values)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda written: written["plan"]["phases"][0].update(noise_multiplier=0.1),
        lambda written: written["plan"]["phases"][0].update(extra=1),
        lambda written: written["plan"]["phases"][0].pop("share"),
        lambda written: written["plan"]["phases"].append(written["plan"]["phases"][0]),
        change("plan", phases=[]),
        change("plan", phases="training"),
        change("plan", epsilon=100.0),
        change("plan", epsilon=float("nan")),
        change("plan", epsilon="8"),
        change("plan", extra=1),
        change("schema", size=64),
        change("scenario", title="another"),
        lambda written: written["scenario"]["training"].update(rounds=999),
        lambda written: written["scenario"]["training"].update(ronds=999),
        lambda written: written["sites"][0].update(declared_size=5000),
        lambda written: written["sites"][0].update(declared_size=0),
        lambda written: written["sites"][0].update(declared_size="many"),
        lambda written: written["sites"].pop(),
        lambda written: written.update(study_id="0" * 64),
        lambda written: written.update(plan=[1, 2]),
        drop("study_id"),
        drop("plan"),
        drop("scenario"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, tamper: Callable[[dict], object]) -> None:
    STUDY.save(tmp_path)
    written = yaml.safe_load((tmp_path / RUN_FILE).read_text(encoding="utf-8"))
    tamper(written)
    (tmp_path / RUN_FILE).write_text(yaml.safe_dump(written), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Study.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_versions_may_differ_from_those_that_began_the_run(tmp_path: Path) -> None:
    STUDY.save(tmp_path)
    path = tmp_path / RUN_FILE
    path.write_text(path.read_text(encoding="utf-8").replace(f"torch: {versions()['torch']}", "torch: 0.1"), "utf-8")
    assert Study.load(tmp_path) == STUDY


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b"a: 2024-13-45", b"[" * 5000, b"\xff\xfe\x00", b"a: [", None])
def test_what_is_no_run_folder_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / RUN_FILE).write_bytes(content)
    with pytest.raises(ConfigError, match="run folder '") as caught:
        Study.load(tmp_path)
    assert RUN_FILE in caught.value.problem


@pytest.mark.parametrize(
    ("size", "declared"),
    [(1, 1), (9, 1), (10, 10), (99, 90), (100, 100), (101, 100), (359, 350), (999, 990), (1000, 1000), (12345, 12000)],
)
def test_a_declared_size_is_too_coarse_to_count_a_patient(size: int, declared: int) -> None:
    assert declared_size(size) == declared


@given(st.integers(100, 10**9))
def test_a_declared_size_is_rounded_down_by_less_than_a_tenth(size: int) -> None:
    declared = declared_size(size)
    assert 0.9 * size < declared <= size
    assert declared_size(declared) == declared
    assert len(str(declared).rstrip("0")) <= 2


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_that_nothing_can_be_divided_by_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"site 'north': declared_size={size} is not a positive"):
        SiteDeclaration("north", size)
