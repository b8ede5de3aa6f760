"""What the suite changes in timm's ConvNeXt-V2 leaves its numbers as they are."""

import pytest
import timm
import torch
from timm.layers.grn import GlobalResponseNorm
from torch import Tensor, nn

from bench.cell.backbones import build
from bench.cell.convnext import DepthwiseConv2d, adapt

CHANNELS, BATCH = 6, 8


def test_the_adapted_model_is_timms_with_other_norms_and_depthwise_convolutions() -> None:
    """At 64 px the last stage's grid is 2×2, and the depthwise convolutions take their usual way."""
    model = timm.create_model("convnextv2_tiny", in_chans=1, num_classes=10).eval()
    images, before = torch.rand(2, 1, 64, 64), dict(model.state_dict())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "grn" in name:
                parameter.normal_()
        expected = model(images)
        adapt(model)
        assert torch.allclose(model(images), expected, atol=1e-5)
    assert all(value is before[name] or torch.equal(value, before[name]) for name, value in model.state_dict().items())
    changed = {type(module).__name__ for module in model.modules() if type(module).__module__ == "bench.cell.convnext"}
    assert changed == {"DepthwiseConv2d", "GuardedResponseNorm"}
    depthwise = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(depthwise) == 18
    assert all(isinstance(module, DepthwiseConv2d) for module in depthwise)
    assert sum(isinstance(module, DepthwiseConv2d) for module in model.modules()) == 18


def test_norms_are_timms_and_have_a_second_derivative_at_zero() -> None:
    (guarded, *_) = [m for m in build("convnextv2_tiny", 23).model.modules() if isinstance(m, GlobalResponseNorm)]
    plain = GlobalResponseNorm(guarded.weight.numel(), channels_last=guarded.channel_dim == -1)
    torch.manual_seed(0)
    with torch.no_grad():
        for norm in (guarded, plain):
            norm.weight.fill_(0.7)
            norm.bias.fill_(-0.2)
    x = torch.randn(2, 3, 3, guarded.weight.numel())
    assert torch.allclose(guarded(x), plain(x), atol=1e-6)
    x[:, :, :, 0] = 0
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(guarded(x).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def convolution(kind: type[nn.Conv2d], weights: nn.Conv2d | None = None) -> nn.Conv2d:
    made = kind(CHANNELS, CHANNELS, 7, padding=3, groups=CHANNELS)
    if weights is not None:
        made.load_state_dict(weights.state_dict())
    return made.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_a_depthwise_convolution_is_torchs_also_when_differentiated_twice(side: int) -> None:
    """To the last bit on the machine that the results were made on; here within rounding."""
    usual = convolution(nn.Conv2d)
    x, gradient, second = (torch.randn(BATCH, CHANNELS, side, side) for _ in range(3))

    def everything(layer: nn.Conv2d) -> list[Tensor]:
        shown = x.clone().to(memory_format=torch.channels_last).requires_grad_()
        g = gradient.clone().requires_grad_()
        y = layer(shown)
        (of_x,) = torch.autograd.grad(y, shown, g, create_graph=True)
        ((of_x * second).sum() + y.square().sum()).backward()
        found = [y, of_x, shown.grad, g.grad, layer.weight.grad, layer.bias.grad if layer.bias is not None else None]
        assert all(tensor is not None for tensor in found)
        return [tensor for tensor in found if tensor is not None]

    for ours, theirs in zip(everything(convolution(DepthwiseConv2d, usual)), everything(usual), strict=True):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_derivatives_on_one_pixel_are_those_of_finite_differences() -> None:
    layer = convolution(DepthwiseConv2d).double()
    x = torch.randn(3, CHANNELS, 1, 1, dtype=torch.float64, requires_grad=True)

    def of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        return y

    assert layer.bias is not None
    inputs = (x, layer.weight, layer.bias)
    assert torch.autograd.gradcheck(of, inputs)
    assert torch.autograd.gradgradcheck(of, inputs)
