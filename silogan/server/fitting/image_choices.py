"""What a study of images leaves open, chosen by public numbers alone: records, classes, hospitals, pixels, the budget.

The noise in a covariance is told by the largest eigenvalue that it would show where there is nothing, as a share of all
of a class's variance (`blur`). It grows with the frequencies looked at and with the number of cells, and falls with
records and budget. So as many of both are taken as keep it below `MOST_BLUR`: frequencies first, since cells without
detail are of no use.
"""

from collections.abc import Sequence

from silogan.common.config.scenario import Scenario
from silogan.common.modality import Schema
from silogan.common.modality.image_options import Gaussians
from silogan.common.modality.joint import JointSchema, image_of
from silogan.common.privacy.plan import release_share
from silogan.common.privacy.statistics import CentredMoments
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.fitting.eigenvalues import largest_of_noise
from silogan.server.fitting.judgement import TOO_FEW, UNCERTAIN, USEFUL, Judgement, of_critic, option
from silogan.server.fitting.public_numbers import declared_records, noise_of_total

MOST_BLUR = 0.05
"""Above it what learns from the images learns the noise: of X-rays with a blur of 0.07 one fit in three was useless."""

TOO_MUCH_BLUR = 0.1
"""Above it no fit that was measured could be relied on, and the release is a linear classifier alone."""

_FREQUENCIES = range(8, 17)
_CELLS = (1, 2, 4, 8)


def choose(scenario: Scenario, model: Gaussians, schema: Schema, sites: Sequence[SiteDeclaration]) -> Gaussians:
    """The model, with what is open of `frequencies`, `cells` and `draws` chosen."""
    frequencies, cells = model.frequencies, model.cells
    if frequencies is None:
        most = image_of(schema).shape[-1]
        possible = [k for k in _FREQUENCIES if k <= most] or [most]
        clear = [k for k in possible if blur(scenario, schema, sites, k, cells or 1) <= MOST_BLUR]
        frequencies = max(clear, default=possible[0])
    if cells is None:
        clear = [n for n in _CELLS if blur(scenario, schema, sites, frequencies, n) <= MOST_BLUR]
        cells = max(clear, default=1)
    draws = model.draws
    if draws is None:
        draws = blur(scenario, schema, sites, frequencies, cells) <= TOO_MUCH_BLUR
    return model.model_copy(update={"frequencies": frequencies, "cells": cells, "draws": draws})


def judge(study: Study) -> Judgement:
    """What to expect of a study; the figure is its `blur`."""
    model = study.scenario.model
    assert isinstance(model, Gaussians) and model.frequencies is not None  # noqa: S101, PT018  (chosen)
    found = blur(study.scenario, study.schema, study.sites, model.frequencies, model.cells or 1)
    share = f"noise alone would show a direction with {found:.1%} of a class's variance"
    if found <= MOST_BLUR:
        return Judgement(found, USEFUL, f"{share}, less than the {MOST_BLUR:.0%} up to which fits were useful")
    if found <= TOO_MUCH_BLUR:
        told = f"{share}; above {MOST_BLUR:.0%} it depends on the records whether images are of use"
        return Judgement(found, UNCERTAIN, told)
    instead = "a linear classifier is released" if model.draws is False else "the linear classifier is worth more"
    told = f"{share}; above {TOO_MUCH_BLUR:.0%} images teach little, and {instead}"
    return Judgement(found, TOO_FEW, told)


def reasons(wanted: Gaussians, chosen: Gaussians) -> list[str]:
    """Why each option is as it is."""
    limit = f"as many as noise leaves clear (less than {MOST_BLUR:.0%} of a class's variance), or the fewest"
    told = [option("frequencies", wanted, chosen, limit), option("cells", wanted, chosen, limit), *of_critic(chosen)]
    if wanted.draws is None and not chosen.draws:
        told.append(f"model.draws: false, since noise would show more than {TOO_MUCH_BLUR:.0%} of a class's variance")
    return told


def blur(scenario: Scenario, schema: Schema, sites: Sequence[SiteDeclaration], frequencies: int, cells: int) -> float:
    """Largest eigenvalue of the noise in the covariance of a cell of average size, as a share of its variance.

    0 without privacy.
    """
    model = scenario.model
    assert isinstance(model, Gaussians)  # noqa: S101  (its family)
    share = 1 - model.means_share - (model.moments_share if cells > 1 else 0)
    total = noise_of_total(scenario.privacy, sites, share * release_share(scenario))
    noise = CentredMoments.noise_of_second_moments(total)
    records = declared_records(sites) / (schema.num_classes * cells)
    cells_of_row = schema.row.cells if isinstance(schema, JointSchema) else 0
    return largest_of_noise(noise, image_of(schema).shape[0] * frequencies**2 + cells_of_row) / records
