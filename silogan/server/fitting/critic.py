"""Where the critic of images begins: a map of its features, from images of the release.

It costs no privacy: what it looks at was drawn from what the hospitals have released.
"""

import torch
from torch import Tensor

from silogan.common.models.networks.image_critic import MAP, ImageCritic
from silogan.common.models.weights import Weights, networks, under
from silogan.common.seeding import random_generator
from silogan.common.wire.study import Study

_DRAWN, _AT_ONCE = 2000, 100  # images
_TYPICAL = 0.45  # norm of features: records that are twice as unusual as most are not clipped
_LEAST = 0.1  # spread of a feature, as a share of the average one's: what hardly varies would drown all else
_TINY = 1e-6  # where all images are alike


def critic_weights(study: Study, weights: Weights) -> Weights:
    """The map of the study's critic; nothing if it has none.

    Args:
        study: says the networks.
        weights: of both networks, the generator's fitted.
    """
    gan = networks(study.scenario.model, study.schema, weights)
    if not isinstance(gan.discriminator, ImageCritic):
        return {}
    rng, critic = random_generator(study.scenario.seed, "critic"), gan.discriminator
    with torch.no_grad():
        draws = (gan.generator.draw(_AT_ONCE, study.schema.num_classes, rng)[0] for _ in range(_DRAWN // _AT_ONCE))
        features = torch.cat([critic.scattering(images) for images in draws])
    return under("discriminator", under(MAP, standardised(features)))


def standardised(features: Tensor) -> Weights:
    """`centre` and `scale`, float32[d] each, of features float32[N, d].

    A feature is divided by the square root of its spread, not by all of it: half as far as would make all features
    equal, since those that vary least are mostly noise. All of them are then scaled alike.
    """
    features = features.double()
    centre, spread = features.mean(dim=0), features.std(dim=0)
    scale = spread.clamp(min=max(_LEAST * float(spread.mean()), _TINY)).rsqrt()
    typical = ((features - centre) * scale).norm(dim=1).median()
    scale = scale * _TYPICAL / typical.clamp(min=_TINY)
    return {"centre": centre.float(), "scale": scale.float()}
