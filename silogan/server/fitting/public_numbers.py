"""What is known of a release before it is made: how many records there are, and how much noise there will be."""

import math
from collections.abc import Sequence

from silogan.common.config.scenario import Privacy
from silogan.common.privacy.accounting import information
from silogan.common.wire.study import SiteDeclaration


def declared_records(sites: Sequence[SiteDeclaration]) -> int:
    """Records of all sites, by their declared sizes."""
    return sum(site.declared_size for site in sites)


def noise_of_total(privacy: Privacy, sites: Sequence[SiteDeclaration], share: float) -> float:
    """Standard deviation of the noise in each entry of the sum over the sites; 0 without privacy.

    Args:
        privacy: budget of each site.
        sites: that release.
        share: of the budget's information μ², above 0.
    """
    return math.sqrt(len(sites) / (information(privacy.epsilon, privacy.delta) * share)) if privacy.enabled else 0.0
