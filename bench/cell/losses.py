"""The regularisers by name: the paper's six, controls that a sceptic would ask for, and two published baselines.

Each is cross-entropy + weight · regulariser; bench/names.py lists them all. A control differs from `prototype-ssim` in
one thing alone, its weight or its prototypes. The baselines are guided by a mask of each image, its ink, where the
paper's losses need labels alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from batchcam import BatchCAMLoss, PrototypeLoss, grad_cam, normalize_maps, resize_maps
from bench.cell.images import blob


class Batch(NamedTuple):
    """What a regulariser sees of a training step."""

    activations: Tensor  # A, (N,K,h,w), in the graph of the logits
    logits: Tensor  # y, (N,classes)
    labels: Tensor  # (N,) long
    images: Tensor  # (N,1,px,px) in [0, 1]
    ink: Tensor | None  # (N,px,px) in {0, 1}, for a masked loss


Regularizer = Callable[[Batch], Tensor]


def regularizer_for(loss: str, prototypes: Tensor, clean_prototypes: Tensor | None = None) -> Regularizer | None:
    """The regulariser that a loss's name stands for; None for `ce`.

    Args:
        loss: one of `bench.names.LOSSES`.
        prototypes: P, (classes,px,px), of the training images as they are.
        clean_prototypes: of the same images without decoys, for `oracle-ssim`; None where there are no decoys.
    """
    if loss in _BASELINES:
        return _BASELINES[loss]
    if loss == "ce":
        return None
    family, distance = loss.split("-")
    match family:
        case "prototype" | "zero":
            return _of_maps(PrototypeLoss(prototypes, distance))
        case "batchcam":
            return _of_maps(BatchCAMLoss(prototypes, distance))
        case "consistency" | "batch_image":
            reading = BatchCAMLoss(None, distance, reading=family)
            return lambda batch: reading(label_maps(batch), batch.labels, batch.images)
        case "oracle":
            return _of_maps(PrototypeLoss(prototypes if clean_prototypes is None else clean_prototypes, distance))
        case _:
            return _of_maps(PrototypeLoss(_CONTROLS[family](prototypes), distance))


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


#: What each control takes for the prototypes.
_CONTROLS: dict[str, Callable[[Tensor], Tensor]] = {
    "permuted": lambda P: P.roll(-1, 0),
    "global_mean": lambda P: P.mean(0).expand_as(P),
    "blob": lambda P: blob(P.shape[-1]).to(P).expand_as(P),
    "noise": _noise,
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


_BASELINES: dict[str, Regularizer] = {"rrr": rrr, "hint": hint}
