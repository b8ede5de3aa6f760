"""The training step: forward, backward and optimiser, with cross-entropy alone and with each regulariser."""

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import pytorch_msssim
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

import batchcam
from bench.cell.backbones import Backbone
from bench.cell.losses import regularizer_for
from bench.cell.objective import objective
from bench.names import CE_STEP, PAPER_LOSSES, STEPS, WATCHED_STEP
from bench.timing.groups import Scene
from bench.timing.inference import Compare, SetUp, relative_error
from bench.timing.interleave import Call, Stopwatch

#: How far a gradient may be from the reference, relative to its largest value: a second derivative, in float32.
GRADIENT_TOLERANCE = 1e-2


class Step(NamedTuple):
    """What a step computed: the loss, and its gradient by the model's first parameter."""

    loss: Tensor
    gradient: Tensor


def contenders(scene: Scene) -> dict[str, SetUp]:
    """A step with each loss by its name, to be set up.

    They share a model and an optimiser, whose learning rate is 0: all the arithmetic, and nothing moves. Gradients are
    freed at the end of a step, so that the next one's peak of memory holds its own.
    """
    scene.model.train()
    first = next(scene.model.parameters())
    optimizer = torch.optim.AdamW(scene.model.parameters(), lr=0.0, fused=True)

    def step(loss_of: Callable[[], Tensor], _: Stopwatch) -> Step:
        loss = loss_of()
        loss.backward()
        optimizer.step()
        assert first.grad is not None
        done = Step(loss.detach(), first.grad)
        optimizer.zero_grad()
        return done

    step(partial(_loss, scene, CE_STEP), Stopwatch())  # the optimiser allocates its moments
    losses: dict[str, Callable[[], Tensor]] = {loss: partial(_loss, scene, loss) for loss in PAPER_LOSSES}
    losses[WATCHED_STEP] = partial(_watched, scene)

    def set_up(name: str) -> tuple[Call, Compare]:
        return partial(step, losses[name]), partial(_error, name)

    return {name: partial(set_up, name) for name in STEPS}


def reference(scene: Scene, wanted: Collection[str]) -> dict[str, Step]:
    """The losses that are wanted and their gradients by the definitions, with nothing of `batchcam`.

    Maps: ReLU(Σ α A) with α the mean gradient, resized bilinearly, (M − min) / max(max − min, 1e-6). Losses: means over
    images, or over the classes' mean maps, of the distance to the prototype of the class.
    """
    device = scene.images.device.type
    recorded: list[Tensor] = []
    hook = scene.layer.register_forward_hook(lambda module, args, output: recorded.append(output))
    try:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = scene.model(scene.images)
    finally:
        hook.remove()
    (A,) = recorded
    score = logits.gather(1, scene.targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, A, create_graph=True)
    cam = (gradient.float().mean((2, 3), keepdim=True) * A.float()).sum(1, keepdim=True).relu()
    maps = interpolate(cam, scene.images.shape[2:], mode="bilinear", align_corners=False)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    maps = (maps - low) / (high - low).clamp(min=1e-6)

    classes = scene.targets.unique()
    means = torch.stack([maps[scene.targets == c].mean(0) for c in classes])
    P = scene.prototypes[:, None]
    losses = {CE_STEP: torch.zeros(()), WATCHED_STEP: torch.zeros(())}
    for name, D in _DISTANCES.items():
        losses |= {f"prototype-{name}": D(maps, P[scene.targets]), f"batchcam-{name}": D(means, P[classes])}
    ce, first = cross_entropy(logits.float(), scene.targets), next(scene.model.parameters())
    expected = {}
    for name in wanted:
        loss = ce + losses[name].to(ce.device)
        expected[name] = Step(loss.detach(), torch.autograd.grad(loss, first, retain_graph=True)[0])
    return expected


_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda a, b: (a - b).abs().mean(),
    "l2": lambda a, b: (a - b).square().mean(),
    "ssim": lambda a, b: 1 - pytorch_msssim.ssim(a, b, data_range=1.0),
}


def _loss(scene: Scene, loss: str) -> Tensor:
    """The objective of `bench.cell.objective`, with weight 1."""
    backbone = Backbone(scene.model, scene.layer)
    return objective(backbone, scene.images, scene.targets, regularizer_for(loss, scene.prototypes), 1.0)


def _watched(scene: Scene) -> Tensor:
    device = scene.images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"), batchcam.capture(scene.layer) as captured:
        logits = scene.model(scene.images)
    raw = batchcam.grad_cam(captured.activations, logits, scene.targets)
    batchcam.normalize_maps(batchcam.resize_maps(raw, scene.images.shape[-1]))
    return cross_entropy(logits.float(), scene.targets)


def _error(name: str, step: Step, expected: dict[str, Step]) -> float:
    """|loss − reference| / |reference|; where it is small, but the gradient is another one, the gradient's error."""
    loss, gradient = (relative_error(found, wanted) for found, wanted in zip(step, expected[name], strict=True))
    return gradient if gradient > GRADIENT_TOLERANCE else loss
