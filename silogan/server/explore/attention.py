"""Where a critic or classifier looks: how its score of a synthetic image would change with each pixel.

The gradient of the score (Simonyan et al., 2014, section 3), averaged over noisy copies of the image (SmoothGrad;
Smilkov et al., 2017, section 3). Its sign is kept: red where a brighter pixel would raise the score, blue where it
would lower it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

from silogan.common.errors import DataError, VerificationError
from silogan.common.modality.image import to_bytes
from silogan.common.models.networks.silent import Silent
from silogan.common.models.weights import Misfit, networks, part_of, under
from silogan.common.wire.run_folder import checkpoint_paths
from silogan.common.wire.study import Study
from silogan.server.explore.sheet import Group, Sheet
from silogan.server.explore.subject import Subject
from silogan.server.rounds.checkpoint import Checkpoint

Score = Callable[[Tensor, int | None], Tensor]
"""float[B] of encoded records [B, *shape] and their class."""

_PAIRS = 4  # of an image and its map, side by side
_COPIES, _NOISE = 32, 0.3  # Smilkov et al. found 10 to 20 % of the range of pixels, which is 2 here
_STRONGEST = 0.99  # quantile of a map that has the full colour
_COLOURS = "RdBu_r"


def attention(subject: Subject, rng: torch.Generator, run_dir: Path, study_id: str) -> Sheet | None:
    """Drawn images, and beside each where the classifier of the release looks, or else the run's critic.

    Args:
        subject: draws the images.
        rng: of latent vectors and noise.
        run_dir: the run's folder, which may hold its last checkpoint.
        study_id: of the generator.

    Returns:
        The sheet; None if the release has no classifier and the folder no critic.

    Raises:
        VerificationError: the checkpoint is damaged, or not of this study.
        DataError: a gradient is not finite.
    """
    latents = subject.latents(subject.rows, _PAIRS, rng=rng)
    label = next(iter(subject.classes.values()))
    if subject.network.classify(subject.records(latents[0], label)) is not None:
        who, score = "the released classifier looks: its class against the others", _log_odds(subject)
    elif (critic := _critic(run_dir, study_id)) is not None:
        who, score = "the critic looks: real against made", critic
    else:
        return None
    groups = [
        Group(name, [_beside(subject, score, z, label, rng) for z in latents])
        for name, label in subject.classes.items()
    ]
    title = f"Where {who}. Red: brighter would raise its score; blue: darker would."
    return Sheet(title, ["image", "gradient"] * _PAIRS, groups)


def saliency(score: Callable[[Tensor], Tensor], records: Tensor, rng: torch.Generator) -> Tensor:
    """Mean gradient of the score over noisy copies of each record.

    Args:
        score: float[B] of encoded records; that of a record depends on it alone.
        records: encoded, float32[B, *shape].
        rng: of the noise.

    Returns:
        float32[B, *shape].

    Raises:
        DataError: a gradient is not finite.
    """
    total = torch.zeros_like(records)
    for _ in range(_COPIES):
        noisy = (records + _NOISE * torch.randn(records.shape, generator=rng)).requires_grad_()
        total += torch.autograd.grad(score(noisy).sum(), noisy)[0]
    if not bool(total.isfinite().all()):
        raise DataError("critic", "has gradients that are not finite", "give the folder of another run")
    return total / _COPIES


def coloured(maps: Tensor) -> Tensor:
    """Signed maps float[B, S, S] as colours uint8[B, 3, S, S], white where 0; each has a scale of its own."""
    strongest = maps.abs().flatten(1).quantile(_STRONGEST, dim=1).clamp(min=torch.finfo(maps.dtype).tiny)
    shares = (maps / strongest.view(-1, 1, 1)).clamp(-1, 1).add(1).div(2)
    colours = colormaps[_COLOURS](shares.numpy(), bytes=True)[..., :3]
    return torch.from_numpy(np.ascontiguousarray(colours.transpose(0, 3, 1, 2)))


def _beside(subject: Subject, score: Score, z: Tensor, label: int | None, rng: torch.Generator) -> Tensor:
    """Each image, and after it its map: uint8[2N, 3, S, S]."""
    with torch.no_grad():
        records = subject.records(z, label)
    images = to_bytes(subject.images_in(records))
    maps = subject.images_in(saliency(lambda noisy: score(noisy, label), records, rng)).sum(dim=1)
    pairs = torch.stack((images.expand(-1, 3, -1, -1), coloured(maps)), dim=1)
    return pairs.flatten(0, 1)


def _log_odds(subject: Subject) -> Score:
    """The logarithm of a class's odds, by the classifier of the release."""

    def score(records: Tensor, label: int | None) -> Tensor:
        logits = subject.network.classify(records)
        if logits is None or label is None:
            raise ValueError("there is no classifier")
        if logits.shape[1] == 1:
            return logits[:, 0]
        others = torch.arange(logits.shape[1]) != label
        return logits[:, label] - logits[:, others].logsumexp(dim=1)

    return score


def _critic(run_dir: Path, study_id: str) -> Score | None:
    """The discriminator of the run's last checkpoint; None if there is none, or it says nothing."""
    checkpoint = Checkpoint.latest(run_dir) if checkpoint_paths(run_dir) else None
    if checkpoint is None:
        return None
    study = Study.load(run_dir)
    if not checkpoint.study_id == study.study_id == study_id:
        raise VerificationError("checkpoint", "is of another study than the generator", "give the run's own folder")
    weights = under("discriminator", part_of(checkpoint.weights, "discriminator"))
    try:
        critic = networks(study.scenario.model, study.schema, weights, ("discriminator",)).discriminator.eval()
    except Misfit as error:
        raise VerificationError("checkpoint", f"has weights that {error}", "give the run's own folder") from None
    if isinstance(critic, Silent):
        return None

    def score(records: Tensor, label: int | None) -> Tensor:
        labels = None if label is None else torch.full((len(records),), label)
        return critic(records, labels).view(len(records), -1)[:, 0]  # where it names classes too, that comes second

    return score
