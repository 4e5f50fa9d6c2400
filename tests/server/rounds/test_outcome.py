"""How a run ended is told across processes as it was."""

from pathlib import Path

import pytest

from silogan.common.errors import ERRORS_BY_EXIT_CODE, FederationError, SiloganError
from silogan.common.wire.run_folder import OUTCOME_FILE
from silogan.server.rounds.outcome import raise_outcome, write_outcome


@pytest.mark.parametrize("kind", ERRORS_BY_EXIT_CODE.values())
def test_an_error_is_raised_again_as_it_was(tmp_path: Path, kind: type[SiloganError]) -> None:
    error = kind("round 3", "2 sites refused: „nein“", "stop")
    write_outcome(tmp_path, error)
    with pytest.raises(kind) as caught:
        raise_outcome(tmp_path)
    assert type(caught.value) is kind
    assert str(caught.value) == str(error)


def test_success_raises_nothing_even_after_a_failure(tmp_path: Path) -> None:
    write_outcome(tmp_path, FederationError("a", "b", "c"))
    write_outcome(tmp_path, None)
    raise_outcome(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_no_word_is_a_failure(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / OUTCOME_FILE).write_bytes(content)
    with pytest.raises(FederationError, match="exited without reporting a result"):
        raise_outcome(tmp_path)


def test_an_unknown_exit_code_is_the_federations(tmp_path: Path) -> None:
    error = SiloganError("a", "b", "c")
    write_outcome(tmp_path, error)
    with pytest.raises(FederationError, match="a: b; c"):
        raise_outcome(tmp_path)
