"""The report's part for whoever thinks of using the records: the verdict in plain words, and what they are good for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from silogan.server.report.verdict import Word, word_of

Report = Mapping[str, Any]

USE = """
{% from "parts" import box %}
<section>
<h2>What it may be used for</h2>
<div class="sides">
{% call box("May be used to", "yes") %}
{% for one in use.may %}<li>{{ one }}</li>{% endfor %}
{% endcall %}
{% call box("Must not be used to", "no") %}
{% for one in use.never %}<li>{{ one }}</li>{% endfor %}
{% endcall %}
</div>
</section>
"""


class Use(NamedTuple):
    """What a verdict means.

    Attributes:
        plain: the verdict in a sentence.
        may: what the records may be used for; none of it is advice on a patient.
    """

    plain: str
    may: tuple[str, ...]


_SOFTWARE = "Test software, file formats and interfaces."
USES: dict[Word, Use] = {
    Word.usable: Use(
        "Methods that learn from these records work nearly as well on real ones.",
        (
            "Develop and compare methods for this task, before real records are asked for.",
            "Teach and demonstrate, if it is said that the records are synthetic.",
            _SOFTWARE,
        ),
    ),
    Word.weak: Use(
        "Methods that learn from these records work on real ones, but clearly worse.",
        ("Teach what such data looks like, with this page beside it.", _SOFTWARE),
    ),
    Word.failed: Use(
        "Do not use these records, and do not hand them on.",
        ("Find out why the run failed. Nothing else.",),
    ),
    Word.unmeasured: Use(
        "Nobody has compared these records with real ones.",
        (_SOFTWARE, "Measure them against real records first (silogan evaluate)."),
    ),
}

NEVER = (
    "Diagnose, treat or advise a patient.",
    "Publish a medical finding that was not confirmed on real records.",
    "Say how frequent a disease is: noise and drawing by class change frequencies.",
    "Judge rare diseases or small groups: the noise hides what only few patients have.",
)


def view(report: Report) -> dict[str, Any]:
    """The verdict in words."""
    use = USES[word_of(report)]
    return {"use": {**use._asdict(), "never": NEVER}}
