"""Learning rates over the rounds of a run, the same at every site and at the server."""

from silogan.common.config.scenario import Training


def learning_rate_factor(training: Training, number: int) -> float:
    """What Adam's learning rates are multiplied by in round `number`, from 1; in (0, 1].

    Where noise decides how far a step goes astray, shorter steps towards the end average it out.
    """
    if training.lr_decay == "constant":
        return 1.0
    return max(0.0, 1 - (number - 1) / training.rounds) or 1 / training.rounds
