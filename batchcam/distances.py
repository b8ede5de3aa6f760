"""Distances between maps, (N,H,W) × (N,H,W) → (N,): one number per pair, computed in float32 (or float64).

Both sides are in [0, 1], as `normalize_maps` and `class_prototypes` leave them; 0 means equal.

Example:
    >>> batchcam.distances.l1(torch.zeros(2, 5, 5), torch.tensor([0.25, 1.0]).view(2, 1, 1).expand(2, 5, 5))
    tensor([0.2500, 1.0000])
"""

from collections.abc import Callable

import pytorch_msssim
from torch import Tensor

from batchcam.checks import check_float
from batchcam.precision import full_precision, no_autocast
from batchcam.ssim import SIGMA, WINDOW, check_window


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of a and b, (N,H,W) both, floating point: mean |a − b|, (N,) in [0, 1].

    Raises:
        TypeError, ValueError: not two floating-point tensors of one shape (N,H,W).
    """
    a, b = _pair(a, b)
    with no_autocast(a):
        return (a - b).abs().mean((1, 2))


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference, mean (a − b)², in [0, 1]. Arguments, result and errors are those of `l1`."""
    a, b = _pair(a, b)
    with no_autocast(a):
        return (a - b).square().mean((1, 2))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """1 − SSIM, in [0, 2]: the structural similarity of Wang et al. 2004, data range 1, as a distance.

    Its formula stands in `batchcam.ssim.similarity`, by which the losses compute the same faster; this is
    pytorch-msssim. Arguments and result are those of `l1`.

    Raises:
        TypeError, ValueError: as for `l1`; or a side shorter than the window's 11 pixels.
    """
    a, b = _pair(a, b)
    check_window(a)
    with no_autocast(a):
        similarity: Tensor = pytorch_msssim.ssim(
            a[:, None], b[:, None], data_range=1.0, size_average=False, win_size=WINDOW, win_sigma=SIGMA
        )
        return 1 - similarity


#: The distances by the name that the losses take.
DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1, "l2": l2, "ssim": ssim}


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = check_float("a", a, "(N,H,W)"), check_float("b", b, "(N,H,W)")
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return full_precision(a), full_precision(b)
