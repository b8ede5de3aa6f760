"""Decoys: a small grey patch in a corner that gives the label away in training, and misleads in the test.

Ross, Hughes and Doshi-Velez 2017 (arXiv 1703.03717): a 4×4 patch in a corner drawn at random; its grey is
255 − 25·label in training and 255 − 25·r in the test, r drawn from 0 … 9 (the true label among them). A model that
reads the patch is right in training and guesses in the test.
"""

import torch
from torch import Tensor

SIDE = 4  # of the patch, in pixels of the 28×28 image: 2.04 % of it
IMAGE = 28


def grey(labels: Tensor) -> Tensor:
    """The grey that goes with a label: 255 − 25·label, uint8 of the labels' shape."""
    return (255 - 25 * labels).to(torch.uint8)


def draw_corners(count: int, generator: torch.Generator) -> Tensor:
    """Which corner each image's patch is in, (count,) uint8: 0 top left, 1 top right, 2 bottom left, 3 bottom right."""
    return torch.randint(4, (count,), generator=generator).to(torch.uint8)


def named(greys: Tensor) -> Tensor:
    """The labels that go with greys, the inverse of `grey`: long of their shape."""
    return (255 - greys.long()) // 25


def paint(images: Tensor, corners: Tensor, greys: Tensor) -> Tensor:
    """Images (N,28,28) with their patches set to `greys`, (N,)."""
    painted = images.clone()
    painted[_where(corners)] = greys[:, None, None].expand(-1, SIDE, SIDE)
    return painted


def masks(corners: Tensor) -> Tensor:
    """255 in the patch, 0 elsewhere, uint8 (N,28,28); resized like an image, it says how much of a pixel is patch."""
    blank = torch.zeros(len(corners), IMAGE, IMAGE, dtype=torch.uint8)
    return paint(blank, corners, torch.full((len(corners),), 255, dtype=torch.uint8))


def _where(corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices (image, row, column) of the patches, which broadcast to (N,4,4)."""
    along, far = torch.arange(SIDE), IMAGE - SIDE
    top, left = (corners.long() // 2) * far, (corners.long() % 2) * far
    return (
        torch.arange(len(corners))[:, None, None],
        (top[:, None] + along)[:, :, None],
        (left[:, None] + along)[:, None, :],
    )
