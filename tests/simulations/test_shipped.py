"""Scenarios by name."""

from pathlib import Path

import pytest

from silogan.common.config.scenario import load_scenario
from silogan.common.errors import ConfigError
from silogan.simulations.shipped import scenario_file, shipped


@pytest.mark.parametrize("name", [one.name for one in shipped()])
def test_each_is_found_by_name_in_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = load_scenario(scenario_file(Path(name)))
    assert scenario.name == name
    assert scenario.title
    columns = getattr(scenario.data, "columns", None)
    assert columns is None or columns.is_file()


def test_what_is_told_of_them() -> None:
    told = {one.name: one for one in shipped()}
    assert told["digits"].embedded
    assert told["breast-cancer"].embedded
    assert told["phantoms"].embedded
    assert not told["mnist"].embedded
    assert told["mnist"].time == "4 to 7 min"


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("digits")
    assert scenario_file(own) != own
    own.write_text("name: mine\n", encoding="utf-8")
    assert scenario_file(own) == own
    for near in ("digits.yaml", "a/digits", "simulations/scenarios/digit.yaml"):
        with pytest.raises(ConfigError, match=r"did you mean 'digits'\?$"):
            scenario_file(Path(near))
    Path("folder").mkdir()
    with pytest.raises(ConfigError, match=r"is a folder; .*silogan init folder$"):
        scenario_file(Path("folder"))


def test_a_name_that_is_none_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^scenario 'digts': is neither .*; did you mean 'digits'\?$"):
        scenario_file(Path("digts"))
    with pytest.raises(ConfigError, match="silogan scenarios lists ours"):
        scenario_file(Path("zzz"))
