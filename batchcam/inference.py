"""Maps of a model that is run for them alone: in one pass of the whole batch, or image by image as a reference."""

import contextlib
import re
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from batchcam.cam import METHODS, Method, check_activations, grad_cam, raw_maps
from batchcam.checks import check_choice, check_class_indices, describe
from batchcam.layouts import Layout
from batchcam.precision import UNCHANGED, no_autocast
from batchcam.recording import Captured, capture
from batchcam.state import state_kept


def explain(
    model: nn.Module,
    layer: nn.Module,
    images: Tensor,
    targets: Tensor | Literal["all"] | None = None,
    relu: bool = True,
    *,
    method: Method = "grad_cam",
    layout: Layout | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits and maps for inference, at about the cost of the logits alone.

    The backbone runs without a graph and only what comes after the layer with one. The model is used in the mode it
    is in; that mode, its parameters' `.grad`, its buffers and torch's random state are afterwards what they were.
    Works under `no_grad`, `inference_mode` and autocast, and on the module inside DistributedDataParallel.

    Args:
        model: maps images to logits, one tensor (N,C).
        layer: the module of the model whose output, (N,K,h,w) by itself or by the layout, the map is read at.
        images: the model's input, N first.
        targets: the class of each image, (N,) long; None for the predicted one; "all" for every class.
        relu, method, layout: as for `grad_cam`.

    Returns:
        logits (N,C) as the model gave them, and raw maps (N,h,w) or (N,C,h,w) as from `grad_cam`; both without a graph.

    Raises:
        TypeError, ValueError: as `grad_cam` and `Captured.activations` do.
        RuntimeError: the model was changed in place meanwhile.

    Example:
        >>> logits, maps = batchcam.explain(model, model.layer4, images)
        >>> logits.shape, maps.shape
        (torch.Size([8, 10]), torch.Size([8, 4, 4]))
    """
    model = _checked(model, images)
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(mode=False):
            return explain(model, layer, images, targets, relu, method=method, layout=layout)
    images = _copied_from_inference(images)
    with torch.no_grad(), _uncached_autocast(images), state_kept(model):
        captured, logits = _run(model, layer, images, layout)
        if targets is None:
            targets = logits.argmax(dim=1)
        elif isinstance(targets, Tensor):
            targets = _copied_from_inference(targets)
        activations = captured.activations
        maps = grad_cam(activations, logits, targets, relu=relu, method=method)
        if activations.is_leaf:
            activations.requires_grad_(False)  # the layer may keep it
    return logits.detach(), maps


def grad_cam_loop(
    model: nn.Module,
    layer: nn.Module,
    images: Tensor,
    targets: Tensor,
    create_graph: bool = False,
    *,
    method: Method = "grad_cam",
    layout: Layout | None = None,
) -> Tensor:
    """Grad-CAM the old way, as a reference: for each image one forward and one full backward pass, with a hook.

    The backward pass reaches every parameter, as `score.backward()` does, but leaves their `.grad` alone. What is
    kept of the model's state, and the errors, are those of `explain`.

    Args:
        model, layer, images: as for `explain`.
        targets: the class of each image, (N,) long.
        create_graph, method, layout: as for `grad_cam`.

    Returns:
        Raw maps (N,h,w), equal to those of `grad_cam` where nothing mixes samples.

    Example:
        >>> maps = batchcam.grad_cam_loop(model, model.layer4, images, labels)
        >>> torch.allclose(maps, batchcam.explain(model, model.layer4, images, labels)[1], atol=1e-6)
        True
    """
    model = _checked(model, images)
    if len(images) == 0:
        raise ValueError("images must hold at least one image, got an empty batch")
    check_class_indices("targets", targets, len(images), None)
    check_choice("method", method, METHODS)
    others = [p for p in model.parameters() if p.requires_grad]
    one = partial(raw_maps, create_graph=create_graph, relu=True, method=method, layout=layout, others=others)
    with torch.inference_mode(mode=False), torch.enable_grad(), state_kept(model):
        images, targets = _copied_from_inference(images), _copied_from_inference(targets)
        maps = []
        for i, image in enumerate(images):
            captured, logits = _run(model, layer, image[None], layout)
            if i == 0:
                check_activations(captured.activations, layout)
            check_class_indices("targets", targets, len(images), logits.shape[1])
            with no_autocast(images):
                maps.append(one(captured.activations, logits, targets[i : i + 1]))
        return torch.cat(maps)


def _checked(model: nn.Module, images: Tensor) -> nn.Module:
    """The model itself: around it, DataParallel has copies run and the other would wait for a backward pass."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module, got {describe(model)}")
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, N first, got {describe(images)}")
    while isinstance(model, (DataParallel, DistributedDataParallel)):
        model = model.module
    return model


def _run(model: nn.Module, layer: nn.Module, images: Tensor, layout: Layout | None) -> tuple[Captured, Tensor]:
    """What the layer and the model put out."""
    try:
        with capture(layer, layout=layout) as captured:
            logits: object = model(images)
    except RuntimeError as error:
        # Torch refuses to change in place, after the layer and so with a graph, a view that was made before it and
        # without (timm's GhostNet does). With a graph from the beginning it does not.
        if torch.is_grad_enabled() or not re.search("no_grad mode|leaf Variable", str(error)):
            raise
        with torch.enable_grad(), capture(layer, layout=layout) as captured:
            logits = model(images)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ValueError(f"the model must put out logits as one tensor (N,C), got {describe(logits)}")
    return captured, logits


def _copied_from_inference(tensor: Tensor) -> Tensor:
    """An inference tensor cannot be saved for a backward pass; its copy can."""
    return tensor.clone() if tensor.is_inference() else tensor


def _uncached_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """The autocast that is on, but without its cache, where a training step would find weights without their graph."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return UNCHANGED
    return torch.autocast(device, torch.get_autocast_dtype(device), cache_enabled=False)
