"""Row 8: engine and precision were a study's to choose, and no policy's to forbid.

On 97d0510 `ghost` refused where a gradient was not finite, which told of a single patient, and bfloat16 norms came to
1.003 C. Now there is one engine, and a hospital's node has one precision.
"""

import math
from pathlib import Path

import pytest
import torch

from silogan.client.node.node import read_proposal
from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import ConfigError, PrivacyRefusal
from silogan.common.models.networks import build
from silogan.common.models.weights import weights_of
from silogan.common.wire.messages import Instruction, pack
from silogan.common.wire.refusals import refusal_from_record
from silogan.common.wire.run_folder import RUN_FILE
from tests.attacks.conftest import SERVER, HospitalNode, answered


@pytest.mark.parametrize("engine", ["ghost", "hooks", "bookkeeping"])
def test_no_study_chooses_an_engine(engine: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.dp_engine: unknown key"):
        parse_scenario({"name": "study", "training": {"dp_engine": engine}})


def test_a_node_refuses_another_precision(hospital_node: HospitalNode) -> None:
    study = hospital_node.study(training={"precision": "bfloat16"})
    (objection,) = hospital_node.node.cost(study, hospital_node.registration, SERVER).objections
    assert "bfloat16" in objection
    with pytest.raises(PrivacyRefusal, match="bfloat16"):
        hospital_node.approve(study)
    assert not answered(hospital_node.ask(study))


def test_gradients_that_are_not_finite_are_no_refusal(hospital_node: HospitalNode) -> None:
    """The weights of the attack on `ghost`: only whoever has class 9 gives an infinite gradient."""
    study = hospital_node.study(training={"loss": "hinge"})
    hospital_node.approve(study)
    gan = build(study.scenario.model, study.schema)
    with torch.no_grad():
        for parameter in (*gan.generator.parameters(), *gan.discriminator.parameters()):
            parameter.zero_()
        gan.discriminator.get_parameter("by_class.weight")[9] = -1e36
        gan.discriminator.get_parameter("features.0.bias").fill_(16.0)
        gan.discriminator.get_parameter("features.0.weight").fill_(1e38)
    for number in (1, 2):
        record = Instruction(study.study_id, study.plan.plan_id, "training", number).to_record(pack(weights_of(gan)))
        answer = hospital_node.hospital.answer(record)
        assert answered(answer), refusal_from_record(answer)
    assert math.isfinite(hospital_node.ledger.epsilon())


def test_a_proposal_with_an_engine_is_refused_when_it_is_read(hospital_node: HospitalNode, tmp_path: Path) -> None:
    hospital_node.study().save(tmp_path)
    text = (tmp_path / RUN_FILE).read_text(encoding="utf-8")
    (tmp_path / RUN_FILE).write_text(
        text.replace("  training:\n", "  training:\n    dp_engine: ghost\n"), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="dp_engine"):
        read_proposal(tmp_path / RUN_FILE)
