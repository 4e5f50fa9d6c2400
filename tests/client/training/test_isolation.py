"""The check that a machine keeps the rows of a block apart."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from silogan.client.training import isolation
from silogan.client.training.isolation import check_isolation, check_statistic
from silogan.common.config.scenario import WarmStart
from silogan.common.errors import VerificationError
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_features import Spectrum
from silogan.common.models.losses import LOSSES
from silogan.common.privacy.statistics import CentredMoments, Means, Moments, Statistic

FLOAT32 = torch.autocast("cpu", torch.bfloat16, enabled=False)


class Honest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4 * 36, 1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(images)).flatten(1)).squeeze(1)


class Mixing(Honest):
    """As a library could: the last digit of an answer depends on who is beside it."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return super().forward(images * (1 + 1e-6 * images.mean()), labels)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_known", set())


def check(network: nn.Module, views: int = 1, block: int = 32) -> None:
    check_isolation(network, LOSSES["nonsaturating"], (1, 8, 8), block=block, views=views, precision=FLOAT32)


@pytest.mark.parametrize("views", [1, 3])
def test_a_machine_that_keeps_rows_apart_passes_and_the_network_stays_as_it_was(views: int) -> None:
    torch.manual_seed(0)
    network = Honest()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    check(network, views)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.layer._forward_hooks


def test_one_that_mixes_them_by_a_last_digit_is_refused() -> None:
    with pytest.raises(VerificationError, match="depends on the others in a batch"):
        check(Mixing())


class Placed(Honest):
    """As vectors of a processor do where rows do not fill them: the last places are computed by other code."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        answers = super().forward(images, labels)
        return torch.cat((answers[:-3], answers[-3:] * (1 + 2.0**-22)))


def test_one_where_the_place_decides_is_refused() -> None:
    with pytest.raises(VerificationError, match="depends on where it stands in a batch"):
        check(Placed())


def test_a_loss_where_the_place_decides_is_refused() -> None:
    honest = LOSSES["nonsaturating"]

    def real(logits: Tensor) -> Tensor:
        return honest.real(logits) * torch.ones_like(logits).index_fill(0, torch.tensor(3), 1 + 2.0**-22)

    with pytest.raises(VerificationError, match="depends on where it stands"):
        check_isolation(Honest(), replace(honest, real=real), (1, 8, 8), block=32, views=1, precision=FLOAT32)


def test_what_has_passed_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Honest()
    check(network)
    monkeypatch.setattr(isolation, "_seen", lambda *_: pytest.fail("asked again"))
    check(network)


def test_each_precision_is_tried_by_itself() -> None:
    class MixingWhereRounded(Honest):
        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            rounded = torch.is_autocast_enabled("cpu")
            return super().forward(images * (1 + images.mean()) if rounded else images, labels)

    network = MixingWhereRounded()
    check(network)
    with pytest.raises(VerificationError, match="depends on the others"):
        check_isolation(
            network,
            LOSSES["nonsaturating"],
            (1, 8, 8),
            block=32,
            views=1,
            precision=torch.autocast("cpu", torch.bfloat16, enabled=True),
        )


class Misplacing(Statistic):
    """The first record of a block is somewhere else than the same record at other places, or has another row."""

    slots, width = 2, 3

    def __init__(self, what: str) -> None:
        self._what = what

    def rows(self, records: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        rows = torch.ones(len(records), 3).double()
        if self._what == "row":
            rows[0, 0] += 2**-50
        if self._what == "others":
            rows[:, 1] += records.mean()
        return rows

    def placed(self, records: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        places = labels.clone()
        if self._what == "slot":
            places[0] = 1
        return places, self.rows(records, labels)


@pytest.mark.parametrize("what", ["row", "slot", "others"])
def test_a_statistic_that_mixes_records_is_refused(what: str) -> None:
    with pytest.raises(VerificationError, match="is not private: what it computes for a record depends on"):
        check_statistic(Misplacing(what), (1, 8, 8), 32)


@pytest.mark.parametrize("cells", [1, 4])
def test_statistics_of_a_fit_give_each_record_the_same_bits_everywhere(cells: int) -> None:
    schema, bits = ImageSchema(28, 1, ("a", "b")), cells.bit_length() - 1
    spectrum = Spectrum(schema.shape, 16)
    sent = {"centres": torch.zeros(2, 256), "radius": torch.tensor(0.5)}
    cuts = {
        "cuts": torch.randn(2, bits, 256, generator=torch.Generator().manual_seed(0)),
        "levels": torch.zeros(2, bits),
    }
    check_statistic(CentredMoments(schema, spectrum, sent | (cuts if bits else {}), cells), schema.shape, 320)
    check_statistic(Means(schema, spectrum), schema.shape, 320)
    check_statistic(Moments(schema, WarmStart(frequencies=12)), schema.shape, 320)
