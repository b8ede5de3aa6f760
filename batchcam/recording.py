"""Recording what a layer puts out while a model runs."""

import contextlib
import threading
import traceback
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch._C._autograd import _get_sequence_nr
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.nn.parallel import DistributedDataParallel

from batchcam.checks import describe
from batchcam.layouts import Layout, arranged, looks_channels_last


class Origin(NamedTuple):
    """How activations were captured: written on them for `grad_cam`, which is given nothing else of the capture."""

    layout: Layout | None = None
    frozen: bool = False  # a leaf since nothing before it needs a gradient, not for lack of a graph
    channels_last: bool | None = None  # whether they look it; None where nobody knows the layer


def origin_of(activations: Tensor) -> Origin:
    """How activations were captured; nothing about others."""
    origin: Origin = getattr(activations, "_batchcam_origin", Origin())
    return origin


class Captured(contextlib.AbstractContextManager["Captured"]):
    """What `capture` recorded: `activations`, the output of the layer."""

    def __init__(self, layer: nn.Module, layout: Layout | None) -> None:
        self._layer = layer
        self._layout = layout
        self._thread = threading.get_ident()
        self._had: list[tuple[Tensor, int]] = []  # what the layer had before it ran, and in which version
        self._runs = 0
        self._output: object = None

    @property
    def activations(self) -> Tensor:
        """A, in the graph of the logits: (N,K,h,w), or with a layout what the layer put out, as logits depend on it.

        Raises:
            ValueError: the layer did not run in the `with` block, or ran more than once; its output is not (N,K,h,w),
                also after the layout, or was changed in place later.
            TypeError: its output is not one floating-point tensor.
        """
        if self._runs > 1:
            needed = "run the model once, and of a layer that it uses several times capture the module around one use"
            raise ValueError(f"the captured layer ran {self._runs} times inside capture(): {needed}")
        if not self._runs:
            needed = (
                "it must be a module of the model that runs in the with block (not of a copy), in this thread, as"
                " Python; code of torch.compile runs no hook: pass the model from before it was compiled"
            )
            raise ValueError(f"the captured layer did not run inside capture(): {needed}")
        output = self._output
        arranged(self._layout, "the captured layer's output", output)
        assert isinstance(output, Tensor)
        if not output.is_inference() and output._version != self._version:
            changed = f"the captured layer's output {tuple(output.shape)} was changed in place after the layer"
            raise ValueError(f"{changed}, through a reference that the model keeps: its map would be of other values")
        return output

    def __enter__(self) -> Self:
        self._grad_mode, self._ddp = torch.is_grad_enabled(), DistributedDataParallel._get_active_ddp_module()
        before, after = self._layer.register_forward_pre_hook, self._layer.register_forward_hook
        self._hooks = before(self._before, with_kwargs=True), after(self._after)
        return self

    def __exit__(self, *exception: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._had = []  # of a layer that raised
        torch.set_grad_enabled(self._grad_mode)

    def _before(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() == self._thread:
            given = [b for a in (*args, *kwargs.values()) for b in (a if isinstance(a, (list, tuple)) else (a,))]
            own = [vars(m) for m in layer.modules() if not type(m).__module__.startswith("torch.nn.modules.")]
            had = [*given, *(a for kept in own for a in tuple(kept.values()))]
            self._had = [(a, a._version) for a in had if isinstance(a, Tensor) and not a.is_inference()]
            self._began = _get_sequence_nr()

    def _after(self, layer: nn.Module, args: tuple[Any, ...], output: object) -> Tensor | None:
        if threading.get_ident() != self._thread:
            return None
        self._runs, self._output, had, self._had = self._runs + 1, output, self._had, []
        if self._runs > 1 or torch.is_inference_mode_enabled():
            return None
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return None
        grad_mode = torch.is_grad_enabled()
        _check_around(grad_mode, self._ddp)
        older = output.requires_grad and (output.grad_fn is None or output.grad_fn._sequence_nr() < self._began)
        if older or any(a is output and version == a._version for a, version in had):
            output = output.clone()  # the layer handed on what was there before it, which others may read and change
        origin = Origin(self._layout, grad_mode and not output.requires_grad, looks_channels_last(output, layer))
        if not grad_mode:
            output = output.detach() if output.requires_grad else output
            torch.set_grad_enabled(True)
        # Itself and no alias, so that what the model keeps of it is tracked as well.
        self._output = output if output.requires_grad else output.requires_grad_()
        self._version = output._version
        vars(output)["_batchcam_origin"] = origin
        return output.clone()


def capture(layer: nn.Module, *, layout: Layout | None = None) -> Captured:
    """Record the activations of a layer while a model runs, in this thread.

    The hooks are gone on exit, whatever was raised. What runs after the layer gets a copy of the activations, so an
    in-place operation there does not change them. Of a layer that hands on its input, or a tensor that it kept, the map
    counts what comes through the layer; of an output that the model also keeps elsewhere, it counts every use. Where
    nothing before the layer needs a gradient (frozen parameters), the graph begins at the layer. Under `no_grad` too,
    and what runs after it until the `with` block ends is recorded all the same: a map without the backbone's graph.

    Args:
        layer: the module whose output is one floating-point tensor, (N,K,h,w) by itself or by the layout.
        layout: brings the output to (N,K,h,w), see `batchcam.layouts`; None where it is that already.

    Returns:
        A context manager that gives a `Captured`; reading its `activations` raises what it says there.

    Raises:
        TypeError: a layer that is no module.
        ValueError: while the model runs, under `torch.func.vmap`, or around DDP with `static_graph` or under `no_grad`.

    Example:
        >>> with batchcam.capture(model.layer4) as captured:
        ...     logits = model(images)
        >>> assert isinstance(captured, batchcam.Captured)
        >>> captured.activations.shape
        torch.Size([8, 4, 4, 4])
    """
    if not isinstance(layer, nn.Module):
        raise TypeError(f"layer must be a module, such as model.layer4, got {describe(layer)}")
    return Captured(layer, layout)


def _check_around(grad_mode: bool, outside: DistributedDataParallel | None) -> None:
    """Raise under vmap, and where DDP would take a map's gradient for the training's, unless all runs inside DDP."""
    if any(transform.key() == TransformType.Vmap for transform in get_interpreter_stack() or ()):
        raise ValueError("capture does not work under torch.func.vmap: run the whole batch, a map is per image already")
    ddp = DistributedDataParallel._get_active_ddp_module()
    if ddp in (None, outside):
        return
    inside = DistributedDataParallel.forward.__code__  # or another thread is: which DDP runs is known for all of them
    if not any(frame.f_code is inside for frame, _ in traceback.walk_stack(None)):
        return
    if not grad_mode:
        raise ValueError("capture under no_grad needs the module inside DistributedDataParallel: run ddp.module")
    if ddp.static_graph:
        raise ValueError("DDP with static_graph=True takes a map's gradient for the training's: leave static_graph out")
