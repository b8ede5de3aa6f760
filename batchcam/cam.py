"""Grad-CAM for a batch: capture the activations of a layer, then differentiate the target logits by them.

Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) of image i for class c, with the activations A (N,K,h,w) of a
layer and the logits y (N,C):

    α_k = mean over h,w of ∂y_c/∂A_k          M = ReLU(Σ_k α_k A_k)

The vectorised form differentiates Σ_i y[i, target_i] once; row i of that gradient is image i's own as long as nothing
behind the layer mixes samples (eval mode, or no train-mode BatchNorm there).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from batchcam.checks import check_class_indices, check_float, describe
from batchcam.precision import full_precision, no_autocast

# What runs now and has to be put back when its last user is done: how many use it, and how it is put back.
_in_use: dict[nn.Module | torch.device, tuple[int, Callable[[], None]]] = {}
_in_use_lock = threading.Lock()


class Captured:
    """What `capture` recorded. `activations` is the output of the layer, A, (N,K,h,w)."""

    def __init__(self) -> None:
        self._runs = 0
        self._output: object = None

    @property
    def activations(self) -> Tensor:
        """A, (N,K,h,w), in the graph of the logits.

        Raises:
            ValueError: the layer did not run in the `with` block, or ran more than once, or its output is not
                four-dimensional.
            TypeError: its output is not one floating-point tensor.
        """
        if self._runs != 1:
            ran = f"ran {self._runs} times" if self._runs else "did not run"
            raise ValueError(f"the captured layer {ran} inside capture(); it must run exactly once, in this thread")
        check_float("the captured layer's output", self._output, "(N,K,h,w)")
        assert isinstance(self._output, Tensor)
        return self._output


@contextlib.contextmanager
def capture(layer: nn.Module) -> Iterator[Captured]:
    """Record the activations of a layer while a model runs, in this thread.

        with capture(layer) as captured:
            logits = model(images)
        maps = grad_cam(captured.activations, logits, targets)

    The hook is gone on exit, whatever was raised. What runs behind the layer gets a copy of the activations, so an
    in-place operation there does not change them. Where nothing in front of the layer needs a gradient (frozen
    parameters), the graph begins at the layer. Under `no_grad`, too, and what runs behind the layer until
    the `with` block ends is recorded all the same: this is how a map is had without a graph of the backbone.

    Args:
        layer: the module whose output is one floating-point tensor (N,K,h,w).

    Yields:
        An object whose `activations` can be read once the layer has run; reading raises what it says there.
    """
    captured = Captured()
    thread = threading.get_ident()
    grad_mode = torch.is_grad_enabled()

    def record(module: nn.Module, args: object, output: object) -> Tensor | None:
        if threading.get_ident() != thread:
            return None
        captured._runs += 1
        if captured._runs > 1:
            return None
        captured._output = output
        if not isinstance(output, Tensor) or not output.is_floating_point() or torch.is_inference_mode_enabled():
            return None
        if not torch.is_grad_enabled():
            # A leaf: grad_cam(create_graph=True) takes it for what it is, activations without their backbone.
            output = output.detach().requires_grad_()
            torch.set_grad_enabled(True)
        elif not output.requires_grad:
            output = output.detach().requires_grad_()
            output = output.view_as(output)  # no leaf: the parameters in front are frozen on purpose
        captured._output = output
        return output.clone()

    handle = layer.register_forward_hook(record)
    try:
        yield captured
    finally:
        handle.remove()
        torch.set_grad_enabled(grad_mode)


def grad_cam(
    activations: Tensor,
    logits: Tensor,
    targets: Tensor | Literal["all"],
    create_graph: bool = False,
    relu: bool = True,
) -> Tensor:
    """Grad-CAM of a whole batch: M = ReLU(Σ_k α_k A_k), α_k = mean over h,w of ∂y_c/∂A_k.

    Args:
        activations: A, (N,K,h,w), from `capture`.
        logits: y, (N,C), computed from those activations.
        targets: the class c of each image, (N,) long; or "all" for every class.
        create_graph: let gradients flow through the maps into the parameters, through A and through α.
        relu: False leaves the negative evidence in.

    Returns:
        Raw maps (N,h,w), or (N,C,h,w) for "all", ≥ 0 (with `relu`), float32 (float64 stays float64). Without
        `create_graph` they carry no graph. The graph of the logits is kept: it can still be differentiated.

    Raises:
        TypeError, ValueError: tensors of other shapes or dtypes; a target out of range; logits that do not depend on
            the activations; with `create_graph`, activations that were recorded under `no_grad`.
    """
    check_float("activations", activations, "(N,K,h,w)")
    check_float("logits", logits, "(N,C)")
    if len(logits) != len(activations):
        raise ValueError(f"activations {tuple(activations.shape)} and logits {tuple(logits.shape)} differ in N")
    if isinstance(targets, str):
        if targets != "all":
            raise ValueError(f"targets must be a long tensor (N,) or 'all', got {targets!r}")
    else:
        check_class_indices("targets", targets, *logits.shape)
    if create_graph and activations.is_leaf:
        raise ValueError(
            "create_graph needs activations with a graph behind them, but these were recorded under no_grad"
            " (or detached): the backbone would get no gradient"
        )

    with no_autocast(activations), torch.enable_grad():
        if isinstance(targets, str):
            classes = torch.arange(logits.shape[1], device=logits.device)
            maps = [_map(activations, logits, c.expand(len(logits)), create_graph, relu) for c in classes]
            return torch.stack(maps, dim=1)
        return _map(activations, logits, targets, create_graph, relu)


def explain(
    model: nn.Module,
    layer: nn.Module,
    images: Tensor,
    targets: Tensor | Literal["all"] | None = None,
    relu: bool = True,
) -> tuple[Tensor, Tensor]:
    """Logits and Grad-CAM maps for inference, at about the cost of the logits alone.

    The backbone runs without a graph and only what comes after the layer with one. The model is used in the mode it
    is in; that mode, its parameters' `.grad`, its buffers and torch's random state are afterwards what they were.
    Works under `no_grad`, `inference_mode` and autocast.

    Args:
        model: maps images to logits, one tensor (N,C).
        layer: the module of the model whose output, (N,K,h,w), the map is read at.
        images: the model's input, N first.
        targets: the class of each image, (N,) long; None for the predicted one; "all" for every class.
        relu: False leaves the negative evidence in.

    Returns:
        logits (N,C) as the model gave them, and raw maps (N,h,w) or (N,C,h,w) as from `grad_cam`; both without a graph.

    Raises:
        TypeError, ValueError: as `grad_cam` and `Captured.activations` do.
    """
    _check_images(images)
    with torch.inference_mode(False), torch.no_grad(), _uncached_autocast(images), _state_kept(model, images.device):
        images = _outside_inference_mode(images)
        with capture(layer) as captured:
            logits = _logits(model(images))
        if targets is None:
            targets = logits.argmax(dim=1)
        elif isinstance(targets, Tensor):
            targets = _outside_inference_mode(targets)
        maps = grad_cam(captured.activations, logits, targets, relu=relu)
    return logits.detach(), maps


def grad_cam_loop(
    model: nn.Module,
    layer: nn.Module,
    images: Tensor,
    targets: Tensor,
    create_graph: bool = False,
) -> Tensor:
    """Grad-CAM the old way, as a reference: for each image one forward and one full backward pass, with a hook.

    The backward pass reaches every parameter, as `score.backward()` does, but leaves their `.grad` alone. What is
    kept of the model's state, and the errors, are those of `explain`.

    Args:
        model, layer, images: as for `explain`.
        targets: the class of each image, (N,) long.
        create_graph: let gradients flow through the maps into the parameters.

    Returns:
        Raw maps (N,h,w), equal to those of `grad_cam` where nothing mixes samples.
    """
    _check_images(images)
    if len(images) == 0:
        raise ValueError("images must hold at least one image, got an empty batch")
    check_class_indices("targets", targets, len(images), None)
    maps = []
    with torch.inference_mode(False), torch.enable_grad(), _state_kept(model, images.device):
        images, targets = _outside_inference_mode(images), _outside_inference_mode(targets)
        parameters = [p for p in model.parameters() if p.requires_grad]
        for i, image in enumerate(images):
            with capture(layer) as captured:
                logits = _logits(model(image[None]))
            check_class_indices("targets", targets, len(images), logits.shape[1])
            with no_autocast(images):
                maps.append(_map(captured.activations, logits, targets[i : i + 1], create_graph, True, parameters))
        return torch.cat(maps)


def _map(
    A: Tensor, logits: Tensor, targets: Tensor, create_graph: bool, relu: bool, others: Sequence[Tensor] = ()
) -> Tensor:
    """(ReLU of) Σ_k α_k A_k, (N,h,w); the logits are differentiated by `others` as well, and that thrown away."""
    gradient = None
    if logits.requires_grad and A.requires_grad:
        # ∂ Σ_i y[i, target_i] / ∂A
        chosen = torch.zeros_like(logits).scatter_(1, targets[:, None], 1.0)
        gradient, *_ = torch.autograd.grad(
            logits, [A, *others], chosen, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
    if gradient is None:
        raise ValueError(
            f"the logits do not depend on the activations {tuple(A.shape)} through autograd: both must come from one"
            " forward pass of the model, and not under inference_mode (there, use explain)"
        )
    if not create_graph:
        A = A.detach()
    alpha = full_precision(gradient).mean((2, 3))
    cam = (alpha[:, None] @ full_precision(A).flatten(2)).view(len(A), *A.shape[2:])
    return cam.relu() if relu else cam


def _check_images(images: object) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, N first, got {describe(images)}")


def _logits(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise ValueError(f"the model must put out logits as one tensor (N,C), got {describe(output)}")
    return output


def _outside_inference_mode(tensor: Tensor) -> Tensor:
    """An inference tensor cannot be saved for a backward pass; its copy can."""
    return tensor.clone() if tensor.is_inference() else tensor


def _uncached_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """The autocast that is on, if one is, without its cache.

    Weights that autocast casts under no_grad must not stay in its cache: a training step in the same autocast block
    would find them there without their graph, and train nothing.
    """
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return contextlib.nullcontext()
    return torch.autocast(device, torch.get_autocast_dtype(device), cache_enabled=False)


@contextlib.contextmanager
def _state_kept(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Let a model run on copies of its buffers and then forget them, and the random numbers that were drawn.

    Threads that are here with one model at the same time share the copies; the last one to leave puts everything back.
    """
    keepers: dict[nn.Module | torch.device, Callable[[], Callable[[], None]]]
    # The buffers last: what can fail comes before anything has been exchanged.
    keepers = {device: partial(_keep_random_state, device), model: partial(_exchange_buffers, model)}
    with _in_use_lock:
        in_use = {key: _in_use[key] if key in _in_use else (0, keep()) for key, keep in keepers.items()}
        _in_use.update({key: (users + 1, put_back) for key, (users, put_back) in in_use.items()})
    try:
        yield
    finally:
        with _in_use_lock:
            for key in keepers:
                users, put_back = _in_use.pop(key)
                if users > 1:
                    _in_use[key] = users - 1, put_back
                else:
                    put_back()


def _exchange_buffers(model: nn.Module) -> Callable[[], None]:
    """Exchange a model's buffers for copies; the result puts the buffers themselves back.

    Restoring values instead would write into buffers, and break a graph that the caller still holds. In eval mode
    torch's own modules write none, and are left out (ResNet-18 has 60).
    """
    modules = [m for m in _modules(model) if m.training or not type(m).__module__.startswith("torch.nn.modules.")]
    # Those that are None or shared, which Module.buffers() leaves out, can be written as well.
    buffers = [(m, name, buffer) for m in modules for name, buffer in m._buffers.items()]
    copies = {id(buffer): buffer.clone() for _, _, buffer in buffers if buffer is not None}
    for module, name, buffer in buffers:
        setattr(module, name, copies.get(id(buffer)))

    def put_back() -> None:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)

    return put_back


def _modules(model: nn.Module) -> list[nn.Module]:
    """What `model.modules()` yields, but without making names (.2 ms for ConvNeXt-V2-Tiny)."""
    found, seen = [model], {id(model)}
    for module in found:
        for child in module._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return found


def _keep_random_state(device: torch.device) -> Callable[[], None]:
    """Remember the state of the random numbers, the CPU's and a CUDA device's; the result sets it again."""
    kept = contextlib.ExitStack()
    kept.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
    return kept.close
