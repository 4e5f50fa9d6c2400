import inspect

import pytest

from silogan.cli import EngineName
from silogan.simulations.engines import ENGINES


def test_the_command_line_offers_every_engine() -> None:
    assert {name.value for name in EngineName} == set(ENGINES)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_is_called_in_the_same_way(name: str) -> None:
    parameters = inspect.signature(ENGINES[name]).parameters
    assert list(parameters) == ["run_dir", "num_sites", "workers"]
    assert parameters["num_sites"].kind is parameters["workers"].kind is inspect.Parameter.KEYWORD_ONLY
