"""The networks, randomly initialised, and the layer of each at which the map is read.

Where the map is read is chosen for the map, never for speed: a 1×1 map is constant, so it is the deepest stage whose
grid is at least 3×3. One exception: ConvNeXt's head (pool → LayerNorm → linear) makes the last stage's map sum to zero
over space before ReLU, so at 56 and 112 px its map is read one stage earlier. docs/backbones.md lists every grid.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from batchcam import capture
from batchcam.checks import check_choice
from bench.errors import BenchError
from bench.names import BACKBONES

#: Least side of a grid that is read as a map.
LEAST_GRID = 3

#: ImageNet stems and patches shrink by 32, so a smaller image leaves nothing to look at.
IMAGENET_LEAST = 32

#: The side to which ConvNeXt's smaller images are enlarged: strides of 4, 2 and 2 leave 3×3.
ENLARGED = 48


class Backbone(NamedTuple):
    """A model that maps images (N,channels,px,px) to logits (N,num_classes), and the layer whose map is read."""

    model: nn.Module
    layer: nn.Module


class SimpleCNN(nn.Module):
    """conv32-pool-conv64-pool-conv128 (3×3, ReLU), average pooling to about 7×7, fc128, fc.

    The pooling has a fixed kernel: adaptive pooling has no deterministic backward pass on CUDA. The map is read after
    the last ReLU; before it, 38 % of the maps of a cross-entropy model were all zero.
    """

    def __init__(self, resolution: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        grid = resolution // 4
        kernel = max(1, grid // 7)
        pooled = grid // kernel
        self.features = nn.Sequential(
            # ReLU after pooling gives the same bits as before it, on a quarter of the values.
            nn.Conv2d(in_channels, 32, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            # Pooling over one pixel changes nothing, yet its backward pass took a tenth of an explanation at 23 px.
            nn.AvgPool2d(kernel) if kernel > 1 else nn.Identity(),
            nn.Flatten(),
            nn.Linear(128 * pooled * pooled, 128),
            nn.ReLU(),
            nn.Linear(128, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def _simple_cnn(resolution: int, num_classes: int, in_channels: int) -> Backbone:
    model = SimpleCNN(resolution, num_classes, in_channels)
    return Backbone(model, model.features[-1])


def _perceptron(resolution: int, num_classes: int, in_channels: int) -> Backbone:
    """Ross et al.'s two-layer perceptron (arXiv 1703.03717), on which their decoys were tried: 50 and 30 ReLU units.

    It has no layer with a map; what is read is Grad-CAM at the image itself, which says little.
    """
    image = nn.Identity()
    units = in_channels * resolution**2
    layers = (nn.Linear(units, 50), nn.ReLU(), nn.Linear(50, 30), nn.ReLU(), nn.Linear(30, num_classes))
    return Backbone(nn.Sequential(image, nn.Flatten(), *layers), image)


def _resnet18(resolution: int, num_classes: int, in_channels: int, earlier: int = 0) -> Backbone:
    """timm's ResNet-18; below 32 px with a 3×3 stem of stride 1 and no max-pool, as is usual for CIFAR.

    A stem of stride 2 halves the work of a cross-entropy step, but then the map is read at layer3, and the second
    derivative through layer4 costs as much again: a guided step at 23 px runs at 62 images/s, with stride 1 at 58.
    """
    import timm

    model: Any = timm.create_model("resnet18", in_chans=in_channels, num_classes=num_classes)
    if resolution < IMAGENET_LEAST:
        model.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    stages = [model.layer1, model.layer2, model.layer3, model.layer4]
    return Backbone(model, stages[_deepest(model, stages, resolution, in_channels) - earlier])


def _convnextv2_tiny(resolution: int, num_classes: int, in_channels: int, earlier: int = 0) -> Backbone:
    """timm's ConvNeXt-V2-Tiny; below 32 px the image is first enlarged to 48 px, the least with 3×3 at stages[-2].

    Of the ways to run at 23 px, this one gives the deepest map for the least work. Images/s of a guided step (SSIM,
    batch 16, two cores): 37; enlarged to 32 px, with the map at stages[1] and the second derivative through what
    follows, 28; to 64 px, 22. A cross-entropy step with `output_stride=8` reaches 36, where only stages[0] has 3×3, and
    with patch 1, 12.
    """
    import timm

    from bench.cell import convnext

    model: Any = timm.create_model("convnextv2_tiny", in_chans=in_channels, num_classes=num_classes)
    convnext.adapt(model)
    stages = list(model.stages)
    if resolution < IMAGENET_LEAST:
        model = nn.Sequential(nn.Upsample(size=ENLARGED, mode="bilinear"), model)
    place = 2 if resolution in (56, 112) else _deepest(model, stages, resolution, in_channels)
    return Backbone(model, stages[place - earlier])


#: By the name in bench/names.py: (resolution, num_classes, in_channels) → backbone.
_MAKERS: dict[str, Callable[[int, int, int], Backbone]] = {
    "simple_cnn": _simple_cnn,
    "resnet18": _resnet18,
    "convnextv2_tiny": _convnextv2_tiny,
    # The same networks with the map read one stage earlier, to see how much depends on the place.
    "resnet18_earlier": partial(_resnet18, earlier=1),
    "convnextv2_tiny_earlier": partial(_convnextv2_tiny, earlier=1),
    "perceptron": _perceptron,
}


def build(name: str, resolution: int, num_classes: int = 10, in_channels: int = 1) -> Backbone:
    """A backbone with random weights from torch's current seed, and the layer whose map is read.

    Args:
        name: one of `bench.names.BACKBONES`.
        resolution: side of the square images, in pixels.
        num_classes: number of logits.
        in_channels: 1 (grey) or 3.

    Returns:
        (model, layer), the model in training mode.

    Raises:
        BenchError: an unknown name; a resolution under the backbone's least.
    """
    try:
        check_choice("backbone", name, BACKBONES)
    except ValueError as error:
        raise BenchError(str(error)) from None
    least = BACKBONES[name].least_resolution
    if resolution < least:
        raise BenchError(f"{name} needs images of at least {least} px, got {resolution} px")
    return _MAKERS[name](resolution, num_classes, in_channels)


def grid_size(backbone: Backbone, resolution: int, in_channels: int = 1) -> tuple[int, int]:
    """(h, w) of the backbone's raw maps, found by running it once on a blank image."""
    return _grids(backbone.model, [backbone.layer], resolution, in_channels)[0]


def _deepest(model: nn.Module, stages: list[nn.Module], resolution: int, in_channels: int) -> int:
    """The number of the deepest stage whose grid is at least 3×3."""
    grids = _grids(model, stages, resolution, in_channels)
    return max(place for place, grid in enumerate(grids) if min(grid) >= LEAST_GRID)


def _grids(model: nn.Module, layers: list[nn.Module], resolution: int, in_channels: int) -> list[tuple[int, int]]:
    """(h, w) of the outputs of layers, from one blank image in eval mode; no random numbers are drawn."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with contextlib.ExitStack() as stack:
        captured = [stack.enter_context(capture(layer)) for layer in layers]
        model(torch.zeros(1, in_channels, resolution, resolution, device=device))
    model.train(training)
    return [(c.activations.shape[2], c.activations.shape[3]) for c in captured]
