"""Small networks, a plain Grad-CAM to compare with, and comparisons that the tests of the method share."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_CLASSES = 5
METHODS: list[Literal["grad_cam", "hires_cam", "layer_cam"]] = ["grad_cam", "hires_cam", "layer_cam"]
#: Not square, so that exchanged height and width show.
SIZE = (9, 7)


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Norms(nn.Module):
    """ConvNeXt-V2's LayerNorm over channels and global response normalisation: α then depends on A."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.gamma = nn.Parameter(torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        response = x.square().sum((2, 3), keepdim=True).sqrt()
        return x + self.gamma[:, None, None] * x * response / (response.mean(1, keepdim=True) + 1e-6)


def _behind(kind: str) -> list[nn.Module]:
    """What follows the target layer with its 6 channels, up to the pooling."""
    made: dict[str, Callable[[], list[nn.Module]]] = {
        "relu": lambda: [nn.ReLU()],
        "inplace_relu": lambda: [nn.ReLU(inplace=True)],
        "functional_inplace_relu": lambda: [Apply(F.relu_), nn.Conv2d(6, 6, 3), nn.Tanh()],
        "batchnorm": lambda: [nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3), nn.Tanh()],
        "gelu_norms": lambda: [nn.Conv2d(6, 6, 3, padding=1), Norms(6), nn.GELU(), nn.Conv2d(6, 6, 1), nn.Softplus()],
        "skip": lambda: [Apply(lambda a: a + F.silu(a) ** 2)],
        "pool_linear": lambda: [],
        "pool_only": lambda: [],
    }
    return made[kind]()


#: Every kind of network that `toy` makes: what stands behind the layer whose map is read.
TOYS = (
    "relu",
    "inplace_relu",
    "functional_inplace_relu",
    "batchnorm",
    "gelu_norms",
    "skip",
    "pool_linear",
    "pool_only",
)


def toy(
    kind: str = "gelu_norms", dtype: torch.dtype = torch.float64, dropout: float = 0.0
) -> Any:  # its modules by name
    """A network in eval mode, images (N,1,H,W) → logits (N,5); `model.layer` is the one whose map is read."""
    channels = NUM_CLASSES if kind == "pool_only" else 6
    model = nn.Sequential()
    for name, module in {
        "stem": nn.Conv2d(1, 4, 3, padding=1),
        "norm": nn.BatchNorm2d(4),
        "act": nn.GELU(),
        "dropout": nn.Dropout(dropout),
        "layer": nn.Conv2d(4, channels, 3),
    }.items():
        model.add_module(name, module)
    for i, module in enumerate(_behind(kind)):
        model.add_module(f"behind{i}", module)
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    if kind != "pool_only":
        model.add_module("fc", nn.Linear(6, NUM_CLASSES))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.get_buffer("running_mean").uniform_(-0.3, 0.3)
            module.get_buffer("running_var").uniform_(0.5, 2)
    return model.to(dtype).eval()


class Attention(nn.Module):
    """A transformer's block in little: norm, self-attention, and the sum with what came in, (N,L,8) → (N,L,8)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.behind = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return x + torch.tanh(self.behind((q @ k.mT).softmax(-1) @ v))


class Prepend(nn.Module):
    """Learnt tokens in front of the others."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(1, count, 8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.tokens.expand(len(x), -1, -1), x], 1)


def transformer(skip: int = 1, channels_last: bool = False) -> Any:
    """A transformer in eval mode, images (N,1,9,7) → logits (N,5), that reads its first token or the mean of all.

    `model.layer` puts out (N, skip + 12, 8), a grid of 4×3 patches, or with `channels_last` (N,4,3,8).
    """
    model = nn.Sequential()
    model.add_module("patches", nn.Conv2d(1, 8, (3, 3), stride=2))
    model.add_module("flatten", Apply(lambda x: x.flatten(2).mT))
    model.add_module("prepend", Prepend(skip) if skip else nn.Identity())
    model.add_module("first", Attention())
    if channels_last:
        model.add_module("grid", Apply(lambda x: x.unflatten(1, (4, 3))))
    model.add_module("layer", nn.LayerNorm(8))
    if channels_last:
        model.add_module("row", Apply(lambda x: x.flatten(1, 2)))
    model.add_module("last", Attention())
    model.add_module("read", Apply(lambda x: x[:, 0] if skip else x.sin().mean(1)))
    model.add_module("fc", nn.Linear(8, NUM_CLASSES))
    return model.double().eval()


def batch(n: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and a target for each; one class twice."""
    return torch.rand(n, 1, *SIZE, dtype=dtype), torch.tensor([3, 0, 3, 4, 1, 2, 0])[:n]


def plain_grad_cam(
    model: nn.Sequential,
    images: Tensor,
    targets: Tensor,
    relu: bool = True,
    method: str = "grad_cam",
    layout: Callable[[Tensor], Tensor] = lambda output: output,
) -> Tensor:
    """The map of one image at a time, written down from its definition, without hooks."""
    names = [name for name, _ in model.named_children()]
    split = names.index("layer") + 1
    maps = []
    for image, target in zip(images, targets, strict=True):
        output = model[:split](image[None]).detach().requires_grad_()
        model[split:](output.clone())[0, target].backward(inputs=[output])
        A, g = layout(output.detach())[0], layout(output.grad)[0]
        cam = torch.zeros_like(A[0])
        for k in range(len(A)):
            weight = {"grad_cam": g[k].mean(), "hires_cam": g[k], "layer_cam": g[k].clamp(min=0)}[method]
            cam += weight * A[k]
        maps.append(cam.clamp(min=0) if relu else cam)
    return torch.stack(maps)


def parameter_gradients(maps: Tensor, parameters: Iterable[Tensor]) -> list[Tensor]:
    """The gradients of some function of the maps; zero where there is none."""
    weights = torch.linspace(-1, 2, maps.numel(), dtype=maps.dtype).reshape(maps.shape)
    parameters = [p for p in parameters if p.requires_grad]
    return list(
        torch.autograd.grad(
            (weights * maps.square()).sum() + maps.sum(),
            parameters,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
    )


def relative_error(actual: Tensor | list[Tensor], expected: Tensor | list[Tensor]) -> float:
    """Largest difference over the largest value; of a list, over the largest value anywhere in it."""
    actual, expected = ([one] if isinstance(one, Tensor) else one for one in (actual, expected))
    assert [a.shape for a in actual] == [e.shape for e in expected]
    scale = max(float(e.detach().abs().max()) for e in expected)
    assert scale > 0, "all expected values are zero: nothing would be compared"
    return max(float((a - e).detach().abs().max()) for a, e in zip(actual, expected, strict=True)) / scale


def hooks(model: nn.Module) -> int:
    """How many hooks of any kind the modules of a model carry."""
    kinds = [name for name in vars(model) if name.endswith("_hooks")]
    assert "_forward_hooks" in kinds
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
