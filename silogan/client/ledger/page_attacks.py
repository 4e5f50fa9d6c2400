"""Attacks on the audit page: what `silogan audit --empirical` measured, beside the bound that it tests."""

from collections.abc import Mapping
from typing import Any

from silogan.common.pages.words import epsilon, left, percent

ATTACKS = """
{% from "parts" import row, table %}
<section>
<h2>Attacks that were measured</h2>
{% if attacks %}
<p>The software of this audit trained a scenario with patients that were made up, so that an attacker finds them as
easily as possible (canaries). This tests the software. It used no record of the ledgers above.</p>
{% call table("Lower bound by canaries, upper bound by the ledger", ("What", "ε"), "figures") %}
{% for name, meaning, value in attacks.bounds %}{{ row(name, [value], meaning) }}{% endfor %}
{% endcall %}
{% call table("Membership inference: who was in the data?",
              ("Attack", "AUC (95 %)", "Found at 1 % false alarms (95 %)"), "figures") %}
{% for name, values in attacks.membership %}{{ row(name, values) }}{% endfor %}
{% endcall %}
<p class="soft">AUC 0.5 is a guess by coin toss. These are attacks that were tried, not a guarantee.</p>
{% else %}
<p>Not measured in this audit. <code>silogan audit LEDGER --empirical SCENARIO --html FILE</code> measures them.</p>
{% endif %}
</section>
"""


def view(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The attacks in words.

    Args:
        found: what `silogan audit --empirical --json` prints of them; None if none was tried.
    """
    if found is None:
        return {"attacks": None}
    empirical = found["empirical"]
    confidence = f"holds with {percent(empirical['confidence'])} confidence; {empirical['canaries']:,} canaries"
    bounds = [
        ("ε is at least", confidence, left(empirical["epsilon_lower_bound"])),
        ("ε is at most", "by the accountant, for the same scenario", epsilon(empirical["epsilon_analytic"])),
        (
            "These canaries can show at most",
            "no attack with so few could show more",
            left(empirical["largest_lower_bound"]),
        ),
    ]
    membership = [
        (name, [_interval(result["auc"], 1), _interval(result["true_positive_rate"], 100)])
        for name, result in found["membership"].items()
    ]
    return {"attacks": {"bounds": bounds, "membership": membership}}


def _interval(rate: Mapping[str, float], times: int) -> str:
    value, low, high = (times * rate[key] for key in ("value", "low", "high"))
    unit, digits = (" %", 1) if times == 100 else ("", 3)
    return f"{value:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"
