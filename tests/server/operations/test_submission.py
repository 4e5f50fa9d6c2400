from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import ConfigError, VerificationError
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.operations.submission import Runs, Submission, make_study

SITES = (SiteDeclaration("bergen", 100), SiteDeclaration("oslo", 200))
DATA = {"image_size": 8, "channels": 1, "classes": ["a", "b"]}


def scenario(**sections: Any) -> Any:
    values: dict[str, Any] = {"name": "tiny", "data": DATA, "sites": {"count": 2}, "privacy": {"noise_multiplier": 2.0}}
    return parse_scenario({**values, **sections})


def test_a_study_is_made_without_any_data() -> None:
    study = make_study(scenario(), SITES)
    assert (study.schema.size, study.schema.channels, study.schema.classes) == (8, 1, ("a", "b"))
    assert study.plan.unit == "patient"
    assert study.sites == SITES


@pytest.mark.parametrize("key", sorted(DATA))
def test_what_the_images_look_like_must_be_said(key: str) -> None:
    data = {name: value for name, value in DATA.items() if name != key}
    with pytest.raises(ConfigError, match=rf"data\.{key}: is not given"):
        make_study(scenario(data=data), SITES)


def test_sites_are_counted_and_privacy_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"sites\.count: is 2, but 1 sites take part"):
        make_study(scenario(), SITES[:1])
    with pytest.raises(ConfigError, match=r"privacy\.enabled: is false"):
        make_study(scenario(privacy={"enabled": False}), SITES)


def test_a_run_is_made_once(tmp_path: Path, study: Study) -> None:
    runs = Runs(tmp_path)
    name = runs.propose(study)
    runs.set(name, Submission("running", 7, 2))
    assert runs.propose(study) == name
    assert runs.all() == {name: Submission("running", 7, 2)}
    assert Study.load(runs.path(name)) == study


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc", "a/b", "A", "x" * 200])
def test_hostile_names_are_no_runs(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        Runs(tmp_path).path(name)


@pytest.mark.parametrize("content", ["", "[1]", '{"state": "queued", "more": 1}', "{"])
def test_damaged_state_is_named(tmp_path: Path, make_study: Callable[..., Study], content: str) -> None:
    runs = Runs(tmp_path)
    name = runs.propose(make_study())
    (runs.path(name) / "submission.json").write_text(content)
    with pytest.raises(VerificationError, match="damaged"):
        runs.get(name)
