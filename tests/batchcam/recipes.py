"""The blocks of docs/your-own-loop.md, and what they are run with."""

import copy
import gc
import re
import weakref
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import batchcam
from tests.toys import hooks

TEXT = (Path(__file__).parents[2] / "docs" / "your-own-loop.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^```python (\w+)\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE))
NUM_CLASSES, SIDE = 3, 12


class Net(nn.Module):
    """GELU behind the layer, so that α depends on the activations and half a gradient would show."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Conv2d(4, 6, 3, padding=1)
        self.backbone = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), layer)
        self.head = nn.Sequential(
            nn.GELU(), nn.Conv2d(6, 6, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, NUM_CLASSES)
        )

    def forward(self, images):
        return self.head(self.backbone(images))


class Recorder(torch.optim.SGD):
    """Stands still, and keeps the gradients that each step came with."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), lr=0.0)
        self.steps: list[list[torch.Tensor]] = []

    def step(self, closure=None):
        if closure is not None:  # as Lightning steps
            with torch.enable_grad():
                closure()
        parameters = self.param_groups[0]["params"]
        self.steps.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters])


def setting(dtype: torch.dtype = torch.float64, batches: int = 2) -> dict[str, Any]:
    """The names that the page's blocks use: batches of four images, a step for each."""
    torch.manual_seed(0)
    model = Net().to(dtype)
    images, labels = torch.rand(4 * batches, 1, SIDE, SIDE, dtype=dtype), torch.arange(4 * batches) % NUM_CLASSES
    names: dict[str, Any] = {
        "model": model,
        "layer": model.backbone[-1],
        "regularizer": batchcam.PrototypeLoss(batchcam.class_prototypes(images, labels, NUM_CLASSES), distance="l2"),
        "optimizer": Recorder(model),
        "loader": DataLoader(TensorDataset(images, labels), batch_size=4),
        "graphs before": graphs(),
    }
    exec(RECIPES["guided_loss"], names)
    return names


def plain_maps(model: Net, depth: int, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of the activations behind the first `depth` modules of the backbone, by the definition, one image at a time."""
    maps = []
    for image, label in zip(images, labels, strict=True):
        A = model.backbone[:depth](image[None])
        A = A if A.requires_grad else A.requires_grad_()
        (g,) = torch.autograd.grad(model.head(model.backbone[depth:](A))[0, label], A, create_graph=True)
        maps.append((g.mean((2, 3), keepdim=True) * A).sum((0, 1)).relu())
    return batchcam.normalize_maps(batchcam.resize_maps(torch.stack(maps), SIDE))


def plain_gradients(
    names: dict[str, Any], images: torch.Tensor, labels: torch.Tensor, depths: tuple[int, ...] = (3,)
) -> list[torch.Tensor]:
    """Of the guided loss, with `plain_maps`."""
    model = copy.deepcopy(names["model"])
    loss = F.cross_entropy(model(images), labels)
    for depth in depths:
        loss = loss + names["regularizer"](plain_maps(model, depth, images, labels), labels)
    trained = [p for p in model.parameters() if p.requires_grad]
    found = iter(torch.autograd.grad(loss, trained))
    return [next(found) if p.requires_grad else torch.zeros_like(p) for p in model.parameters()]


def expected_steps(names: dict[str, Any]) -> list[list[torch.Tensor]]:
    return [plain_gradients(names, images, labels) for images, labels in names["loader"]]


class Saved:
    """A tensor that a graph keeps; it lives as long as the graph."""

    alive: ClassVar[weakref.WeakSet["Saved"]] = weakref.WeakSet()

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        Saved.alive.add(self)


def run(recipe: str, names: dict[str, Any]) -> None:
    """Run the block as it stands on the page; what its graphs keep is counted."""
    code = compile(RECIPES[recipe], f"docs/your-own-loop.md: {recipe}", "exec")
    Saved.alive.clear()
    kept = []

    def keep(tensor: torch.Tensor) -> Saved:
        kept.append(1)
        return Saved(tensor)

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved.tensor):
        exec(code, names)
    assert kept


def graphs() -> int:
    """How many tensors with a graph behind them are alive; those that the compiler keeps hold no values."""
    gc.collect()
    return sum(type(thing) is torch.Tensor and thing.grad_fn is not None for thing in gc.get_objects())


def leave(names: dict[str, Any], model: nn.Module) -> None:
    """No hook is left on the model, and no graph once the names of the page are gone."""
    assert hooks(model) == 0
    before = names["graphs before"]
    names.clear()
    assert graphs() <= before
    assert not len(Saved.alive)
