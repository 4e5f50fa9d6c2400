"""More than was approved: the same round again and again with other weights, and the warm start several times.

Once a study that was approved at ε = 1.0 was charged 5.33 in this way, and the audit found nothing.
"""

from silogan.client.ledger.ledger import Charge, Ledger
from silogan.common.wire.study import Study
from tests.attacks.conftest import SERVER, HospitalNode, answered


def test_one_round_is_answered_once_whatever_is_sent_with_it(hospital_node: HospitalNode) -> None:
    study = hospital_node.study()
    hospital_node.approve(study)
    hospital = hospital_node.hospital
    assert answered(hospital_node.ask(study, hospital=hospital))
    charged = hospital_node.ledger.epsilon()
    for weights in range(1, 9):
        assert not answered(hospital_node.ask(study, weights=weights, hospital=hospital))
        assert "round 1 of training: was already answered" in hospital_node.last_reason()
    assert hospital_node.ledger.epsilon() == charged == study.plan.epsilon_after("training", 1)
    assert hospital_node.audit().findings == ()


def test_the_same_request_gets_the_same_bytes_and_costs_nothing(hospital_node: HospitalNode) -> None:
    """What a coordinator that was killed needs."""
    study = hospital_node.study()
    hospital_node.approve(study)
    first, again = (hospital_node.ask(study) for _ in range(2))
    assert answered(again)
    assert {name: array.data for name, array in first["weights"].items()} == {
        name: array.data for name, array in again["weights"].items()
    }
    assert hospital_node.kinds() == ["approve", "reserve", "settle"]


def test_the_whole_of_it_never_costs_more_than_was_approved(hospital_node: HospitalNode) -> None:
    """The warm start and every round, each asked for five times, rounds with other weights, under ε = 1 of 8."""
    training = {"local_steps": 3, "rounds": 2, "warm_start": {"share": 0.5, "frequencies": 4}}
    study = hospital_node.study(training=training, privacy={"epsilon": 1.0, "noise_multiplier": None})
    cost = hospital_node.node.cost(study, hospital_node.registration, SERVER)
    assert cost.epsilon_alone <= 1.0
    hospital_node.approve(study)
    hospital = hospital_node.hospital
    told = [
        (number, weights)
        for number in (0, 1, 2, 3, 4)
        for weights in range(5)
        if answered(hospital_node.ask(study, number, weights=weights, hospital=hospital))
    ]
    # the same request, as that for the warm start always is, gets the same answer, which tells nothing new
    assert told == [*((0, time) for time in range(5)), (1, 0), (2, 0)]
    assert hospital_node.ledger.epsilon() == cost.epsilon_alone
    assert hospital_node.audit().findings == ()


def test_interruptions_take_spare_rounds_and_no_more(hospital_node: HospitalNode) -> None:
    """A coordinator that makes a site fail in the middle of a round, as by cutting its power, gains nothing by it."""
    study = hospital_node.study(privacy={"spare_rounds": 2})
    hospital_node.approve(study)
    for _ in range(2):  # charged, and not answered
        charge_a_round(hospital_node.ledger, study)
    for number in (1, 2, 3, 4):
        assert answered(hospital_node.ask(study, number))
    assert hospital_node.kinds().count("reserve") == study.plan.training.rounds == 6
    assert not answered(hospital_node.ask(study, 5))  # the spare rounds are none of their own
    assert hospital_node.ledger.epsilon() <= (study.plan.epsilon_after() or 0)


def charge_a_round(ledger: Ledger, study: Study, number: int = 1) -> None:
    ledger.reserve(Charge.of(study.plan, "training", number, study.study_id))


def test_without_a_spare_round_an_interruption_costs_the_last_one(hospital_node: HospitalNode) -> None:
    study = hospital_node.study()
    hospital_node.approve(study)
    charge_a_round(hospital_node.ledger, study)
    told = [answered(hospital_node.ask(study, number)) for number in (1, 2, 3, 4)]
    assert told == [True, True, True, False]
    assert "has no spare round left" in hospital_node.last_reason()


def test_an_approval_that_is_renewed_gives_nothing_back(hospital_node: HospitalNode) -> None:
    study = hospital_node.study()
    hospital_node.approve(study)
    assert answered(hospital_node.ask(study))
    hospital_node.node.reject(study, hospital_node.registration, "for a day")
    hospital_node.approve(study)
    assert not answered(hospital_node.ask(study, weights=1))
    assert answered(hospital_node.ask(study, 2))
