"""The data sheet: what is empty is named, all of it, and cards show it as the text it is."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from silogan.common.errors import ConfigError
from silogan.server.release.cards import datasheet_text, model_card_text, plain
from silogan.server.release.datasheet import NEEDED, Datasheet, datasheet_template, read_datasheet
from tests.server.release.test_gate import CLEAN, SHEET
from tests.server.release.test_sealed import STATEMENT


def write(path: Path, **changes: object) -> Path:
    values = {name: f"about {name}" for name in NEEDED} | changes
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_a_filled_in_sheet_is_read(tmp_path: Path) -> None:
    sheet = read_datasheet(write(tmp_path / "release.yaml", purpose="one\ntwo", citation=None))
    assert (sheet.purpose, sheet.licence, sheet.citation) == ("one\ntwo", "about licence", "")


def test_the_template_names_every_key_and_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    path.write_text(datasheet_template(), encoding="utf-8")
    assert list(yaml.safe_load(path.read_text(encoding="utf-8"))) == list(Datasheet.model_fields)
    with pytest.raises(ConfigError) as error:
        read_datasheet(path)
    assert error.value.problem == "says nothing of purpose, collection, approvals, intended_use, licence, contact"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"purpose": "  "}, "says nothing of purpose"),
        ({"licence": None, "contact": ""}, "says nothing of licence, contact"),
        ({"licence": 4}, "licence: input should be a valid string"),
        ({"licence": ["a"]}, "licence: input should be a valid string"),
        ({"purpose": "x" * 4050}, "purpose: string should have at most 4000 characters"),
        ({"purpos": "x"}, "purpos"),
    ],
    ids=range(6),
)
def test_what_is_wrong_is_one_line(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_datasheet(write(tmp_path / "release.yaml", **changes))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "- a\n", "a: [", "a: &a [*a]\n", "\x00"], ids=range(5))
def test_a_file_of_another_form_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "release.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError):
        read_datasheet(tmp_path / "release.yaml")


def test_what_others_wrote_is_neither_markdown_nor_html() -> None:
    evil = "<script>x</script> | [click](http://evil) **bold** `code` \x1b[2J\n# heading"
    sheet = SHEET.model_copy(update={"purpose": evil, "licence": evil, "limitations": evil})
    statement = replace(STATEMENT, title="<script> | [click](http://evil)", licence=evil)
    for text in (datasheet_text(statement, CLEAN, sheet), model_card_text(statement, CLEAN, sheet)):
        assert "<script>" not in text
        assert "[click]" not in text
        assert "\x1b" not in text
        assert "\n# heading" not in text
    assert plain("a_b") == "a\\_b"


def test_cards_say_what_the_run_says_and_nothing_that_was_not_measured() -> None:
    sheet, card = (write(STATEMENT, CLEAN, SHEET) for write in (datasheet_text, model_card_text))
    assert "| north | 9.981 | 10 | 10⁻⁴ | patient |" in sheet
    assert "- **SIMULATION.**" in sheet
    assert "| coverage | coverage 0.8 |" in card
    assert "| congruence | auroc synthetic 0.94 |" in card
    unmeasured = model_card_text(STATEMENT, replace(CLEAN, report=None, simulation=False), SHEET)
    assert "| congruence | not measured |" in unmeasured
    assert "| completeness | least recall of a class 0.9 |" in card
    assert "Not for diagnosis" in sheet
