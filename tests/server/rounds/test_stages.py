from typing import Any

import pytest

from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.image import ImageSchema
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.rounds.stages import stages

TABLE = {"data": {"source": "breast-cancer"}, "model": {"family": "mixture"}}


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        ({"training": {"rounds": 2}}, ["rounds"]),
        ({"training": {"rounds": 2, "warm_start": {}}}, ["statistics", "fitting", "rounds"]),
        ({"model": {"family": "gaussians"}, "training": {"rounds": 0}}, ["statistics", "fitting"]),
        ({**TABLE, "training": {"rounds": 0, "refine": {}}}, ["statistics", "fitting", "refinement"]),
    ],
)
def test_phases_have_their_names_and_their_order(sections: dict[str, Any], names: list[str]) -> None:
    scenario = parse_scenario({"name": "named", **sections})
    study = Study(scenario, ImageSchema(8, 1, ("0", "1")), make_plan(scenario), (SiteDeclaration("one", 700),))
    assert stages(study) == names
