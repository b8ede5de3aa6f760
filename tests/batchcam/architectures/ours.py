"""What `batchcam` does with a row: its maps, its refusals, and its maps at other layers of the model."""

import contextlib
import re
import warnings
from typing import Any

import torch
from torch import Tensor, nn

import batchcam
from batchcam.layouts import Layout

from .definition import EQUAL, Keep, difference, hooked
from .models import other_layers

NOT_REFUSED = "it was not refused"


def captured(
    model: nn.Module,
    layer: nn.Module,
    layout: Layout | None,
    images: Tensor,
    targets: Tensor,
    create_graph: bool = False,
) -> Tensor:
    """The maps before ReLU, as a training loop gets them."""
    with batchcam.capture(layer, layout=layout) as recorded:
        logits = model(images)
    return batchcam.grad_cam(recorded.activations, logits, targets, create_graph=create_graph, relu=False)


def refusal(model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor) -> str:
    """The sentence that `explain` and `capture` refuse or warn with, or what they did instead."""
    sentences = []
    targets = torch.zeros(len(images), dtype=torch.long)
    for attempt in (
        lambda: batchcam.explain(model, layer, images, targets, layout=layout),
        lambda: captured(model, layer, layout, images, targets),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                attempt()
        except UserWarning as warning:
            sentences.append(f"warning: {warning}")
        except (TypeError, ValueError) as error:
            sentences.append(str(error))
        else:
            sentences.append(NOT_REFUSED)
    return " / ".join(dict.fromkeys(sentences))


def elsewhere(model: nn.Module, layer: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Any]:
    """`explain` and `capture` at other layers: how many are `right`, and by name which are `refused` or `wrong`.

    What they warn of counts as refused.
    """
    found: dict[str, Any] = {"right": 0, "refused": {}, "wrong": {}}
    others = other_layers(model, layer, images)
    keeps = {name: Keep() for name in others}
    with contextlib.ExitStack() as hooks:
        for name, other in others.items():
            hooks.enter_context(hooked(other, keeps[name]))
        y = model(images)[range(len(images)), targets].sum()
    outputs = [keep.output for keep in keeps.values()]
    gradients = torch.autograd.grad(y, outputs, allow_unused=True) if outputs else ()
    for (name, other), A, gradient in zip(others.items(), outputs, gradients, strict=True):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", category=UserWarning, module=re.escape(__name__))
                maps = [
                    batchcam.explain(model, other, images, targets, relu=False)[1],
                    captured(model, other, None, images, targets),
                ]
        except (TypeError, ValueError, UserWarning) as error:
            found["refused"][name] = str(error)
            continue
        except Exception as error:
            found["wrong"][name] = f"{type(error).__name__}: {error}"
            continue
        if gradient is None or len(gradient) != len(images):
            found["wrong"][name] = NOT_REFUSED
            continue
        alpha, A = gradient.mean((2, 3), keepdim=True), A.detach()
        expected = (alpha * A).sum(1)
        # Not of the map itself, which is rounding noise where a LayerNorm behind makes the terms cancel.
        scale = (gradient.abs().mean((2, 3), keepdim=True) * A.abs()).sum(1)
        off = max(difference(m, expected, scale) for m in maps) if scale.any() else float(any(m.any() for m in maps))
        if off < EQUAL:
            found["right"] += 1
        else:
            found["wrong"][name] = f"off by {off:.2g}"
    return found
