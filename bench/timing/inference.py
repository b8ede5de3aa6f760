"""Who makes maps at inference: a plain forward pass as the floor, loops, batchcam, and the other libraries.

Each contender gets the same model (those that leave hooks behind, a copy of their own), batch, layer, memory format and
threads. What a call holds differs: captum's runs the forward pass itself; pytorch-grad-cam's also, makes the full
backward pass, and resizes and normalises in NumPy; torch-cam's leaves the forward pass to the caller, who runs it here.
"""

import copy
import importlib.util
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor

import batchcam
from bench.timing.groups import Group, Scene
from bench.timing.interleave import Call, Stopwatch

#: How far maps may be from the reference, relative to its largest value; float32 in another order of sums gives 1e-5.
TOLERANCE = 1e-3

#: What a call returns and the group's reference: how far they are apart, relative to the reference.
Compare = Callable[[Any, Any], float]


class Contender(NamedTuple):
    """One side of a comparison: what it runs, and how far what comes out is from the reference."""

    name: str
    call: Call
    compare: Compare


class Absent(NamedTuple):
    """A contender that is not measured, and why."""

    name: str
    reason: str


FLOOR = "forward"
LOOP = "loop, backward()"
AUTOGRAD_LOOP = "loop, autograd.grad"
OURS = "explain"
PEERS = ("captum", "torch-cam", "pytorch-grad-cam")
_OWN = ("grad_cam", OURS, "explain, map alone", "explain, all classes", "explain, all classes, map alone")


def names(group: Group) -> tuple[str, ...]:
    """Who is in a group, in the order of the tables: for growth and at the last stage the floor and ours, else all."""
    if group.kind == "growth" or group.last_stage:
        return (FLOOR, *_OWN)
    return (FLOOR, LOOP, AUTOGRAD_LOOP, *_OWN, *PEERS)


def reference(scene: Scene) -> Tensor:
    """Grad-CAM by its definition, image by image, with nothing of this project's: (N,h,w)."""
    return _autograd_loop(scene, Stopwatch())


def contenders(scene: Scene, wanted: Collection[str]) -> list[Contender | Absent]:
    """Those of the contenders that are wanted, set up."""
    alone, all_alone = _prepared(scene, scene.targets), _prepared(scene, "all")
    found: list[Contender | Absent] = [
        Contender(FLOOR, lambda _: _forward(scene), lambda logits, _: 0.0),
        Contender(LOOP, lambda watch: _old_loop(scene, watch), relative_error),
        Contender(AUTOGRAD_LOOP, lambda watch: _autograd_loop(scene, watch), relative_error),
        Contender("grad_cam", lambda watch: _grad_cam(scene, watch), relative_error),
        Contender(OURS, lambda _: _explain(scene, scene.targets), relative_error),
        Contender("explain, map alone", alone, relative_error),
        Contender("explain, all classes", lambda _: _explain(scene, "all"), _error_of_all(scene)),
        Contender("explain, all classes, map alone", all_alone, _error_of_all(scene)),
    ]
    found += [_peer(scene, name) for name in PEERS if name in wanted]
    return [contender for contender in found if contender.name in wanted]


def relative_error(maps: Tensor, expected: Tensor) -> float:
    """max |M − reference| / max |reference|; infinite where shapes differ, a value is not finite or all are zero."""
    if maps.shape != expected.shape or not maps.isfinite().all() or not expected.any():
        return float("inf")
    return float((maps - expected).abs().max() / expected.abs().max())


def _error_of_all(scene: Scene) -> Compare:
    """The maps of every class are compared at the targets'."""
    rows = torch.arange(len(scene.targets), device=scene.targets.device)
    return lambda maps, expected: relative_error(maps[rows, scene.targets], expected)


def _forward(scene: Scene) -> Tensor:
    with torch.no_grad():
        logits: Tensor = scene.model(scene.images)
    return logits


def _old_loop(scene: Scene, watch: Stopwatch) -> Tensor:
    """The paper's old algorithm: hooks, and for each image a forward and a full backward pass."""
    A: list[Tensor] = []
    gradient: list[Tensor] = []
    hooks = [
        scene.layer.register_forward_hook(lambda module, args, output: A.append(output)),
        scene.layer.register_full_backward_hook(lambda module, before, behind: gradient.extend(behind)),
    ]
    maps = []
    for image, target in zip(scene.images.split(1), scene.targets, strict=True):
        logits = scene.model(image)
        with watch:
            scene.model.zero_grad()
            logits[0, target].backward()
            alpha = gradient.pop().mean((2, 3), keepdim=True)
            maps.append((alpha * A.pop().detach()).sum(1).relu())
    for hook in hooks:
        hook.remove()
    scene.model.zero_grad()
    return torch.cat(maps)


def _autograd_loop(scene: Scene, watch: Stopwatch) -> Tensor:
    """The loop that only differentiates as far as the layer."""
    A: list[Tensor] = []
    hook = scene.layer.register_forward_hook(lambda module, args, output: A.append(output))
    maps = []
    for image, target in zip(scene.images.split(1), scene.targets, strict=True):
        logits = scene.model(image)
        with watch:
            activations = A.pop()
            (gradient,) = torch.autograd.grad(logits[0, target], activations)
            maps.append((gradient.mean((2, 3), keepdim=True) * activations.detach()).sum(1).relu())
    hook.remove()
    return torch.cat(maps)


def _grad_cam(scene: Scene, watch: Stopwatch) -> Tensor:
    with batchcam.capture(scene.layer) as captured:
        logits = scene.model(scene.images)
    with watch:
        return batchcam.grad_cam(captured.activations, logits, scene.targets)


def _explain(scene: Scene, targets: Any) -> Tensor:
    return batchcam.explain(scene.model, scene.layer, scene.images, targets)[1]


def _prepared(scene: Scene, targets: Any) -> Call:
    """The map alone, out of a forward pass that ran before, as `explain` runs it."""
    with torch.no_grad(), batchcam.capture(scene.layer) as captured:
        logits = scene.model(scene.images)

    def call(watch: Stopwatch) -> Tensor:
        with watch:
            return batchcam.grad_cam(captured.activations, logits, targets)

    return call


def _captum(scene: Scene) -> tuple[Call, Compare]:
    from captum.attr import LayerGradCam

    method = LayerGradCam(scene.model, scene.layer)

    def call(_: Stopwatch) -> Tensor:
        maps: Tensor = method.attribute(scene.images, target=scene.targets, relu_attributions=True)
        return maps[:, 0].detach()

    return call, relative_error


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

    return call, relative_error


def _pytorch_grad_cam(scene: Scene) -> tuple[Call, Compare]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    own = _with_own_model(scene)
    method = GradCAM(model=own.model, target_layers=[own.layer])
    targets = [ClassifierOutputTarget(c) for c in scene.targets.tolist()]

    def normalised(maps: Tensor) -> Tensor:
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        return (maps - low) / (high - low + 1e-7)

    def compare(maps: Tensor, expected: Tensor) -> float:
        resized = torch.nn.functional.interpolate(
            normalised(expected)[:, None], scene.images.shape[2:], mode="bilinear", align_corners=False
        )
        return relative_error(maps, normalised(resized[:, 0]).cpu())

    return lambda _: torch.from_numpy(method(input_tensor=own.images, targets=targets)), compare


#: The module that a library comes in, and how it is set up.
_PEERS: dict[str, tuple[str, Callable[[Scene], tuple[Call, Compare]]]] = {
    "captum": ("captum", _captum),
    "torch-cam": ("torchcam", _torchcam),
    "pytorch-grad-cam": ("pytorch_grad_cam", _pytorch_grad_cam),
}


def _peer(scene: Scene, name: str) -> Contender | Absent:
    module, set_up = _PEERS[name]
    if importlib.util.find_spec(module) is None:
        return Absent(name, f"{name} is not installed")
    return Contender(name, *set_up(scene))


def _with_own_model(scene: Scene) -> Scene:
    """For a library whose hooks stay: they must not slow the others down."""
    name = scene.layer_name
    model = copy.deepcopy(scene.model)
    return scene._replace(model=model, layer=model.get_submodule(name))
