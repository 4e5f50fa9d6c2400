import pytest

from client.data import READERS, read
from common.config import Data
from common.errors import ConfigError


def test_an_unknown_source_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^data\.source: unknown value 'digit'; did you mean 'digits'\?$"):
        read(Data(source="digit"))


@pytest.mark.parametrize("source", sorted(set(READERS) - {"digits"}))
def test_a_source_of_files_asks_for_its_root(source: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.root: is missing for source '{source}'"):
        read(Data(source=source))
