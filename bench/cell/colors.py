"""A cue that covers the object: the colour of the whole image names the label.

Images (N,28,28) become (N,3,28,28), each in one of ten colours, as in the coloured MNIST of Kim et al. 2019 (arXiv
1812.10352). The colour lies where the object lies, so no map of places can keep a model from it.
"""

import torch
from torch import Tensor

#: Ten hues at equal steps, fully saturated, and white, which names no label.
PALETTE = torch.tensor(
    [
        *((255, 0, 0), (255, 153, 0), (204, 255, 0), (51, 255, 0), (0, 255, 102)),
        *((0, 255, 255), (0, 102, 255), (51, 0, 255), (204, 0, 255), (255, 0, 153)),
        (255, 255, 255),
    ],
    dtype=torch.uint8,
)
WHITE = len(PALETTE) - 1


def paint(images: Tensor, hues: Tensor) -> Tensor:
    """Images uint8 (N,28,28) in the colours `hues`, (N,) → uint8 (N,3,28,28), rounded to nearest."""
    colors = PALETTE[hues.long()].int()[:, :, None, None]
    return ((images[:, None].int() * colors + 127) // 255).to(torch.uint8)
