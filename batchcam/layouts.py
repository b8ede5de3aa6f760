"""Layouts: functions from a layer's output to (N,K,h,w), for layers that arrange it otherwise.

`capture`, `explain`, `grad_cam` and `grad_cam_loop` take one as `layout`. It is applied to the activations and to
their gradient alike, so it may select and rearrange values but not change them. Any such function will do.
"""

from collections.abc import Callable

from torch import Tensor, nn

from batchcam.checks import check_float, describe

Layout = Callable[[Tensor], Tensor]


def channels_last(output: Tensor) -> Tensor:
    """(N,h,w,K) → (N,K,h,w), for Swin and other layers that end in a Linear or a LayerNorm.

    Raises:
        ValueError: an output that is not four-dimensional.

    Example:
        >>> batchcam.layouts.channels_last(torch.rand(8, 7, 7, 768)).shape
        torch.Size([8, 768, 7, 7])
    """
    if output.ndim != 4:
        raise ValueError(f"channels_last needs an output (N,h,w,K), got {describe(output)}")
    return output.movedim(-1, 1)


def tokens(height: int, width: int, skip: int = 1) -> Layout:
    """(N, skip + height · width, K) → (N,K,height,width), for transformers and mixers: row by row, a token a patch.

    In a transformer with a class token the logits depend on that token alone after the last block, so every map there
    is zero. Choose an earlier layer, such as the last block's first norm.

    Args:
        height, width: the grid of patches, 14 × 14 for patches of 16 px in an image of 224 px.
        skip: how many tokens (class, distillation, registers) come before those of the patches: 1 for ViT, 2 for DeiT
            with distillation, 0 for mixers and CaiT.

    Returns:
        The layout. It raises ValueError for an output with another number of tokens.

    Raises:
        ValueError: a grid without patches, or skip < 0.

    Example:
        >>> batchcam.layouts.tokens(14, 14)(torch.rand(8, 197, 192)).shape
        torch.Size([8, 192, 14, 14])
    """
    if min(height, width) < 1 or skip < 0:
        raise ValueError(f"tokens needs height and width ≥ 1 and skip ≥ 0, got {height}, {width} and {skip}")
    count = skip + height * width

    def layout(output: Tensor) -> Tensor:
        if output.ndim != 3 or output.shape[1] != count:
            needed = f"tokens({height}, {width}, skip={skip}) needs an output (N,{count},K)"
            raise ValueError(f"{needed}, got {describe(output)}")
        grid: Tensor = output[:, skip:].transpose(1, 2).unflatten(2, (height, width))
        return grid

    return layout


def looks_channels_last(output: Tensor, layer: nn.Module | None = None) -> bool:
    """Whether an output that should be (N,K,h,w) rather looks like (N,h,w,K).

    The lengths of the layer's biases and norms tell K, and a square image's map is square. Of all layers of some 50
    ordinary networks, at four sizes of image, two outputs were suspected wrongly.
    """
    if output.ndim != 4 or output.shape[2] == output.shape[3]:
        return False
    a, b, c = output.shape[1:]
    lengths = {len(p) for p in layer.parameters() if p.ndim == 1} if layer is not None else set()
    if c in lengths:
        return a not in lengths and (a == b or c > max(a, b))
    return a == b and c >= 4 * a and a not in lengths


def arranged(layout: Layout | None, name: str, output: object) -> Tensor:
    """A layer's output, or the gradient by it, as (N,K,h,w): by a layout, or without one as it is.

    Raises:
        TypeError, ValueError: a layout that is no function, or a result that is not one (N,K,h,w) tensor of the same N.
    """
    if layout is None:
        return check_float(f"without a layout, {name}", output, "(N,K,h,w)")
    if not isinstance(output, Tensor) or not output.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {describe(output)}")
    if not callable(layout):
        raise TypeError(f"layout must be a function, such as batchcam.layouts.channels_last, got {describe(layout)}")
    result = check_float(f"what the layout makes of {name} {tuple(output.shape)}", layout(output), "(N,K,h,w)")
    if len(result) != len(output):
        raise ValueError(f"the layout makes {tuple(result.shape)} of {name} {tuple(output.shape)}: N differs")
    return result
