"""Templates: what they show is escaped, what they do not know is an error, and they carry no script."""

import re

import pytest
from jinja2 import DictLoader, Environment, UndefinedError

from silogan.client.ledger.page import PAGES as AUDIT
from silogan.common.pages.page import environment
from silogan.server.report.report import PAGES as REPORT

HOSTILE = "<script>alert('1')</script>\" onload=alert(2) {{ 7 * 7 }}"
MACROS = """
{% from "parts" import banner, bar, box, card, details, pairs, pill, row, table %}
{{ banner(x, x, x) }}{{ card(x, x, x, x) }}{{ pill(x, x) }}{{ row(x, [x], x) }}{{ pairs(x, [x], [(x, x)]) }}
{% call table(x, [x], x) %}{{ x }}{% endcall %}{% call details(x) %}{{ x }}{% endcall %}
{% call box(x, x) %}{{ x }}{% endcall %}
"""


def test_every_part_escapes_what_it_shows() -> None:
    html = environment(page=MACROS).get_template("page").render(x=HOSTILE)
    assert not re.search(r"<script|\" onload|49", html)
    assert html.count("&lt;script&gt;") >= 20


def test_a_name_that_a_template_does_not_know_is_an_error() -> None:
    for source in ("{{ nothing }}", "{% if nothing %}{% endif %}", "{{ x.nothing }}"):
        with pytest.raises(UndefinedError):
            environment(page=source).get_template("page").render(x={})


@pytest.mark.parametrize("pages", [AUDIT, REPORT])
def test_no_template_turns_escaping_off(pages: Environment) -> None:
    assert pages.autoescape is True
    assert isinstance(pages.loader, DictLoader)
    for name, source in pages.loader.mapping.items():
        assert not re.search(r"\|\s*safe|autoescape|Markup|<script|https?://", source), name
