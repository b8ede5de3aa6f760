"""What happens to a raw Grad-CAM map before it is compared: resize, then min-max normalise."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from batchcam.checks import check_float
from batchcam.precision import full_precision, no_autocast

#: Least range that `normalize_maps` divides by, so that its gradient, which grows as 1 / (max − min), stays bounded.
EPSILON = 1e-6

#: Up to which range, in roundings of its largest value, a map is taken for constant. A constant map that was resized
#: has a range of up to 4 roundings; of maps summed from constant activations, 99 in 100 have one of up to 100.
ROUNDINGS = 128


def resize_maps(maps: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resize maps bilinearly (`align_corners=False`).

    Args:
        maps: (N,h,w) or (N,C,h,w), floating point, any range.
        size: the new side of a square, or (H, W), in pixels.

    Returns:
        (N,H,W) or (N,C,H,W) in float32 (float64 stays float64); differentiable.

    Raises:
        TypeError, ValueError: maps that are not such a tensor, or no such size, or one under a pixel.
    """
    check_float("maps", maps, "(N,h,w) or (N,C,h,w)")
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"size must be one side or (H, W), of at least one pixel, got {size}")
    with no_autocast(maps):
        planes = full_precision(maps).reshape(-1, 1, *maps.shape[-2:])
        return F.interpolate(planes, size=sides, mode="bilinear", align_corners=False).reshape(*maps.shape[:-2], *sides)


def normalize_maps(maps: Tensor) -> Tensor:
    """Min-max normalise each map: (M − min) / max(max − min, 1e-6), or 0 where it is constant but for rounding.

    Args:
        maps: (N,H,W) or (N,C,H,W), floating point, any range.

    Returns:
        The same shape in [0, 1], float32 (float64 stays float64); differentiable. A constant map, an all-zero one
        among them, becomes zero with zero gradient; a gradient at tied extremes is shared equally.

    Raises:
        TypeError, ValueError: maps that are not such a tensor.
    """
    check_float("maps", maps, "(N,H,W) or (N,C,H,W)")
    with no_autocast(maps):
        maps = full_precision(maps)
        low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
        noise = ROUNDINGS * torch.finfo(maps.dtype).eps * torch.maximum(low.abs(), high.abs())
        span = high - low
        return (maps - low) / span.clamp(min=EPSILON).masked_fill(span <= noise, math.inf)
