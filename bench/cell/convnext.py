"""Two parts of timm's ConvNeXt-V2 as this suite needs them: the same numbers, with a second derivative, and faster."""

from typing import Any

import torch
from timm.layers.grn import GlobalResponseNorm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input


class GuardedResponseNorm(GlobalResponseNorm):
    """Global Response Norm with a second derivative at zero.

    x + β + γ · x · g / (mean of g over the channels + ε), g = √(Σ x² over space + 1e-12).

    Where GELU leaves a channel exactly zero over the whole grid (1×1 in the last stage of a 48 px image), so is its
    norm, and the second derivative of torch's norm there is NaN: it ended a training after 24 steps.
    """

    def forward(self, x: Tensor) -> Tensor:
        g = (x.square().sum(self.spatial_dim, keepdim=True) + 1e-12).sqrt()
        n = g / (g.mean(self.channel_dim, keepdim=True) + self.eps)
        return x + torch.addcmul(self.bias.view(self.wb_shape), self.weight.view(self.wb_shape), x * n)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that knows, on a CPU, that a 1×1 grid meets its central tap alone.

    oneDNN's weight gradient goes through all 7×7 taps of 768 channels one by one: 34 ms of a step of 385 ms (48 px,
    batch 8), three times over.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.shape[2:] == (1, 1):
            y: Tensor = _OnePixel.apply(x, self.weight, self.bias)
            return y
        return super().forward(x)


class _OnePixel(torch.autograd.Function):
    """A depthwise conv2d of (N,K,1,1) with padding; its weight gradient is Σ_n g_n · x_n at the centre, 0 elsewhere.

    The gradient of x is the convolution's own, so that what is differentiated twice keeps its bits, too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rim = weight.shape[-1] // 2
        of_x = conv2d_input(x.shape, weight, g, padding=rim, groups=len(weight))
        of_weight = F.pad((g * x).sum(0)[:, None], (rim, rim, rim, rim))
        return of_x, of_weight, g.sum((0, 2, 3))


def adapt(model: nn.Module) -> None:
    """Give a ConvNeXt-V2 of timm the two modules above, with the parameters that it has."""
    for module in model.modules():
        if isinstance(module, GlobalResponseNorm):
            module.__class__ = GuardedResponseNorm
        elif type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
            module.__class__ = DepthwiseConv2d
