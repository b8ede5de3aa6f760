"""From the prepared bytes to what a model sees: float images at a resolution, and their class prototypes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from batchcam import class_sums, prototypes_from_sums
from bench.cell.cues import pictures
from bench.cell.data import NUM_CLASSES, Split

CHUNK = 4096  # images resized at a time: 50 MB a copy at 56 px
INK = 0.1  # a pixel above a tenth of white is ink (foreground)


def resize(images: Tensor, resolution: int) -> Tensor:
    """Images uint8 (N,H,W) or (N,3,H,W) → float32 (N,1 or 3,px,px) in [0, 1], bilinear with antialiasing."""
    size, images = (resolution, resolution), images if images.ndim == 4 else images[:, None]
    chunks = [F.interpolate(c / 255, size=size, mode="bilinear", antialias=True) for c in images.split(CHUNK)]
    # Antialiased weights add up to 1 only to rounding.
    return torch.cat(chunks).clamp_(0, 1)


def ink(images: Tensor) -> Tensor:
    """The foreground of grey or white images: (N,1 or 3,px,px) → float32 (N,px,px), 1 where a pixel is ink, else 0."""
    return (images[:, 0] > INK).float()


def prototypes(split: Split, resolution: int) -> Tensor:
    """P, (classes,px,px) float32 in [0, 1]: the mean image of each class, over all of the split."""
    sums = torch.zeros(NUM_CLASSES, resolution, resolution, dtype=torch.float64)
    counts = torch.zeros(NUM_CLASSES, dtype=torch.long)
    for images, labels in zip(pictures(split).split(CHUNK), split.labels.split(CHUNK), strict=True):
        s, n = class_sums(resize(images, resolution), labels, NUM_CLASSES)
        sums, counts = sums + s, counts + n
    return prototypes_from_sums(sums, counts).float()


def subset(split: Split, count: int | None) -> Split:
    """The first `count` images in a fixed random order; None: all, as they are."""
    if count is None or count >= len(split.labels):
        return split
    chosen = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(0))[:count]
    return Split(*(None if part is None else part[chosen] for part in split))  # type: ignore[arg-type]
