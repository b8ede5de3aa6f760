"""What is compared with what: a group is one backbone, layer, resolution, batch and number of classes."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from bench.cell import backbones
from bench.cell.data import NUM_CLASSES
from bench.names import BackboneName, DeviceName
from bench.sections import Timing

Kind = Literal["maps", "step", "growth"]


class Group(NamedTuple):
    """Contenders that are timed in turns.

    `kind` is "maps" (inference, everyone), "step" (a training step with each loss) or "growth" (inference, ours alone).
    """

    kind: Kind
    backbone: BackboneName
    resolution: int
    batch: int
    num_classes: int = NUM_CLASSES
    last_stage: bool = False  # ConvNeXt: the map is read there, though that is not the place chosen for the map

    @property
    def name(self) -> str:
        """Its name in pytest-benchmark's file."""
        last = "-last" if self.last_stage else ""
        return f"{self.kind}-{self.backbone}{last}-{self.resolution}px-{self.batch}x-{self.num_classes}c"

    @property
    def work(self) -> float:
        """About how many seconds a round takes on two CPU cores; for the order of groups, and the time that is left."""
        forward = {"simple_cnn": 2e-8, "resnet18": 5e-7, "convnextv2_tiny": 2.5e-6}[self.backbone]  # per pixel
        small = 5.0 if self.resolution < backbones.IMAGENET_LEAST else 1.0  # a stem of stride 1, or enlarged
        forwards = 6.0 if self.kind == "growth" or self.last_stage else 20.0
        if self.kind == "step":
            forwards = 25.0
        return self.batch * self.resolution**2 * forward * small * forwards


class Scene(NamedTuple):
    """What the contenders of a group work on: a model, the layer, and a batch; random weights, random images."""

    model: nn.Module
    layer: nn.Module
    images: Tensor
    targets: Tensor
    prototypes: Tensor

    @property
    def layer_name(self) -> str:
        """The layer's name within the model."""
        return next(name for name, module in self.model.named_modules() if module is self.layer)


def groups(timing: Timing, device: DeviceName) -> list[Group]:
    """All groups of a profile on a device, the cheap ones first."""
    return sorted(dict.fromkeys(_groups(timing, timing.batch[device])), key=lambda g: g.work)


def _groups(timing: Timing, batches: list[int]) -> Iterator[Group]:
    for backbone in timing.backbone:
        for resolution in timing.resolution:
            lasts = [False, True] if _has_two_places(backbone, resolution) else [False]
            for last in lasts:
                for batch in batches:
                    yield Group("maps", backbone, resolution, batch, last_stage=last)
                yield Group("step", backbone, resolution, timing.step_batch, last_stage=last)
    growth = timing.growth
    if growth is not None:
        base = Group("growth", growth.backbone, growth.resolution[0], growth.batch[0], growth.classes[0])
        yield from (base._replace(batch=batch) for batch in growth.batch)
        yield from (base._replace(resolution=resolution) for resolution in growth.resolution)
        yield from (base._replace(num_classes=classes) for classes in growth.classes)


def _has_two_places(backbone: str, resolution: int) -> bool:
    """Whether a map can be read at the last stage besides where it is read.

    ConvNeXt's is read one stage before the last at 56 and 112 px, and only the latter leaves the last a 3×3 grid.
    """
    return backbone == "convnextv2_tiny" and resolution == 112


def scene(group: Group, device: torch.device) -> Scene:
    """Build a group's model, channels-last as in training, in eval mode, and its batch."""
    torch.manual_seed(0)
    model, layer = backbones.build(group.backbone, group.resolution, group.num_classes)
    if group.last_stage:
        layer = model.get_submodule("stages.3")
    size = (group.resolution, group.resolution)
    images = torch.rand(group.batch, 1, *size).to(device, memory_format=torch.channels_last)
    prototypes = torch.rand(group.num_classes, *size, device=device)
    model.to(device).to(memory_format=torch.channels_last).eval()
    with torch.no_grad():
        likeliest = model(images[:1]).argmax()  # evidence against a class leaves its map all zero
    targets = (likeliest + torch.arange(group.batch, device=device)) % group.num_classes
    return Scene(model, layer, images, targets, prototypes)
