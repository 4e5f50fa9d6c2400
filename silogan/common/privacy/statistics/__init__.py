"""What hospitals may release of all their patients at once: one file a statistic, and one line in `RELEASES`."""

from collections.abc import Callable, Mapping

from torch import Tensor

from silogan.common.config.scenario import Scenario
from silogan.common.modality import Schema
from silogan.common.modality.image_features import Spectrum
from silogan.common.modality.image_options import Gaussians
from silogan.common.modality.joint_features import JointSpectrum, seen
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_options import Mixture
from silogan.common.privacy import plan
from silogan.common.privacy.statistics.base import Statistic
from silogan.common.privacy.statistics.centred import CentredMoments
from silogan.common.privacy.statistics.means import Centres, Means
from silogan.common.privacy.statistics.moments import Moments
from silogan.common.privacy.statistics.pairs import Pairs
from silogan.common.privacy.statistics.singles import Singles
from silogan.common.registry import lookup

__all__ = [
    "RELEASES",
    "CentredMoments",
    "Centres",
    "Means",
    "Moments",
    "Pairs",
    "Singles",
    "Statistic",
    "asked_for",
    "spectrum_of",
]


Sent = Mapping[str, Tensor]
"""What the coordinator sent with its request; it may have come from anybody."""


def spectrum_of(scenario: Scenario, schema: Schema) -> Spectrum | JointSpectrum:
    """What is seen of a record for a family that is fitted to a release.

    Raises:
        ValueError: the family is another one.
    """
    if not isinstance(scenario.model, Gaussians):
        raise ValueError("are of no use to this family of networks")
    if scenario.model.frequencies is None:
        raise ValueError("are asked for, but the study leaves model.frequencies open")
    return seen(schema, scenario.model.frequencies, scenario.model.row_share)


def _warm_start(scenario: Scenario, schema: Schema, sent: Sent) -> Statistic:
    if scenario.training.warm_start is None or sent:
        raise ValueError("were sent, but are not needed")
    return Moments(schema, scenario.training.warm_start)


def _means(scenario: Scenario, schema: Schema, sent: Sent) -> Statistic:
    if sent:
        raise ValueError("were sent, but are not needed")
    return Means(schema, spectrum_of(scenario, schema))


def _centred(scenario: Scenario, schema: Schema, sent: Sent) -> Statistic:
    return CentredMoments(schema, spectrum_of(scenario, schema), sent)


def _cells(scenario: Scenario, schema: Schema, sent: Sent) -> Statistic:
    spectrum = spectrum_of(scenario, schema)
    assert isinstance(scenario.model, Gaussians)  # noqa: S101  (it has a spectrum)
    return CentredMoments(schema, spectrum, sent, scenario.model.cells or 1)


def _singles(scenario: Scenario, schema: Schema, sent: Sent) -> Statistic:  # noqa: ARG001
    if not isinstance(schema, TableSchema):
        raise ValueError("are of no use to such records")
    if sent:
        raise ValueError("were sent, but are not needed")
    return Singles(schema)


def _pairs(scenario: Scenario, schema: Schema, sent: Sent) -> Statistic:
    if not isinstance(scenario.model, Mixture) or not isinstance(schema, TableSchema):
        raise ValueError("are of no use to this family of networks")
    model = scenario.model
    return Pairs(schema, sent, by_class=model.classes_apart, code_pairs=model.code_pairs is True)


RELEASES: dict[str, Callable[[Scenario, Schema, Sent], Statistic]] = {
    plan.STATISTICS: _warm_start,
    plan.MEANS: _means,
    plan.MOMENTS: _centred,
    plan.CELLS: _cells,
    plan.SINGLES: _singles,
    plan.PAIRS: _pairs,
}
"""The statistic of each phase, from what the coordinator sent with its request.

Raises:
    ValueError: it sent something else than the phase needs; the text goes on after "weights".
"""

MOST_VALUES = 2**25
"""In a whole statistic: 256 MiB, of which a release takes several times as much."""


def asked_for(phase: str, scenario: Scenario, schema: Schema, sent: Sent) -> Statistic:
    """The statistic of a phase.

    Raises:
        ConfigError: no phase of that name releases a statistic.
        ValueError: what was sent does not fit it, or it is too large to be held; the text goes on after "weights".
    """
    statistic = lookup(RELEASES, phase, "phase")(scenario, schema, sent)
    if statistic.size > MOST_VALUES:
        raise ValueError(
            f"are for {statistic.size:,} values, above {MOST_VALUES:,}: ask for fewer frequencies, cells, bins or codes"
        )
    return statistic
