"""The Flower ServerApp of the coordinator: begin or go on, and say how it ended."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.errors import FederationError, SiloganError, VerificationError
from common.messages import Weights, pack
from common.networks import build, initialise
from common.seeding import random_generator
from common.study import Study
from server.checkpoint import Checkpoint
from server.events import restore_events
from server.grid import prompt
from server.outcome import write_outcome
from server.strategy import FederatedGAN

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the rounds that are still to do; `run-dir` in the run's configuration holds the study.

    Raises:
        SiloganError: how the run failed; it is in the run folder's `outcome.json` as well.
    """
    run_dir = Path(str(context.run_config["run-dir"]))
    try:
        federate(grid, run_dir)
    except OSError as error:
        failure = FederationError(
            "server", f"cannot write the run folder ({error.strerror})", "mend the disk, then --resume"
        )
        write_outcome(run_dir, failure)
        raise failure from error
    except SiloganError as error:
        write_outcome(run_dir, error)
        raise
    write_outcome(run_dir, None)


def federate(grid: Grid, run_dir: Path) -> None:
    """Trains from the latest checkpoint, or from fresh weights, to the last round.

    Raises:
        VerificationError: the checkpoint is damaged or of another study.
    """
    study = Study.load(run_dir)
    start = Checkpoint.latest(run_dir)
    if start is None:
        weights = initial_weights(study)
        generator = {name: tensor for name, tensor in weights.items() if name.startswith("generator.")}
        start = Checkpoint(study.study_id, 0, weights, generator)
        start.save(run_dir)
    if start.study_id != study.study_id:
        raise VerificationError("checkpoint", "belongs to another study", "delete it or restore the study's own")
    restore_events(run_dir, start.round, start.event)
    remaining = study.scenario.training.rounds - start.round
    if remaining > 0:
        FederatedGAN(study, start, run_dir).start(
            prompt(grid), pack(start.weights), num_rounds=remaining, timeout=study.scenario.federation.round_timeout
        )


def initial_weights(study: Study) -> Weights:
    """Freshly drawn weights of both networks, from the scenario's seed where there is one."""
    gan = build(study.scenario.model, study.schema)
    initialise(gan, random_generator(study.scenario.seed, "initial weights"))
    return {f"{part}.{name}": t for part, network in gan._asdict().items() for name, t in network.state_dict().items()}
