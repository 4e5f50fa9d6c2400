"""A scenario as a file that a person reads and changes."""

from collections.abc import Iterable, Mapping
from typing import Any

from silogan.common.yaml_text import write_yaml

_COMMENTS = {
    "data": ("Where the records are. Names and sizes here are public: everybody who reads the scenario sees them.",),
    "model": ("One release of noisy sums and a fit at the server: nothing is trained. To train a GAN instead, see",),
    "privacy": (
        "What the study costs each hospital at most: less ε is safer and noisier; δ is the probability that the bound",
        "may fail, and must be smaller than one over a hospital's number of patients.",
    ),
}
_SITES = {
    "iid": "Hospitals that share the records at random; `partition: dirichlet` gives each other classes.",
    "natural": "The hospitals that the data names.",
}
_GAN = {"gaussians": "chest-xray-basic.yaml (silogan scenarios)", "mixture": "docs/tables.md, a GAN stage"}


def scenario_text(values: Mapping[str, Any], file: str, remarks: Iterable[str]) -> str:
    """The text of a scenario file.

    Args:
        values: the scenario as plain values, with the sections data, sites, model, training and privacy.
        file: its name, as a person types it.
        remarks: lines of a comment on the data.
    """
    comments = {
        **_COMMENTS,
        "data": (*_COMMENTS["data"], *remarks),
        "sites": (_SITES[values["sites"]["partition"]],),
        "model": (*_COMMENTS["model"], _GAN[values["model"]["family"]] + "."),
    }
    lines = [f"# Written by silogan init. What it would do, and what to expect: silogan plan {file}"]
    lines.append("# All keys: docs/scenarios.md. Change one for a single run: --set privacy.epsilon=3")
    for key, value in values.items():
        if key in comments:
            lines += ["", *(f"# {line}" for line in comments[key])]
        lines.append(write_yaml({key: value}, compact=isinstance(value, dict)).rstrip("\n"))
    return "\n".join(lines) + "\n"
