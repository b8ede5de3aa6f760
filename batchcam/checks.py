"""Checks of arguments: each raises `TypeError` or `ValueError` with one sentence that names what was found."""

import difflib
import sys
import warnings
from collections.abc import Collection

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor as transformed


def describe(value: object) -> str:
    """What a value is, in the words of an error message."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def check_float(name: str, value: object, shapes: str) -> Tensor:
    """The value, if it is a float tensor with as many dimensions as one of `shapes`: "(N,h,w) or (h,w)"."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor {shapes}, got {describe(value)}")
    if value.ndim not in [shape.count(",") + 1 for shape in shapes.split(" or ")]:
        raise ValueError(f"{name} must be {shapes}, got {describe(value)}")
    return value


def check_unit(name: str, value: object, shapes: str) -> Tensor:
    """The value, if it passes `check_float` and lies in [0, 1] but for a rounding of bfloat16; maps may be NaN."""
    tensor = check_float(name, value, shapes)
    if tensor.numel() and not tensor.is_meta and not transformed(tensor):  # of those no value can be looked at
        low, high = torch.stack(tensor.detach().aminmax()).tolist()  # one transfer from a GPU
        if not (low >= -0.01 and high <= 1.01) and not (name == "maps" and low != low):
            hint = "normalize_maps brings them there" if name == "maps" else "take images in 0..1, before normalisation"
            raise ValueError(f"{name} must lie in [0, 1], got {low:.3g}..{high:.3g}; {hint}")
    return tensor


def check_class_indices(name: str, value: object, count: int, num_classes: int | None) -> None:
    """Raise unless `value` is a long tensor (count,) with entries from 0 to num_classes − 1 (None: any from 0)."""
    if not isinstance(value, Tensor) or value.dtype != torch.long:
        raise TypeError(f"{name} must be a long (int64) tensor ({count},), got {describe(value)}")
    if value.shape != (count,):
        raise ValueError(f"{name} must have the shape ({count},), one class per sample, got {tuple(value.shape)}")
    indices = value.tolist()  # one transfer from a GPU
    least, most = min(indices, default=0), max(indices, default=0)
    if least < 0 or (count and num_classes is not None and most >= num_classes):
        allowed = "at least 0" if num_classes is None else f"in 0..{num_classes - 1}"
        raise ValueError(f"{name} must be {allowed}, got {least if least < 0 else most}")


def check_same_size(name: str, maps: Tensor, reference_name: str, reference: Tensor) -> None:
    """Raise unless the last two dimensions agree."""
    if maps.shape[-2:] != reference.shape[-2:]:
        shapes = f"{name} {tuple(maps.shape)} and {reference_name} {tuple(reference.shape)}"
        raise ValueError(f"{shapes} differ in height or width; resize_maps brings maps to a size")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise unless `value` is one of the choices; name them, and the nearest."""
    if value not in tuple(choices):  # a tuple, since the value may be anything, also what has no hash
        near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(choices)}{hint}")


def warn(message: str) -> None:
    """Warn the code that called the package, from however deep in it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__package__") == "batchcam":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
