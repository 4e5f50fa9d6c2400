"""The Flower ServerApp of the coordinator: start or continue a run, and record its outcome."""

import os
from pathlib import Path

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from silogan.common.errors import FederationError, SiloganError, VerificationError
from silogan.common.models.networks import build, initialise
from silogan.common.models.weights import Weights, generator_weights, weights_of
from silogan.common.progress import listening, writer
from silogan.common.seeding import random_generator
from silogan.common.wire.messages import STATISTICS, pack
from silogan.common.wire.run_folder import PROGRESS_FILE, RUNS_VARIABLE
from silogan.common.wire.study import Study
from silogan.server.fitting.release import sent_with, statistic
from silogan.server.release.publish import publish
from silogan.server.rounds.checkpoint import Checkpoint, recover
from silogan.server.rounds.events import restore_events
from silogan.server.rounds.inbox import largest_reply
from silogan.server.rounds.outcome import write_outcome
from silogan.server.rounds.polling_grid import polling
from silogan.server.rounds.strategy import FederatedGAN

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the remaining rounds; `run-dir` in the run's configuration holds the study.

    A coordinator gives the name of a run in its own folder of runs, and the generator is released at the end; a
    simulation gives a whole path, and does that itself.

    Raises:
        SiloganError: how the run failed; it is in the run folder's `outcome.json` as well.
    """
    runs = os.environ.get(RUNS_VARIABLE, "")
    run_dir = Path(runs) / str(context.run_config["run-dir"])
    try:
        with listening(writer(run_dir / PROGRESS_FILE)):
            federate(grid, run_dir)
        if runs:
            conclude(run_dir)
    except OSError as error:
        problem = f"cannot write the run folder ({error.strerror})"
        failure = FederationError("server", problem, "repair the disk, then use --resume")
        write_outcome(run_dir, failure)
        raise failure from error
    except SiloganError as error:
        write_outcome(run_dir, error)
        raise
    except Exception as error:  # the SuperExec does not show its processes' output
        write_outcome(run_dir, FederationError("server", f"failed with {type(error).__name__}", "see the traceback"))
        raise
    write_outcome(run_dir, None)


def federate(grid: Grid, run_dir: Path) -> None:
    """Trains from the latest checkpoint, or from fresh weights, to the last round.

    Raises:
        VerificationError: no checkpoint is whole where there should be one, or it is of another study.
    """
    study = Study.load(run_dir)
    start = recover(run_dir).checkpoint
    if start is None:
        weights = initial_weights(study)
        start = Checkpoint(study.study_id, 0, weights, generator_weights(weights))
        start.save(run_dir)
    if start.study_id != study.study_id:
        raise VerificationError(
            "checkpoint", "belongs to another study", "delete it, or restore the study's own checkpoint"
        )
    restore_events(run_dir, start.round, start.event)
    strategy = FederatedGAN(study, start, run_dir)
    for phase in study.plan.phases:
        remaining = study.scenario.training.rounds - start.round
        if phase.takes_batches and remaining > 0:
            nodes, timeout = polling(grid, largest_reply(start.weights)), study.scenario.federation.round_timeout
            strategy.start(nodes, pack(start.weights), num_rounds=remaining, timeout=timeout)
        elif not phase.takes_batches and phase.name not in start.phases:
            sent = sent_with(study, phase.name, start.released)
            asked_for = statistic(study, phase.name, sent)
            most = largest_reply({STATISTICS: torch.zeros(asked_for.size)})
            start = strategy.statistics(polling(grid, most), phase, asked_for, sent)


def conclude(run_dir: Path) -> None:
    """Writes the generator that a finished run releases, and a sheet of its samples.

    Raises:
        FederationError: the checkpoint of the last round is missing or damaged.
    """
    study, checkpoint = Study.load(run_dir), recover(run_dir).checkpoint
    if checkpoint is None or checkpoint.round < study.scenario.training.rounds:
        hint = "submit the run again: it continues from the previous round"
        raise FederationError("checkpoint of the last round", "is missing or damaged", hint)
    publish(study, checkpoint.ema, run_dir)


def initial_weights(study: Study) -> Weights:
    """Initial random weights of both networks, from the scenario's seed if there is one."""
    gan = build(study.scenario.model, study.drawn)
    initialise(gan, random_generator(study.scenario.seed, "initial weights"))
    return weights_of(gan)
