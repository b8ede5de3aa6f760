"""Everything between the activations and the loss runs in float32 at least, and outside autocast.

Under bfloat16 autocast a convolution is cast whatever its inputs are, and SSIM is a convolution followed by
differences of nearly equal numbers: distances of .01 came back as −.1.
"""

import contextlib

import torch
from torch import Tensor

#: A context that changes nothing, made once: an explanation of one small image enters three, 2 µs each.
UNCHANGED = contextlib.nullcontext()


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32; float64 stays float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def no_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context in which operations on the tensor's device keep the dtype of their inputs."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return UNCHANGED
    return torch.autocast(device, enabled=False)
