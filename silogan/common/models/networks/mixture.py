"""A mixture of products of distributions: in each component of it the columns of a row are independent.

The server fits it to noisy counts (`server/fitting/mixture.py`), and a critic may refine it
(`server/fitting/relaxed.py`). Conditions are exact: a component is as likely as it meets them, and within it only the
columns that they name change.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from silogan.common.errors import ConfigError
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_options import MOST_BINS, Mixture
from silogan.common.modality.table_where import Where
from silogan.common.models.networks.base import Classify, Discriminator, Generator, Sampler
from silogan.common.models.networks.bayes import bayes
from silogan.common.models.networks.mixture_sampler import MixtureSampler, Numbers
from silogan.common.models.networks.row_critic import RowCritic
from silogan.common.models.networks.silent import Silent

MOST_NUMBERS = 2**25
"""Probabilities of a generator, 128 MiB."""


def build(model: Mixture, schema: TableSchema) -> tuple[Generator, Discriminator]:
    """The mixture, uniform until it is fitted, and its critic, which says nothing where none is trained.

    Raises:
        ConfigError: it would hold more than `MOST_NUMBERS`, or has a critic where rows have code sets.
    """
    numbers = schema.cells + schema.codes
    if model.components * numbers > MOST_NUMBERS:
        problem = f"is {model.components}, too many for {numbers} cells"
        raise ConfigError("model.components", problem, "lower it")
    if model.critic and schema.codes:
        raise ConfigError("training.refine", "has a critic that cannot read code sets", "leave it out")
    critic = RowCritic(schema.cells, schema.num_classes, model.critic) if model.critic else Silent()
    counted, tree = model.counted(schema), model.classes_apart
    return MixtureOfProducts(schema, model.components, model.most_bins, tree=tree, counted=counted), critic


class MixtureOfProducts(Generator):
    """Chooses a component, and in it a cell of each column, and whether there is each code.

    Args:
        schema: of the rows.
        components: K.
        bins: most groups of a number in the release, for its classifiers.
        tree: whether pairs were counted in each class, and so tell a tree of columns.
        counted: the first of the columns, those that hospitals counted, for its classifiers; all if None.

    Attributes:
        blocks: where in a row each column's cells are.
        bayes: classifiers that the release gives as well; None of one class.
        chances: float32[K], of the components.
        classes: float32[K, classes], of each class in each component.
        cells: float32[K, cells], of each cell in each component; those of a column add up to 1.
        codes: float32[K, codes], of each code in each component; None of a table without code sets.
    """

    conditional = True
    knows_frequencies = True
    chances: Tensor
    classes: Tensor
    cells: Tensor
    codes: Tensor | None

    def __init__(
        self,
        schema: TableSchema,
        components: int,
        bins: int = MOST_BINS,
        *,
        tree: bool = True,
        counted: TableSchema | None = None,
    ) -> None:
        super().__init__()
        self.blocks, self._numbers, self._codes = schema.blocks, schema.numbers, schema.codes
        self.latent_dim = 1 + len(self.blocks) + self._numbers + self._codes
        self.register_buffer("chances", torch.full((components,), 1 / components))
        self.register_buffer("classes", torch.full((components, schema.num_classes), 1 / schema.num_classes))
        even = [torch.full((block.stop - block.start,), 1 / (block.stop - block.start)) for block in self.blocks]
        self.register_buffer("cells", torch.cat(even).repeat(components, 1))
        self.register_buffer("codes", torch.full((components, self._codes), 0.5) if self._codes else None)
        self.bayes = bayes(counted or schema, bins, tree=tree) if schema.num_classes > 1 else None

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """See `Generator.forward`: of each latent number the share of N(0, 1) below it decides."""
        if labels is None:
            raise ValueError("this generator needs labels")
        uniform, of_class = torch.special.ndtr(z), self.joint
        cumulative = (of_class / of_class.sum(dim=0)).cumsum(dim=0).T.contiguous()
        chosen = _first_above(cumulative[labels], uniform[:, 0])
        batch = z.new_zeros(len(z), self.cells.shape[1])
        for column, block in enumerate(self.blocks):
            cell = _first_above(self.cells[chosen, block].cumsum(dim=1), uniform[:, 1 + column])
            batch[:, block].scatter_(1, cell.unsqueeze(1), 1.0)
        positions, codes = uniform[:, 1 + len(self.blocks) :].split([self._numbers, self._codes], dim=1)
        if self.codes is not None:
            codes = (codes < self.codes[chosen]).to(z.dtype)
        return torch.cat((batch, positions, codes), dim=1)

    def classify(self, records: Tensor) -> Tensor | None:
        """See `Generator.classify`."""
        return None if self.bayes is None else self.bayes(records)

    def baselines(self) -> Mapping[str, Classify]:
        """See `Generator.baselines`."""
        return {} if self.bayes is None else {"naive Bayes": self.bayes.naive}

    def draw(self, count: int, classes: int, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:  # noqa: ARG002
        """See `Generator.draw`; classes are as frequent as in the mixture."""
        z = torch.randn(count, self.latent_dim, generator=rng, device=rng.device)
        labels = self.draw_classes(count, rng)
        return self(z, labels), labels

    def draw_classes(self, count: int, rng: torch.Generator) -> Tensor:
        """Labels int64[count], as frequent as in the mixture, on the device of `rng`."""
        uniform = torch.rand(count, generator=rng, device=rng.device)
        cumulative = self.joint.sum(dim=0).cumsum(dim=0)
        return _first_above((cumulative / cumulative[-1]).expand(count, -1).contiguous(), uniform)

    @property
    def joint(self) -> Tensor:
        """float32[K, classes], the probability of each component with each class."""
        return self.chances.unsqueeze(1) * self.classes

    def sampler(self, schema: TableSchema, where: Where | None = None) -> Sampler:
        """See `Generator.sampler`."""
        chances, classes, cells = (tensor.double().numpy() for tensor in (self.chances, self.classes, self.cells))
        codes = None if self.codes is None else self.codes.double().numpy()
        return MixtureSampler(Numbers(chances, classes, cells, codes), schema, where or Where())


def _first_above(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """For each row of rising sums [N, n], the first that is above a number [N] of [0, 1]; the last if none is."""
    found = torch.searchsorted(cumulative, uniform.contiguous().unsqueeze(1), right=True).squeeze(1)
    return found.clamp(max=cumulative.shape[1] - 1)
