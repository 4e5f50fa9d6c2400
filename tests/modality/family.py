"""Networks that draw rows of a table."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from silogan.common.models.networks import Discriminator, Generator
from tests.modality.schema import Perceptron, TableSchema


class RowGenerator(Generator):
    conditional = True

    def __init__(self, model: Perceptron, schema: TableSchema) -> None:
        super().__init__()
        self.latent_dim, self._classes = model.latent_dim, schema.num_classes
        inputs, wide = self.latent_dim + self._classes, model.hidden
        self.layers = nn.Sequential(
            nn.Linear(inputs, wide), nn.LeakyReLU(0.2), nn.Linear(wide, *schema.shape), nn.Tanh()
        )

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        return self.layers(torch.cat((z, F.one_hot(labels, self._classes).to(z.dtype)), dim=1))


class RowDiscriminator(Discriminator):
    conditional = True

    def __init__(self, model: Perceptron, schema: TableSchema) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(*schema.shape, model.hidden), nn.LeakyReLU(0.2))
        self.shared = nn.Linear(model.hidden, 1)
        self.by_class = nn.Embedding(schema.num_classes, model.hidden)

    def forward(self, records: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        h = self.features(records)
        return self.shared(h).squeeze(1) + (self.by_class(labels) * h).sum(dim=1)


def build(model: Perceptron, schema: TableSchema) -> tuple[Generator, Discriminator]:
    return RowGenerator(model, schema), RowDiscriminator(model, schema)
