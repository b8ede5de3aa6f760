"""What a training step minimises: cross-entropy plus a weighted regulariser of the maps."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from batchcam import capture
from bench.cell import backbones
from bench.cell.losses import Batch, Regularizer


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
    model, layer = backbone
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        if regularizer is None:
            logits = model(images)
        else:
            with capture(layer) as captured:
                logits = model(images)
    loss = cross_entropy(logits.float(), labels)
    if regularizer is not None:
        loss = loss + weight * regularizer(Batch(captured.activations, logits, labels, images, ink))
    return loss
