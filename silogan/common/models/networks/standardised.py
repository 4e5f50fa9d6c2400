"""Weight standardisation: a convolution whose filters have mean 0 and a fixed length, whatever its parameters.

It steadies a discriminator as spectral norm does, but depends on the weights alone and needs neither a power iteration
nor a statistic of the batch, so that every patient still has a gradient of their own.
"""

from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-5


class StandardisedConv2d(nn.Conv2d):
    """`Conv2d` with ŵ = (w - mean(w)) / (sd(w)·√K) for each filter of K values (Brock, De and Smith, 2021, eq. 4)."""

    def forward(self, input: Tensor) -> Tensor:
        """See `torch.nn.Conv2d`."""
        return self._conv_forward(input, self._standardised(), self.bias)

    def weight_gradient(self, gradients: Tensor) -> Tensor:
        """Gradients for ŵ [N, O, I, k, k] taken back to w: the transposed Jacobian, which is that of a layer norm."""
        size = self.weight[0].numel()
        w = self.weight.detach().flatten(1)
        centred = w - w.mean(dim=1, keepdim=True)
        inverse = (centred.square().mean(dim=1, keepdim=True) + EPSILON).rsqrt()
        unit, g = centred * inverse, gradients.flatten(2)
        along = (g * unit).mean(dim=2, keepdim=True)
        back = (g - g.mean(dim=2, keepdim=True) - unit * along) * (inverse / size**0.5)
        return back.view_as(gradients)

    def _standardised(self) -> Tensor:
        shape = self.weight.shape[1:]
        return F.layer_norm(self.weight, shape, eps=EPSILON) / shape.numel() ** 0.5
