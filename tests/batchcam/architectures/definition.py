"""Grad-CAM by its definition, one image at a time, without anything of `batchcam`.

A difference is the largest over the largest value of the map before its ReLU, or of the gradients over the largest of
them.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from batchcam.layouts import Layout

#: Largest relative difference that counts as equal, for maps and for parameter gradients in float64.
EQUAL = 1e-10
#: Of finite differences, and of pytorch-grad-cam, which puts out float32.
ROUGHLY_EQUAL = 1e-5


def difference(actual: Tensor, expected: Tensor, scale: Tensor | None = None) -> float:
    """Largest difference over the largest value, of `expected` or of `scale`."""
    if actual.shape != expected.shape:
        raise ValueError(f"shape {tuple(actual.shape)} for {tuple(expected.shape)}")
    largest = float((expected if scale is None else scale).detach().abs().max())
    if not 0 < largest < float("inf"):
        raise ValueError("the expected values are all zero, or not finite: nothing would be compared")
    return float((actual - expected).detach().abs().max()) / largest


class Keep:
    """A forward hook that keeps the output; what is behind the layer reads a copy, and cannot change what was kept."""

    output: Tensor

    def __call__(self, module: nn.Module, args: object, output: Tensor) -> Tensor:
        self.output = output.clone()
        if torch.is_grad_enabled() and not output.requires_grad:  # nothing in front of the layer has parameters
            self.output.requires_grad_()
        return self.output.clone()


@contextlib.contextmanager
def hooked(layer: nn.Module, hook: Callable[..., object]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def choose_targets(model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor) -> tuple[Tensor, Tensor]:
    """For each image a class whose map has something positive to show, (N,); and the activations A, (N,K,h,w)."""
    with hooked(layer, keep := Keep()):
        logits = model(images)
    A = arranged(layout, keep.output.detach())
    targets, classes = [], logits.shape[1]
    for i in range(len(images)):
        for target in range(3 + 4 * i, 3 + 4 * i + classes):
            (gradient,) = torch.autograd.grad(logits[i, target % classes], keep.output, retain_graph=True)
            cam = (arranged(layout, gradient).mean((2, 3), keepdim=True) * A).sum(1)[i]
            if cam.max() > 0.1 * cam.abs().max():
                break
        targets.append(target % classes)
    return torch.tensor(targets), A


def grad_cam(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, copies: int = 1
) -> Tensor:
    """For each image a hook that keeps the output, a full backward pass, and the sum written out; before ReLU.

    With `copies` an image runs beside itself. For a batch of one, BatchNorm's gradient is wrong in torch (2.15, CPU)
    where that of its output comes transposed: with the strides (C, 1, WC, C), as after `flatten(2).mT`.
    """
    maps = []
    for image, target in zip(images, targets, strict=True):
        with hooked(layer, keep := Keep()):
            score = model(image.expand(copies, -1, -1, -1))[0, target]
        keep.output.retain_grad()
        score.backward()
        model.zero_grad()
        assert keep.output.grad is not None
        A, gradient = arranged(layout, keep.output.detach()), arranged(layout, keep.output.grad)
        cam = torch.zeros_like(A[0, 0])
        for k in range(A.shape[1]):
            cam += gradient[0, k].mean() * A[0, k]
        maps.append(cam)
    return torch.stack(maps)


def finite_differences(
    model: nn.Module, layer: nn.Module, layout: Layout | None, images: Tensor, targets: Tensor, maps: Tensor
) -> float:
    """How far maps before ReLU are from what needs no derivative: α_k is what y gains when all of A_k is raised, so

        M[p] = (y(A + tV) − y(A − tV)) / (2t hw),   V_k = A_k[p] everywhere

    Two places p of each map.
    """
    h, w = maps.shape[1:]
    t = 1e-6
    worst = 0.0
    for p in np.unique(np.linspace(0, h * w - 1, 2).astype(int)):
        row, column = divmod(int(p), w)
        y = []
        for step in (t, -t):

            def raise_channels(
                module: nn.Module, args: object, output: Tensor, step: float = step, at: tuple[int, int] = (row, column)
            ) -> Tensor:
                A = arranged(layout, output)
                V = A[:, :, at[0], at[1], None, None].expand_as(A)
                if layout is not None:  # back to the layer's own layout: a layout only moves values
                    with torch.enable_grad():
                        zeros = torch.zeros_like(output).requires_grad_()
                        (V,) = torch.autograd.grad((layout(zeros) * V).sum(), zeros)
                return output + step * V

            with torch.no_grad(), hooked(layer, raise_channels):
                y.append(model(images)[range(len(images)), targets])
        M = (y[0] - y[1]) / (2 * t * h * w)
        worst = max(worst, difference(M, maps[:, row, column], scale=maps))
    return worst


def score_of(maps: Tensor, largest: Tensor) -> Tensor:
    """Some function of maps before ReLU, of which no part of the gradient cancels."""
    maps = maps / largest
    weights = torch.linspace(-1, 2, maps[0].numel(), dtype=maps.dtype).reshape(maps.shape[1:])
    return (weights * maps.square()).sum() + maps.relu().sum()


def gradients(
    model: nn.Module,
    layer: nn.Module,
    layout: Layout | None,
    images: Tensor,
    targets: Tensor,
    largest: Tensor,
    copies: int = 1,
) -> list[Tensor]:
    """The parameters' gradients of `score_of`, summed over the images; `copies` as for `grad_cam`."""
    parameters = trained(model)
    found = [torch.zeros_like(p) for p in parameters]
    for image, target in zip(images, targets, strict=True):
        with hooked(layer, keep := Keep()):
            y = model(image.expand(copies, -1, -1, -1))[0, target]
        (gradient,) = torch.autograd.grad(y, keep.output, create_graph=True)
        A, gradient = arranged(layout, keep.output)[:1], arranged(layout, gradient)[:1]
        cam = (gradient.mean((2, 3), keepdim=True) * A).sum(1)
        for total, part in zip(found, differentiated(score_of(cam, largest), parameters), strict=True):
            total += part
    return found


def trained(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def differentiated(score: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(score, parameters, allow_unused=True, materialize_grads=True))


def arranged(layout: Layout | None, output: Tensor) -> Tensor:
    return output if layout is None else layout(output)
