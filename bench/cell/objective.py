"""What a training step minimises: cross-entropy plus a weighted regulariser of the maps."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from batchcam import capture
from bench.cell import backbones
from bench.cell.losses import Batch, Regularizer, input_gradient


def objective(
    backbone: backbones.Backbone,
    images: Tensor,
    labels: Tensor,
    regularizer: Regularizer | None,
    weight: float,
    ink: Tensor | None = None,
) -> Tensor:
    """Cross-entropy + weight · regulariser of a batch, a scalar.

    `ink`, (N,px,px), is the foreground of the images, for a regulariser that is guided by it.

    On a GPU the forward pass runs under bfloat16 autocast. On a CPU it does not: without bfloat16 instructions it was
    twelve times slower (ResNet-18 at 56 px, 8 against 101 images/s).
    """
    if regularizer is None:
        with _autocast(images):
            logits = backbone.model(images)
        return cross_entropy(logits.float(), labels)
    batch = observed(backbone, images, labels, regularizer, ink)
    return cross_entropy(batch.logits.float(), labels) + weight * regularizer(batch)


def observed(
    backbone: backbones.Backbone, images: Tensor, labels: Tensor, regularizer: Regularizer, ink: Tensor | None
) -> Batch:
    """What a regulariser sees of a forward pass."""
    if regularizer is input_gradient:
        images = images.detach().requires_grad_()
    with _autocast(images), capture(backbone.layer) as captured:
        logits = backbone.model(images)
    return Batch(captured.activations, logits, labels, images, ink)


def _autocast(images: Tensor) -> torch.autocast:
    device = images.device.type
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
