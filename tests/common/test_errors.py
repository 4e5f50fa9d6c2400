"""Every error is one line with three parts, and every kind has the exit code that scripts rely on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.errors import (
    ERRORS_BY_EXIT_CODE,
    ConfigError,
    DataError,
    FederationError,
    Interrupted,
    PrivacyRefusal,
    SiloganError,
    UsageError,
    VerificationError,
)

DOCUMENTED = {
    2: UsageError,
    3: ConfigError,
    4: DataError,
    5: PrivacyRefusal,
    6: VerificationError,
    7: FederationError,
}


def test_exit_codes_are_the_documented_ones() -> None:
    assert ERRORS_BY_EXIT_CODE == DOCUMENTED
    assert {code: error.exit_code for code, error in DOCUMENTED.items()} == {code: code for code in DOCUMENTED}


def test_every_kind_of_error_can_be_looked_up() -> None:
    assert set(SiloganError.__subclasses__()) == {*ERRORS_BY_EXIT_CODE.values(), Interrupted}  # which is no fault


@pytest.mark.parametrize("kind", DOCUMENTED.values())
def test_the_message_names_thing_problem_and_mend(kind: type[SiloganError]) -> None:
    error = kind("data.root", "is missing", "give a folder")
    assert str(error) == "data.root: is missing; give a folder"
    assert (error.thing, error.problem, error.hint) == ("data.root", "is missing", "give a folder")


@given(st.text(), st.text(), st.text())
def test_the_message_is_one_line_whatever_the_parts(thing: str, problem: str, hint: str) -> None:
    assert len(str(SiloganError(thing, problem, hint)).splitlines()) == 1


def test_a_terminal_is_told_nothing_that_it_would_obey() -> None:
    error = DataError("file '\x1b[2J'", "names \u202e and \x00\n twice", "x" * 5000)
    assert str(error).startswith("file '\\x1b[2J': names \\u202e and \\x00 twice; xxx")
    assert str(error).isprintable()
    assert len(str(error)) < 1100
