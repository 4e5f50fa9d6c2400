"""The server's own training in a round, on the average of the sites' networks; it costs no privacy."""

from dataclasses import replace

from silogan.common.models.schedule import learning_rate_factor
from silogan.common.progress import track
from silogan.common.seeding import random_generator
from silogan.server.fitting.server_trainer import Rates, ServerTrainer
from silogan.server.rounds.after.base import EndedRound
from silogan.server.rounds.after.guard import GuardState
from silogan.server.rounds.checkpoint import Checkpoint


def train(ended: EndedRound, state: Checkpoint) -> Checkpoint:
    """The state with the weights after the server's steps, if the study has any, and with its optimizers' state."""
    training, before = ended.study.scenario.training, ended.before
    adam = training.discriminator_adam == "server"
    if not (adam or training.server_generator_steps):
        return state
    rng = random_generator(ended.study.scenario.seed, "server", state.round)
    factor = learning_rate_factor(training, state.round)
    guarded = factor * GuardState(**before.guard).lr_factor(training.guard)
    rates = Rates(training.lr_generator * guarded, training.lr_discriminator * factor)
    trainer = ServerTrainer(ended.study, before.weights if adam else state.weights, rng, rates)
    trainer.load_state(before.server)
    if adam:
        trainer.discriminator_follows(state.weights)
    alone = 0.0 if training.refine is None else training.refine.head_start * training.rounds
    if state.round > alone:
        for _ in track(range(training.server_generator_steps)):
            trainer.generator_step()
    return replace(state, weights=trainer.weights, server=trainer.state())
