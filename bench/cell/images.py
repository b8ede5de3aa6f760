"""From the prepared bytes to what a model sees: float images at a resolution, and their class prototypes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from batchcam import class_sums, prototypes_from_sums
from bench.cell import decoys
from bench.cell.data import NUM_CLASSES, Split

CHUNK = 4096  # images resized at a time: 50 MB a copy at 56 px
INK = 0.1  # a pixel above a tenth of white is ink (foreground)


def resize(images: Tensor, resolution: int) -> Tensor:
    """Images uint8 (N,H,W) → float32 (N,1,px,px) in [0, 1], bilinear with antialiasing."""
    size = (resolution, resolution)
    chunks = [F.interpolate(c[:, None] / 255, size=size, mode="bilinear", antialias=True) for c in images.split(CHUNK)]
    # Antialiased weights add up to 1 only to rounding.
    return torch.cat(chunks).clamp_(0, 1)


def ink(images: Tensor) -> Tensor:
    """The foreground of images: (N,1,px,px) → float32 (N,px,px), 1 where a pixel is ink and 0 elsewhere."""
    return (images[:, 0] > INK).float()


def blob(resolution: int) -> Tensor:
    """A Gaussian in the centre of an image, (px,px), 1 at its peak; σ is a quarter of the side."""
    axis = torch.linspace(-1, 1, resolution)
    return torch.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 0.5**2))


def prototypes(split: Split, resolution: int) -> Tensor:
    """P, (classes,px,px) float32 in [0, 1]: the mean image of each class, over all of the split."""
    sums = torch.zeros(NUM_CLASSES, resolution, resolution, dtype=torch.float64)
    counts = torch.zeros(NUM_CLASSES, dtype=torch.long)
    for images, labels in zip(split.images.split(CHUNK), split.labels.split(CHUNK), strict=True):
        s, n = class_sums(resize(images, resolution), labels, NUM_CLASSES)
        sums, counts = sums + s, counts + n
    return prototypes_from_sums(sums, counts).float()


def subset(split: Split, count: int | None) -> Split:
    """The first `count` images in a fixed random order; None: all, as they are."""
    if count is None or count >= len(split.labels):
        return split
    chosen = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(0))[:count]
    corners = None if split.corners is None else split.corners[chosen]
    covered = None if split.covered is None else split.covered[chosen]
    return Split(split.images[chosen], split.labels[chosen], corners, covered)


def without_decoys(split: Split) -> Split:
    """The images as they were before decoys were added; a split without decoys as it is."""
    if split.corners is None or split.covered is None:
        return split
    return Split(decoys.paint(split.images, split.corners, split.covered), split.labels)
