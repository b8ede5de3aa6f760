"""Maps laid over their images, to look at."""

import torch
from torch import Tensor

from batchcam.checks import check_float, check_unit
from batchcam.maps import normalize_maps, resize_maps
from batchcam.precision import full_precision

#: matplotlib's magma (Smith and van der Walt, CC0), perceptually uniform, at 16 equal steps; linear between to .009.
MAGMA = (
    "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d c43c75 de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf"
)


@torch.no_grad()
def overlay(images: Tensor, maps: Tensor) -> Tensor:
    """Each image under its map, half and half: (x + colour of M) / 2, with M resized to the image and normalised.

    Args:
        images: x, (N,1,H,W), (N,3,H,W) or (N,H,W), floating point in [0, 1], before any mean/std normalisation.
        maps: (N,h,w), floating point, raw or normalised; dark is the minimum of each map, bright its maximum.

    Returns:
        (N,3,H,W) in [0, 1], float32 (float64 stays float64), on the images' device, without a graph.

    Raises:
        TypeError, ValueError: images or maps of another shape, dtype or range, or of different N.

    Example:
        >>> batchcam.overlay(torch.rand(8, 3, 32, 32), torch.rand(8, 4, 4)).shape
        torch.Size([8, 3, 32, 32])
    """
    check_unit("images", images, "(N,C,H,W) or (N,H,W)")
    check_float("maps", maps, "(N,h,w)")
    x = full_precision(images if images.ndim == 4 else images.unsqueeze(1))
    if len(x) != len(maps) or x.shape[1] not in (1, 3):
        shapes = f"images {tuple(images.shape)} and maps {tuple(maps.shape)}"
        raise ValueError(f"overlay needs images with 1 or 3 channels and a map for each, got {shapes}")
    M = normalize_maps(resize_maps(maps.to(x.device), (x.shape[2], x.shape[3]))).to(x.dtype)
    colors = torch.tensor([list(bytes.fromhex(color)) for color in MAGMA.split()], device=x.device).to(x.dtype) / 255
    place = M * (len(colors) - 1)
    below = place.long().clamp(0, len(colors) - 2)
    color = torch.lerp(colors[below], colors[below + 1], (place - below).unsqueeze(-1))
    return ((x + color.movedim(-1, 1)) / 2).clamp(0, 1)
