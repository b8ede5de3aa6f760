"""Recording what a layer puts out while a model runs."""

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from batchcam.layouts import Layout, arranged


class Captured:
    """What `capture` recorded: `activations`, the output of the layer."""

    def __init__(self, layout: Layout | None) -> None:
        self._runs = 0
        self._output: object = None
        self._layout = layout

    @property
    def activations(self) -> Tensor:
        """A, in the graph of the logits: (N,K,h,w), or with a layout what the layer put out, before it.

        It is the layer's own output since no logit depends on an arranged copy of it. `grad_cam` finds its layout.

        Raises:
            ValueError: the layer did not run in the `with` block, or ran more than once, or its output is not
                (N,K,h,w), also after the layout.
            TypeError: its output is not one floating-point tensor.
        """
        if self._runs != 1:
            ran = f"ran {self._runs} times" if self._runs else "did not run"
            raise ValueError(f"the captured layer {ran} inside capture(); it must run exactly once, in this thread")
        output = self._output
        arranged(self._layout, "the captured layer's output", output)
        assert isinstance(output, Tensor)
        if self._layout is not None:
            vars(output)["_batchcam_layout"] = self._layout
        return output


@contextlib.contextmanager
def capture(layer: nn.Module, *, layout: Layout | None = None) -> Iterator[Captured]:
    """Record the activations of a layer while a model runs, in this thread.

        with capture(layer) as captured:
            logits = model(images)
        maps = grad_cam(captured.activations, logits, targets)

    The hook is gone on exit, whatever was raised. What runs behind the layer gets a copy of the activations, so an
    in-place operation there does not change them. Where nothing in front of the layer needs a gradient (frozen
    parameters), the graph begins at the layer. Under `no_grad`, too, and what runs behind the layer until
    the `with` block ends is recorded all the same: this is how a map is had without a graph of the backbone.

    Args:
        layer: the module whose output is one floating-point tensor, (N,K,h,w) by itself or by the layout.
        layout: brings the output to (N,K,h,w), see `batchcam.layouts`; None where it is that already.

    Yields:
        An object whose `activations` can be read once the layer has run; reading raises what it says there.
    """
    captured = Captured(layout)
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
