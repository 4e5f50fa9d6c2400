"""The warm start: from the sites' noisy class moments to Gaussians, and to networks trained on images drawn from them.

DP-FETA (Gong et al., 2025) begins with noisy "central images" of the classes. Here the sites sum first and second
moments, so that the images vary as the class does. All of it is post-processing of one noisy sum.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from silogan.common.config.scenario import WarmStart
from silogan.common.models.networks import uniform_labels
from silogan.common.privacy.plan import STATISTICS, Phase
from silogan.common.privacy.statistics import Moments
from silogan.common.progress import track
from silogan.common.seeding import random_generator
from silogan.common.wire.messages import Weights
from silogan.common.wire.study import Study
from silogan.server.fitting.eigenvalues import largest_of_noise, risen_above
from silogan.server.fitting.server_trainer import Rates, ServerTrainer

_BATCH = 128


@dataclass(frozen=True)
class ClassGaussians:
    """A Gaussian over the features of each class's records.

    Attributes:
        moments: between features and records.
        means: float64[classes, d].
        roots: float64[classes, d, d]; R Rᵀ is a class's covariance.
    """

    moments: Moments
    means: Tensor
    roots: Tensor

    @staticmethod
    def fit(moments: Moments, total: Tensor, noise: float) -> "ClassGaussians":
        """Estimates class Gaussians from noisy moments.

        A class's covariance is that of all classes within themselves, which the noise blurs least, and of its own
        deviation from it those directions that rise above what noise alone would show: the largest eigenvalue of a
        symmetric matrix of noise s is about 2 s √d (Wigner, 1958).

        Args:
            moments: what the entries of `total` mean.
            total: float[moments.size], the sum over the sites.
            noise: standard deviation of the noise in each of its entries.
        """
        classes = moments.of_classes(total)
        edge = largest_of_noise(moments.noise_of_second_moments(noise), moments.dimensions)
        counts = [max(one.count, 3 * noise, 1.0) for one in classes]  # an empty class must not cause a division by zero
        means = [one.mean_sum / count for one, count in zip(classes, counts, strict=True)]
        own = [
            one.second_sum / count - torch.outer(mean, mean)
            for one, count, mean in zip(classes, counts, means, strict=True)
        ]
        everybody = sum(counts)
        within = sum((count / everybody * matrix for count, matrix in zip(counts, own, strict=True)), torch.zeros(1))
        shared = risen_above(within, edge * math.sqrt(len(counts)) / everybody)
        roots = [
            _root(shared + risen_above(matrix - shared, edge / count))
            for count, matrix in zip(counts, own, strict=True)
        ]
        return ClassGaussians(moments, torch.stack(means), torch.stack(roots))

    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Encoded records float32[N, *shape] of the classes int64[N]."""
        z = torch.randn(len(labels), self.moments.dimensions, generator=rng, dtype=torch.float64)
        varied = torch.empty_like(z)
        for label in labels.unique().tolist():
            varied[labels == label] = z[labels == label] @ self.roots[label].T
        return self.moments.features.back(self.means[labels] + varied)


def pretrain(study: Study, phase: Phase, settings: WarmStart, weights: Weights, total: Tensor, sites: int) -> Weights:
    """Both networks after training on images that the sites' moments describe.

    Args:
        study: what is to be trained.
        phase: in which the moments were released.
        settings: of the warm start.
        weights: fresh weights of both networks.
        total: float[moments.size], the sum over the sites that have answered.
        sites: how many these are.
    """
    moments = Moments(study.schema, settings)
    gaussians = ClassGaussians.fit(moments, total, phase.noise_multiplier * math.sqrt(sites))
    before = () if phase.name == STATISTICS else (phase.name,)
    rng = random_generator(study.scenario.seed, "warm start", *before)
    rates = Rates(settings.lr_generator, settings.lr_discriminator)
    trainer = ServerTrainer(study, weights, rng, rates)
    for _ in track(range(settings.steps)):
        labels = uniform_labels(_BATCH, study.schema.num_classes, rng)
        trainer.discriminator_step(gaussians.sample(labels, rng), labels)
        trainer.generator_step()
    return trainer.weights


def largest_total(declared_size: int, noise_multiplier: float, size: int) -> float:
    """An L2 norm that no honest site's noisy sum exceeds but with negligible probability.

    Each unit adds at most 1, and ‖N(0, σ²I)‖ < σ(√size + 8) but for a chance of e⁻³² (Laurent and Massart, 2000). A
    site may hold more units than it has declared; ten times as many are not believed.
    """
    return 10.0 * declared_size + noise_multiplier * (math.sqrt(size) + 8)


def _root(matrix: Tensor) -> Tensor:
    """R with R Rᵀ the nearest covariance to a symmetric matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt()
