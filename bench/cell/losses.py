"""The regularisers by name: the paper's six, controls that a sceptic would ask for, and two published baselines.

Each is cross-entropy + weight · regulariser; bench/names.py lists them all. Most controls differ from `prototype-ssim`
or `batchcam-ssim` in one thing alone, their weight or their prototypes; two know no map. The baselines are guided by a
mask of each image, its ink, where the paper's losses need labels alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from batchcam import BatchCAMLoss, PrototypeLoss, grad_cam, normalize_maps, resize_maps


class Batch(NamedTuple):
    """What a regulariser sees of a training step."""

    activations: Tensor  # A, (N,K,h,w), in the graph of the logits
    logits: Tensor  # y, (N,classes)
    labels: Tensor  # (N,) long
    images: Tensor  # x, (N,1 or 3,px,px) in [0, 1]
    ink: Tensor | None  # (N,px,px) in {0, 1}, for a masked loss


Regularizer = Callable[[Batch], Tensor]


def regularizer_for(loss: str, prototypes: Tensor, clean_prototypes: Tensor | None = None) -> Regularizer | None:
    """The regulariser that a loss's name stands for; None for `ce`, and for `weight_decay`, which AdamW applies.

    Args:
        loss: one of `bench.names.LOSSES`.
        prototypes: P, (classes,px,px), of the training images as they are.
        clean_prototypes: of the same images without decoys, for `oracle-ssim`; None where there are no decoys.
    """
    if loss in _BY_ITSELF:
        return _BY_ITSELF[loss]
    family, distance = loss.split("-")
    if family in ("consistency", "batch_image"):
        reading = BatchCAMLoss(None, distance, reading=family)
        return lambda batch: reading(label_maps(batch), batch.labels, batch.images)
    if family == "oracle":
        return _of_maps(PrototypeLoss(prototypes if clean_prototypes is None else clean_prototypes, distance))
    compared = BatchCAMLoss if family.startswith("batchcam") else PrototypeLoss
    target = _TARGETS.get(family.removeprefix("batchcam_"), lambda P: P)
    return _of_maps(compared(target(prototypes), distance))


def label_maps(batch: Batch) -> Tensor:
    """M, (N,px,px) in [0, 1]: the map of each image's label, resized to the image and normalised, with its graph."""
    raw = grad_cam(batch.activations, batch.logits, batch.labels, create_graph=True)
    return normalize_maps(resize_maps(raw, batch.images.shape[-1]))


def _of_maps(loss: PrototypeLoss | BatchCAMLoss) -> Regularizer:
    """A loss of maps and labels as a regulariser."""
    return lambda batch: loss(label_maps(batch), batch.labels)


def _noise(P: Tensor) -> Tensor:
    """The same noise in every run."""
    return torch.rand(P.shape, generator=torch.Generator().manual_seed(0)).to(P)


def blob(resolution: int, centre: float = 0) -> Tensor:
    """A Gaussian in an image, (px,px), 1 at its peak; σ is a quarter of the side.

    Its row and column are both `centre`, from −1 (top left) over 0 (the middle) to 1.
    """
    axis = torch.linspace(-1, 1, resolution) - centre
    return torch.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 0.5**2))


#: What each control takes for the prototypes P, (classes,px,px).
_TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    "permuted": lambda P: P.roll(-1, 0),
    "global_mean": lambda P: P.mean(0).expand_as(P),
    "blob": lambda P: blob(P.shape[-1]).to(P).expand_as(P),
    "noise": _noise,
    "corner": lambda P: blob(P.shape[-1], centre=-1).to(P).expand_as(P),
    "inverted": lambda P: 1 - P,
}


def rrr(batch: Batch) -> Tensor:
    """Right for the right reasons, on maps: mean over i of Σ (A↓_i ⊙ M_i)², a scalar ≥ 0.

    M is the Grad-CAM of the predicted class without ReLU, min-max normalised at its own h×w; A is 1 on the background,
    and A↓ its mean over each cell of that grid. Ross et al. 2017 (arXiv 1703.03717) with Grad-CAM in place of the
    input gradient, after Schramowski et al. 2020 (arXiv 2001.05371).
    """
    assert batch.ink is not None  # by MASKED
    predicted = batch.logits.argmax(1)
    raw = grad_cam(batch.activations, batch.logits, predicted, create_graph=True, relu=False)
    M = normalize_maps(raw)
    A = adaptive_avg_pool2d(1 - batch.ink, (raw.shape[1], raw.shape[2]))
    return (A * M).square().sum((1, 2)).mean()


def hint(batch: Batch) -> Tensor:
    """HINT: mean over i and pixels of (M_i − ink_i)², a scalar ≥ 0, with the maps of the labels.

    Selvaraju et al. 2019 (arXiv 1902.03751) ranks regions; this is the mean squared form that studies of shortcut
    mitigation use.
    """
    assert batch.ink is not None  # by MASKED
    return (label_maps(batch) - batch.ink).square().mean()


def input_gradient(batch: Batch) -> Tensor:
    """Mean over i of ‖∂CE_i/∂x_i‖², a scalar ≥ 0: the images must be in the graph of the logits.

    Drucker and LeCun 1992 (doi 10.1109/72.165600); Ross and Doshi-Velez 2018 (arXiv 1711.09404).
    """
    ce = cross_entropy(batch.logits.float(), batch.labels, reduction="sum")
    (gradient,) = torch.autograd.grad(ce, batch.images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


_BY_ITSELF: dict[str, Regularizer | None] = {
    "ce": None,
    "weight_decay": None,
    "rrr": rrr,
    "hint": hint,
    "input_gradient": input_gradient,
}
