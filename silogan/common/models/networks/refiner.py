"""A network that refines images: what it adds to them begins at zero.

Two scales, with a skip from the image itself: it is asked for what an image lacks, not for the image (residual
learning; He et al., 2016). The coarse scale is enlarged and then convolved, since a transposed convolution leaves a
checkerboard in what is smooth (Odena, Dumoulin and Olah, 2016).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of LeakyReLU below 0


class StartsAtZero(nn.Conv2d):
    """A convolution whose weights begin at zero (Zhang, Rao and Agrawala, 2023, "zero convolution")."""


class Refiner(nn.Module):
    """Refined images float32[B, C, S, S] in [-1, 1] of drawn ones and their classes int64[B].

    Args:
        channels: C.
        classes: how many.
        width: channels of the first layers; those of half the size have twice as many.
    """

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.of_class = nn.Embedding(classes, width)
        self.down = nn.Conv2d(width, 2 * width, 4, 2, 1)
        self.middle = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.leave = StartsAtZero(2 * width, channels, 3, padding=1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """See the class."""
        fine = _bent(self.enter(images) + self.of_class(labels)[:, :, None, None])
        coarse = _bent(self.middle(_bent(self.down(fine))))
        larger = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
        fine = torch.cat((fine, _bent(self.up(larger))), dim=1)
        return (images + self.leave(fine)).clamp(-1, 1)


def _bent(maps: Tensor) -> Tensor:
    return F.leaky_relu(maps, SLOPE)
