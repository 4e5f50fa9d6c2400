"""Book-keeping rules, one family of layers a file. A new layer is one function and one line here.

The layers must be those of `silogan.common.models.networks.supported`; a test compares them.
"""

from torch import nn

from silogan.client.mechanism.dpsgd.rules.base import Contribution, Factors, Rule
from silogan.client.mechanism.dpsgd.rules.convolution import conv2d, conv_transpose2d, standardised_conv2d
from silogan.client.mechanism.dpsgd.rules.embedding import embedding
from silogan.client.mechanism.dpsgd.rules.linear import linear
from silogan.client.mechanism.dpsgd.rules.normalisation import group_norm, instance_norm, layer_norm
from silogan.common.models.networks.standardised import StandardisedConv2d

RULES: dict[type[nn.Module], Rule] = {
    nn.Conv2d: conv2d,
    nn.ConvTranspose2d: conv_transpose2d,
    nn.Embedding: embedding,
    nn.GroupNorm: group_norm,
    nn.InstanceNorm2d: instance_norm,
    nn.LayerNorm: layer_norm,
    nn.Linear: linear,
    StandardisedConv2d: standardised_conv2d,
}

__all__ = ["RULES", "Contribution", "Factors", "Rule"]
