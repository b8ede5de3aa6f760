"""docs/your-own-loop.md: each block runs as it stands there, and trains with the gradients of a plain loop."""

import copy
import gc
import os
import re
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import batchcam
from tests.toys import hooks, relative_error

TEXT = (Path(__file__).parents[1] / "docs" / "your-own-loop.md").read_text(encoding="utf-8")
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


def setting(dtype: torch.dtype = torch.float64, batches: int = 2) -> dict[str, object]:
    """The names that the page's blocks use: batches of four images, two steps."""
    torch.manual_seed(0)
    model = Net().to(dtype)
    images, labels = torch.rand(4 * batches, 1, SIDE, SIDE, dtype=dtype), torch.arange(4 * batches) % NUM_CLASSES
    names: dict[str, object] = {
        "model": model,
        "layer": model.backbone[-1],
        "regularizer": batchcam.PrototypeLoss(batchcam.class_prototypes(images, labels, NUM_CLASSES), distance="l2"),
        "optimizer": Recorder(model),
        "loader": DataLoader(TensorDataset(images, labels), batch_size=4),
    }
    exec(RECIPES["guided_loss"], names)
    return names


def plain_gradients(names: dict[str, object], images: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """Of the guided loss, by the loop of single images that the method replaces."""
    model = copy.deepcopy(names["model"])
    maps = batchcam.grad_cam_loop(model, model.backbone[-1], images, labels, create_graph=True)
    maps = batchcam.normalize_maps(batchcam.resize_maps(maps, SIDE))
    loss = F.cross_entropy(model(images), labels) + names["regularizer"](maps, labels)
    trained = [p for p in model.parameters() if p.requires_grad]
    found = iter(torch.autograd.grad(loss, trained))
    return [next(found) if p.requires_grad else torch.zeros_like(p) for p in model.parameters()]


def expected_steps(names: dict[str, object]) -> list[list[torch.Tensor]]:
    return [plain_gradients(names, images, labels) for images, labels in names["loader"]]


class Saved:
    """A tensor that a graph keeps; it lives as long as the graph."""

    alive: ClassVar = weakref.WeakSet()

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        Saved.alive.add(self)


def run(recipe: str, names: dict[str, object]) -> None:
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


def leave(names: dict[str, object], model: nn.Module) -> None:
    """No hook is left on the model, and no graph once the names of the page are gone."""
    assert hooks(model) == 0
    names.clear()
    gc.collect()
    assert not len(Saved.alive)


def test_every_block_is_run_by_a_test():
    text = Path(__file__).read_text(encoding="utf-8")
    assert len(RECIPES) == TEXT.count("```python") > 14
    assert [name for name in RECIPES if f'"{name}"' not in text] == []


@pytest.mark.parametrize("recipe", ["checkpointing", "compile"])
def test_the_steps_are_those_of_the_plain_loop(recipe):
    names = setting() | {"backend": "aot_eager"}  # inductor would need a compiler
    model, optimizer, expected = names["model"], names["optimizer"], expected_steps(names)
    run(recipe, names)
    assert len(optimizer.steps) == len(expected) == 2
    for actual, reference in zip(optimizer.steps, expected, strict=True):
        assert relative_error(actual, reference) < 1e-10
    leave(names, model)


def test_compiled_code_behind_the_layer_is_refused():
    names = setting()
    compiled = torch.compile(names["model"], backend="aot_eager")
    (images, labels), *_ = names["loader"]
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        names["guided_loss"](compiled, names["layer"], images, labels, names["regularizer"])
    assert hooks(names["model"]) == 0


@pytest.mark.parametrize("autocast", [False, True])
def test_amp(autocast, monkeypatch):
    names = setting(torch.float32)
    model, optimizer = names["model"], names["optimizer"]
    images, labels = names["loader"].dataset.tensors
    expected = plain_gradients(names, images, labels)
    if not autocast:  # the accumulation alone is exact
        monkeypatch.setattr(torch, "autocast", lambda *_: torch.enable_grad())
    run("amp", names)
    (actual,) = optimizer.steps
    assert relative_error(actual, expected) < (0.1 if autocast else 1e-4)
    if autocast:
        assert relative_error(actual, expected) > 1e-5
    leave(names, model)


def test_accelerate():
    names = setting()
    model, optimizer = names["model"], names["optimizer"]
    images, labels = names["loader"].dataset.tensors
    expected = plain_gradients(names, images, labels)
    run("accelerate", names)
    (actual,) = optimizer.steps
    assert relative_error(actual, expected) < 1e-10
    leave(names, model)


@pytest.mark.filterwarnings("ignore")  # Lightning's hints about the number of workers
def test_lightning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = setting()
    model, optimizer, expected = names["model"], names["optimizer"], expected_steps(names)
    monkeypatch.setattr(torch.optim, "SGD", lambda *_, **__: optimizer)
    run("lightning", names)
    assert len(optimizer.steps) == len(expected) == 2
    for actual, reference in zip(optimizer.steps, expected, strict=True):
        assert relative_error(actual, reference) < 1e-10
    *_, (images, labels) = names["loader"]
    maps = batchcam.explain(model, names["layer"], images, labels)[1]
    assert torch.equal(names["guided"].maps, maps)
    leave(names, model)


def test_func():
    names = setting(batches=1)
    model, ((images, labels),) = names["model"], names["loader"]
    expected = plain_gradients(names, images, labels)
    exec(RECIPES["func"], names)  # its transforms allow none of the counting that run() does
    assert relative_error(list(names["gradients"].values()), expected) < 1e-10
    assert all(p.grad is None for p in model.parameters())
    leave(names, model)


def test_vmap_is_refused():
    names = setting(batches=1)
    model, layer, ((images, labels),) = names["model"], names["layer"], names["loader"]
    with pytest.raises((RuntimeError, ValueError), match=r"transform|vmap"):
        torch.func.vmap(lambda x, y: batchcam.explain(model, layer, x[None], y[None])[1])(images, labels)
    leave(names, model)


@pytest.mark.parametrize("frozen", ["before the layer", "the backbone"])
def test_frozen(frozen):
    names = setting()
    model, optimizer = names["model"], names["optimizer"]
    model.backbone[0].requires_grad_(False)
    if frozen == "the backbone":
        model.backbone.requires_grad_(False)
    recipe = RECIPES["frozen"]
    expected = expected_steps(names)
    if frozen == "the backbone":
        run("frozen", names)
    else:
        exec(recipe.replace("model.backbone.requires_grad_(False)\n", ""), names)
    assert recipe.startswith("model.backbone.requires_grad_(False)\n")
    for actual, reference in zip(optimizer.steps, expected, strict=True):
        assert relative_error(actual, reference) < 1e-10
    assert model.backbone[0].weight.grad is None
    leave(names, model)


def test_layers():
    names = setting(batches=1)
    model, optimizer, ((images, labels),) = names["model"], names["optimizer"], names["loader"]
    names["layers"] = [model.backbone[0], model.backbone[2]]
    loss = F.cross_entropy(model(images), labels)
    for layer in names["layers"]:
        maps = batchcam.grad_cam_loop(model, layer, images, labels, create_graph=True)
        loss = loss + names["regularizer"](batchcam.normalize_maps(batchcam.resize_maps(maps, SIDE)), labels)
    expected = list(torch.autograd.grad(loss, list(model.parameters())))
    del loss, maps
    run("layers", names)
    assert relative_error(optimizer.steps[0], expected) < 1e-10
    leave(names, model)


# What is scored


def scored(recipe, model, score, more):
    """The block's maps, against the definition: the gradient of each image's own score, one score at a time."""
    images = torch.rand(4, 1, SIDE, SIDE, dtype=torch.float64)
    with batchcam.capture(model.backbone[-1]) as captured:
        output = model(images)
    names = {"torch": torch, "F": F, "batchcam": batchcam, "captured": captured, "images": images} | more(output)
    exec(RECIPES[recipe], names)
    kept = []
    handle = model.backbone[-1].register_forward_hook(lambda *a: kept.append(a[2]))
    output = model(images)
    handle.remove()
    columns = []
    for s in range(score(output).shape[1]):
        maps = []
        for i in range(4):
            (gradient,) = torch.autograd.grad(score(output)[i, s], kept[0], retain_graph=True)
            maps.append(sum(gradient[i, k].mean() * kept[0][i, k] for k in range(6)).clamp(min=0))
        columns.append(torch.stack(maps))
    expected = torch.stack(columns, dim=1)
    assert (expected.amax((2, 3)) > 0).any()
    maps = names["maps"]
    assert maps.grad_fn is not None
    assert relative_error(maps if maps.ndim == 4 else maps[:, None], expected) < 1e-10


def classifier() -> Net:
    torch.manual_seed(1)
    return Net().double()


def test_multi_label():
    labels = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]])
    scored(
        "multi_label",
        classifier(),
        lambda y: torch.stack([sum(y[i, c] for c in range(3) if labels[i, c]) for i in range(4)])[:, None],
        lambda y: {"logits": y, "labels": labels},
    )


def test_several_targets():
    targets = torch.tensor([[0, 2], [1, 0], [2, 2], [1, 2]])
    scored(
        "several_targets",
        classifier(),
        lambda y: y[torch.arange(4)[:, None], targets],
        lambda y: {"logits": y, "targets": targets},
    )


def test_regression():
    model = classifier()
    model.head[-1] = nn.Linear(6, 1).double()
    scored("regression", model, lambda y: y, lambda y: {"prediction": y[:, 0]})


def test_similarity():
    reference = torch.rand(4, 3, dtype=torch.float64)
    scored(
        "similarity",
        classifier(),
        lambda y: ((y * reference).sum(1) / (y.norm(dim=1) * reference.norm(dim=1)))[:, None],
        lambda y: {"embeddings": y, "reference": reference},
    )


def segmenter() -> Net:
    model = classifier()
    model.head = nn.Sequential(nn.GELU(), nn.Conv2d(6, NUM_CLASSES, 3, padding=1), nn.Tanh()).double()
    return model


def test_segmentation():
    targets = torch.tensor([0, 2, 1, 0])
    mask = (torch.rand(4, SIDE, SIDE) > 0.5).double()
    scored(
        "segmentation",
        segmenter(),
        lambda y: torch.stack([y[i, targets[i]][mask[i] > 0].mean() for i in range(4)])[:, None],
        lambda y: {"logits": y, "targets": targets, "mask": mask},
    )


def test_wrapped():
    model, images, targets = segmenter(), torch.rand(4, 1, SIDE, SIDE).double(), torch.tensor([0, 2, 1, 0])
    names = {"torch": torch, "batchcam": batchcam, "segmenter": model, "layer": model.backbone[-1]}
    names |= {"images": images, "targets": targets}
    exec(RECIPES["wrapped"], names)
    with batchcam.capture(model.backbone[-1]) as captured:
        scores = model(images).mean((2, 3))
    assert relative_error(names["maps"], batchcam.grad_cam(captured.activations, scores, targets)) < 1e-10
    assert torch.equal(names["scores"], scores.detach())


# Two processes

TWO_PROCESSES = """
import os, sys
import torch
torch.set_num_threads(1)
sys.path[:0] = {paths!r}
from tests import test_recipes
names = test_recipes.setting()
images, labels = names["loader"].dataset.tensors
rank = int(os.environ["RANK"])
names["loader"] = [(images[rank::2], labels[rank::2])] * 2
test_recipes.run("ddp", names)
assert test_recipes.hooks(names["model"]) == 0
if rank == 0:
    torch.save([names["optimizer"].steps, names["maps"]], sys.argv[1])
"""


def test_ddp(tmp_path):
    """Two processes with half of the images each, twice: the gradients of one process with all of them."""
    script, saved = tmp_path / "train.py", tmp_path / "saved.pt"
    script.write_text(textwrap.dedent(TWO_PROCESSES).format(paths=[str(Path(__file__).parents[1])]))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, saved]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    steps, maps = torch.load(saved)
    names = setting()
    images, labels = names["loader"].dataset.tensors
    expected = plain_gradients(names, images, labels)
    assert len(steps) == 2
    for actual in steps:
        assert relative_error(actual, expected) < 1e-10
    assert relative_error(maps, batchcam.explain(names["model"], names["layer"], images[0::2])[1]) < 1e-10


# Memory


def test_three_hundred_guided_steps_leave_nothing():
    """Tensors alive after 20 steps and after 300 are the same in number and size; so after 2,000 calls of explain."""
    names = setting(torch.float32, batches=1)
    model, layer, optimizer, ((images, labels),) = names["model"], names["layer"], names["optimizer"], names["loader"]

    def alive() -> tuple[int, int]:
        gc.collect()
        tensors = [o for o in gc.get_objects() if isinstance(o, torch.Tensor)]
        return len(tensors), sum(t.numel() for t in tensors)

    def steps(count: int) -> None:
        for _ in range(count):
            names["guided_loss"](model, layer, images, labels, names["regularizer"]).backward()
            torch.optim.SGD.step(optimizer)
            optimizer.zero_grad(set_to_none=False)

    def explanations(count: int) -> None:
        for _ in range(count):
            batchcam.explain(model, layer, images, labels)

    for work, times in ((steps, 300), (explanations, 2000)):
        work(20)
        before = alive()
        work(times - 20)
        assert alive() == before
    assert hooks(model) == 0
