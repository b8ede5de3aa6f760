"""The training step: forward, backward and optimiser, with cross-entropy alone and with each regulariser."""

import math
from collections.abc import Callable, Collection
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import batchcam
from bench.backbones import Backbone
from bench.params import LOSSES, LossName
from bench.timing.groups import Scene
from bench.timing.inference import Absent, Contender
from bench.timing.interleave import Stopwatch
from bench.train import objective, regularizer_for

FLOOR: LossName = "ce"
#: Cross-entropy alone, but the maps of every batch are made as well, without a graph, say to show them.
WATCHED = "ce, maps watched"


#: In the order of the tables.
NAMES: tuple[str, ...] = (FLOOR, WATCHED, *(loss for loss in LOSSES if loss != FLOOR))


def contenders(scene: Scene, wanted: Collection[str]) -> list[Contender | Absent]:
    """A step with each of the losses that are wanted.

    They share a model and an optimiser, whose learning rate is 0: all the arithmetic, and nothing moves. Gradients are
    freed at the end of a step, so that the next one's peak of memory holds its own.
    """
    scene.model.train()
    optimizer = torch.optim.AdamW(scene.model.parameters(), lr=0.0, fused=True)

    def step(loss_of: Callable[[], Tensor], _: Stopwatch) -> Tensor:
        loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    step(partial(_loss, scene, FLOOR), Stopwatch())  # the optimiser allocates its moments
    calls: dict[str, Callable[[], Tensor]] = {loss: partial(_loss, scene, loss) for loss in LOSSES}
    calls[WATCHED] = partial(_watched, scene)
    return [Contender(name, partial(step, calls[name]), partial(_error, name)) for name in NAMES if name in wanted]


def reference(scene: Scene) -> dict[str, float]:
    """Each loss by its definition, image by image and class by class, with `batchcam.distances`."""
    logits, maps = _logits_and_maps(scene)
    ce = cross_entropy(logits.detach().float(), scene.targets)
    expected = {FLOOR: ce, WATCHED: ce}
    of_class = {c: maps[scene.targets == c].mean(0) for c in scene.targets.unique().tolist()}
    for name, D in batchcam.distances.DISTANCES.items():
        prototype = [D(m[None], scene.prototypes[c][None]) for m, c in zip(maps, scene.targets, strict=True)]
        batch = [D(mean[None], scene.prototypes[c][None]) for c, mean in of_class.items()]
        expected[f"prototype-{name}"] = ce + torch.cat(prototype).mean()
        expected[f"batchcam-{name}"] = ce + torch.cat(batch).mean()
    return {name: float(value) for name, value in expected.items()}


def _loss(scene: Scene, loss: LossName) -> Tensor:
    """The objective of `bench.train`, with weight 1."""
    backbone = Backbone(scene.model, scene.layer)
    return objective(backbone, scene.images, scene.targets, regularizer_for(loss, scene.prototypes), 1.0)[0]


def _watched(scene: Scene) -> Tensor:
    logits, _ = _logits_and_maps(scene)
    return cross_entropy(logits.float(), scene.targets)


def _logits_and_maps(scene: Scene) -> tuple[Tensor, Tensor]:
    """Of a training batch: logits with their graph, and normalised maps (N,H,W) without one."""
    device = scene.images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"), batchcam.capture(scene.layer) as captured:
        logits: Tensor = scene.model(scene.images)
    raw = batchcam.grad_cam(captured.activations, logits, scene.targets)
    return logits, batchcam.normalize_maps(batchcam.resize_maps(raw, scene.images.shape[-1]))


def _error(name: str, loss: Tensor, expected: dict[str, float]) -> float:
    """|loss − reference| / |reference|."""
    error = abs(float(loss) - expected[name]) / abs(expected[name])
    return error if math.isfinite(error) else math.inf
