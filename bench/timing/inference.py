"""Who makes maps at inference: a plain forward pass as the floor, loops, batchcam, and the other libraries.

Each contender gets the same model (those that leave hooks behind, a copy of their own), batch, layer, memory format and
threads. What a call holds differs: captum's runs the forward pass itself; pytorch-grad-cam's also, makes the full
backward pass, and resizes and normalises in NumPy; torch-cam's leaves the forward pass to the caller, who runs it here.
"""

import contextlib
import copy
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

import batchcam
from bench.names import (
    AUTOGRAD_LOOP,
    CAPTUM,
    EXPLAIN,
    EXPLAIN_ALL,
    EXPLAIN_ALL_ALONE,
    EXPLAIN_ALONE,
    FORWARD,
    GRAD_CAM,
    LOOP,
    PEERS,
    PYTORCH_GRAD_CAM,
    TORCH_CAM,
)
from bench.timing.groups import Group, Scene
from bench.timing.interleave import Call, Stopwatch

#: A map with its graph, resized and normalised, without the forward pass; timed by the check for regressions alone.
TRAINING_MAP = "map in training"

#: Of how many classes the maps of the first image are compared.
COMPARED_CLASSES = 10


class Reference(NamedTuple):
    """Grad-CAM by its definition, image by image, with nothing of this project's."""

    logits: Tensor  # (N,classes)
    maps: Tensor  # (N,h,w), of the targets
    first: Tensor  # (at most COMPARED_CLASSES,h,w), of the first image


#: What a call returned and the group's reference → how far they are apart, relative to the reference.
Compare = Callable[[Any, Any], float]
#: Sets a contender up; may raise whatever another library raises.
SetUp = Callable[[], tuple[Call, Compare]]


def names(group: Group) -> tuple[str, ...]:
    """Who is in a group, in the order of the tables: for growth and at the last stage the floor and ours, else all."""
    ours = (GRAD_CAM, EXPLAIN, EXPLAIN_ALONE, EXPLAIN_ALL, EXPLAIN_ALL_ALONE)
    if group.kind == "growth" or group.last_stage:
        return (FORWARD, *ours)
    return (FORWARD, LOOP, AUTOGRAD_LOOP, *ours, *PEERS)


def contenders(scene: Scene) -> dict[str, SetUp]:
    """Everyone by name, to be set up."""
    return {
        FORWARD: lambda: (lambda _: _forward(scene), lambda logits, expected: relative_error(logits, expected.logits)),
        LOOP: lambda: (lambda watch: _old_loop(scene, watch), _error_of_targets),
        AUTOGRAD_LOOP: lambda: (lambda watch: _autograd_loop(scene, watch)[1], _error_of_targets),
        GRAD_CAM: lambda: (lambda watch: _grad_cam(scene, watch), _error_of_targets),
        EXPLAIN: lambda: (lambda _: _explain(scene, scene.targets), _error_of_targets),
        EXPLAIN_ALONE: lambda: (_prepared(scene, scene.targets), _error_of_targets),
        EXPLAIN_ALL: lambda: (lambda _: _explain(scene, "all"), _error_of_all(scene)),
        EXPLAIN_ALL_ALONE: lambda: (_prepared(scene, "all"), _error_of_all(scene)),
        CAPTUM: lambda: _captum(scene),
        TORCH_CAM: lambda: _torchcam(scene),
        PYTORCH_GRAD_CAM: lambda: _pytorch_grad_cam(scene),
        TRAINING_MAP: lambda: (_training_map(scene), _error_of_finished(scene)),
    }


def reference(scene: Scene) -> Reference:
    """What everyone is compared with."""
    logits, maps = _autograd_loop(scene, Stopwatch())
    classes = torch.arange(min(COMPARED_CLASSES, logits.shape[1]), device=logits.device)
    one_image = scene._replace(images=scene.images[:1].expand(len(classes), -1, -1, -1), targets=classes)
    return Reference(logits, maps, _autograd_loop(one_image, Stopwatch())[1])


def relative_error(found: Tensor, expected: Tensor) -> float:
    """max |found − expected| / max |expected|; infinite where shapes differ or a value is not finite."""
    if found.shape != expected.shape or not found.isfinite().all():
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max())


def _error_of_targets(maps: Tensor, expected: Reference) -> float:
    return relative_error(maps, expected.maps)


def _error_of_finished(scene: Scene) -> Compare:
    """Maps of the targets, resized and normalised: (M − min) / max(max − min, 1e-6)."""

    def compare(maps: Tensor, expected: Reference) -> float:
        M = _resized(expected.maps, scene)
        low, high = M.amin((1, 2), keepdim=True), M.amax((1, 2), keepdim=True)
        return relative_error(maps, (M - low) / (high - low).clamp(min=1e-6))

    return compare


def _resized(maps: Tensor, scene: Scene) -> Tensor:
    return interpolate(maps[:, None], scene.images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def _error_of_all(scene: Scene) -> Compare:
    """Maps of every class: those of the targets, and the first image's of several classes."""
    rows = torch.arange(len(scene.targets), device=scene.targets.device)

    def compare(maps: Tensor, expected: Reference) -> float:
        if maps.ndim != 4 or maps.shape[:2] != expected.logits.shape:
            return float("inf")
        first = relative_error(maps[0, :COMPARED_CLASSES], expected.first)
        return max(relative_error(maps[rows, scene.targets], expected.maps), first)

    return compare


def _forward(scene: Scene) -> Tensor:
    with torch.no_grad():
        logits: Tensor = scene.model(scene.images)
    return logits


def _old_loop(scene: Scene, watch: Stopwatch) -> Tensor:
    """The paper's old algorithm: hooks, and for each image a forward and a full backward pass."""
    A: list[Tensor] = []
    gradient: list[Tensor] = []
    maps = []
    with contextlib.ExitStack() as stack:
        hook = scene.layer.register_forward_hook(lambda module, args, output: A.append(output))
        stack.callback(hook.remove)
        hook = scene.layer.register_full_backward_hook(lambda module, before, behind: gradient.extend(behind))
        stack.callback(hook.remove)
        stack.callback(scene.model.zero_grad)
        for image, target in zip(scene.images.split(1), scene.targets, strict=True):
            logits = scene.model(image)
            with watch:
                scene.model.zero_grad()
                logits[0, target].backward()
                alpha = gradient.pop().mean((2, 3), keepdim=True)
                maps.append((alpha * A.pop().detach()).sum(1).relu())
    return torch.cat(maps)


def _autograd_loop(scene: Scene, watch: Stopwatch) -> tuple[Tensor, Tensor]:
    """The loop that differentiates only as far as the layer: logits (N,classes) and maps (N,h,w)."""
    A: list[Tensor] = []
    found, maps = [], []
    with contextlib.ExitStack() as stack:
        hook = scene.layer.register_forward_hook(lambda module, args, output: A.append(output))
        stack.callback(hook.remove)
        for image, target in zip(scene.images.split(1), scene.targets, strict=True):
            logits = scene.model(image)
            with watch:
                activations = A.pop()
                (gradient,) = torch.autograd.grad(logits[0, target], activations)
                maps.append((gradient.mean((2, 3), keepdim=True) * activations.detach()).sum(1).relu())
            found.append(logits.detach())
    return torch.cat(found), torch.cat(maps)


def _grad_cam(scene: Scene, watch: Stopwatch) -> Tensor:
    with batchcam.capture(scene.layer) as captured:
        logits = scene.model(scene.images)
    with watch:
        return batchcam.grad_cam(captured.activations, logits, scene.targets)


def _explain(scene: Scene, targets: Tensor | Literal["all"]) -> Tensor:
    return batchcam.explain(scene.model, scene.layer, scene.images, targets)[1]


def _prepared(scene: Scene, targets: Tensor | Literal["all"]) -> Call:
    """The map alone, out of a forward pass that ran before, as `explain` runs it."""
    with torch.no_grad(), batchcam.capture(scene.layer) as captured:
        logits = scene.model(scene.images)

    def call(watch: Stopwatch) -> Tensor:
        with watch:
            return batchcam.grad_cam(captured.activations, logits, targets)

    return call


def _training_map(scene: Scene) -> Call:
    """What a guided step does between the forward pass and the map's loss, out of a forward pass that ran before."""
    with batchcam.capture(scene.layer) as captured:
        logits = scene.model(scene.images)

    def call(watch: Stopwatch) -> Tensor:
        with watch:
            maps = batchcam.grad_cam(captured.activations, logits, scene.targets, create_graph=True)
            return batchcam.normalize_maps(batchcam.resize_maps(maps, scene.images.shape[-1])).detach()

    return call


def _captum(scene: Scene) -> tuple[Call, Compare]:
    from captum.attr import LayerGradCam

    method = LayerGradCam(scene.model, scene.layer)

    def call(_: Stopwatch) -> Tensor:
        maps: Tensor = method.attribute(scene.images, target=scene.targets, relu_attributions=True)
        return maps[:, 0].detach()

    return call, _error_of_targets


def _torchcam(scene: Scene) -> tuple[Call, Compare]:
    from torchcam.methods import GradCAM

    own = _with_own_model(scene)
    method = GradCAM(own.model, target_layer=own.layer)
    targets = scene.targets.tolist()

    def call(watch: Stopwatch) -> Tensor:
        logits = own.model(own.images)
        with watch:
            maps: Tensor = method(targets, logits, normalized=False)[0]
        return maps

    return call, _error_of_targets


def _pytorch_grad_cam(scene: Scene) -> tuple[Call, Compare]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    own = _with_own_model(scene)
    method = GradCAM(model=own.model, target_layers=[own.layer])
    targets = [ClassifierOutputTarget(c) for c in scene.targets.tolist()]

    def normalised(maps: Tensor) -> Tensor:
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        return (maps - low) / (high - low + 1e-7)

    def compare(maps: Tensor, expected: Reference) -> float:
        return relative_error(maps, normalised(_resized(normalised(expected.maps), scene)).cpu())

    return lambda _: torch.from_numpy(method(input_tensor=own.images, targets=targets)), compare


def _with_own_model(scene: Scene) -> Scene:
    """For a library whose hooks stay: they must not slow the others down."""
    name = scene.layer_name
    model = copy.deepcopy(scene.model)
    return scene._replace(model=model, layer=model.get_submodule(name))
