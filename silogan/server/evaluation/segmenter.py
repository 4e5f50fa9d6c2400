"""The segmenter for evaluation: a small U-Net (Ronneberger, Fischer and Brox, 2015), its training, and its Dice.

A segmenter that learnt from synthetic images with masks alone and is tested on real ones says how useful these pairs
are, as a classifier does for images with labels (`server/evaluation/classifier.py`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from silogan.common.modality.image import to_unit_range
from silogan.common.progress import track
from silogan.server.evaluation.classifier import PEAK_LEARNING_RATE, WEIGHT_DECAY, shifted

STEPS = 500
"""Of training, however many images there are: whoever learns from fewer sees them more often."""

LARGEST = 64
"""Height and width, in pixels, at which it looks at images: larger ones are averaged down, which bounds time."""

_BATCH = 32
_WIDTH = 8
_GROUPS = 4
_AT_ONCE = 256


class Segmenter(nn.Module):
    """A U-Net that halves images twice, of about 7,000 weights.

    Args:
        channels: 1 or 3.
        generator: CPU generator of the initial weights; no global random state is read or changed.
    """

    def __init__(self, channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.first, self.second = _block(channels, _WIDTH), _block(_WIDTH, 2 * _WIDTH)
        self.deepest = _block(2 * _WIDTH, 2 * _WIDTH)
        self.third, self.last = _block(4 * _WIDTH, _WIDTH), _block(2 * _WIDTH, _WIDTH)
        self.output = skip_init(nn.Conv2d, _WIDTH, 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits float[B, 1, S, S] of each pixel of images float[B, C, S, S] in [-1, 1]."""
        size = x.shape[-1]
        if size > LARGEST:
            x = F.interpolate(x, size=(LARGEST, LARGEST), mode="bilinear", antialias=True)
        fine = self.first(x)
        coarse = self.second(F.avg_pool2d(fine, 2))
        found = self.deepest(F.avg_pool2d(coarse, 2))
        found = self.third(torch.cat((coarse, _as_large(found, coarse)), dim=1))
        found = self.output(self.last(torch.cat((fine, _as_large(found, fine)), dim=1)))
        return found if size <= LARGEST else F.interpolate(found, size=(size, size), mode="bilinear")


def train_segmenter(images: Tensor, masks: Tensor, *, seed: int, device: torch.device | str) -> Segmenter:
    """Trains a segmenter; the same arguments give the same one on a CPU.

    The loss is cross-entropy and 1 - Dice of a whole batch (Milletari, Navab and Ahmadi, 2016, equation 3 without the
    squares). AdamW with a one-cycle learning rate; images and masks are shifted at random.

    Args:
        images: uint8[N, C, S, S], N at least 1.
        masks: uint8[N, 1, S, S], 0 or 255.
        seed: of the initial weights and the order of the images.
        device: where to train.
    """
    generator = torch.Generator().manual_seed(seed)
    network = Segmenter(images.shape[1], generator=generator).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3 * PEAK_LEARNING_RATE, total_steps=STEPS)
    for _ in track(range(STEPS)):
        batch = torch.randint(len(images), (_BATCH,), generator=generator)
        pairs = torch.cat((to_unit_range(images[batch]), (masks[batch] > 0).float()), dim=1).to(device)
        views, right = shifted(pairs, generator).split([images.shape[1], 1], dim=1)
        logits = network(views)
        loss = F.binary_cross_entropy_with_logits(logits, right) + _soft_dice_loss(logits.sigmoid(), right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.inference_mode()
def segmented(network: Segmenter, images: Tensor) -> Tensor:
    """What it takes for mask, bool[N, 1, S, S] on the CPU, in images uint8[N, C, S, S]."""
    device = next(network.parameters()).device
    return torch.cat([network(to_unit_range(part.to(device))).cpu() > 0 for part in images.split(_AT_ONCE)])


def dice(found: Tensor, right: Tensor) -> float | None:
    """2 |A ∩ B| / (|A| + |B|) of masks bool[N, ...] over all their pixels together; None if both are empty.

    Of all pixels and not a mean over images: so what is found in images without a mask counts, and there is no
    convention for their own Dice (Dice, 1945).
    """
    both = int(found.sum()) + int(right.sum())
    return 2 * int((found & right).sum()) / both if both else None


def best_constant(masks: Tensor) -> Tensor:
    """The one mask bool[1, ...] with the largest Dice against all of these, bool[N, ...]: what places alone tell.

    It holds the pixels that are mask most often; how many is found by trying.
    """
    often = masks.double().sum(dim=0).flatten()
    order = often.argsort(descending=True, stable=True)
    count = torch.arange(1, len(often) + 1, dtype=torch.float64)
    best = int((2 * often[order].cumsum(0) / (count * len(masks) + often.sum())).argmax())
    chosen = torch.zeros(len(often), dtype=torch.bool)
    chosen[order[: best + 1]] = True
    return chosen.view(1, *masks.shape[1:])


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = skip_init(nn.Conv2d, channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(_GROUPS, channels_out), nn.ReLU())


def _as_large(coarse: Tensor, fine: Tensor) -> Tensor:
    return F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")


def _soft_dice_loss(chances: Tensor, right: Tensor) -> Tensor:
    return 1 - (2 * (chances * right).sum() + 1) / (chances.sum() + right.sum() + 1)
