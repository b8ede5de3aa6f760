"""Class prototypes: the mean image of each class, which the maps are pulled towards."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from batchcam.checks import check_class_indices, check_unit


def class_prototypes(images: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The pixel mean of the images of each class, P_c = mean over {i : y_i = c} of x_i.

    Where the images do not fit into memory at once, add up `class_sums` over batches and finish with
    `prototypes_from_sums`.

    Args:
        images: (N,C,H,W) or (N,H,W), floating point in [0, 1], before any mean/std normalisation; channels are
            averaged.
        labels: (N,) long, in 0..num_classes − 1.
        num_classes: how many prototypes to make.

    Returns:
        (num_classes,H,W) in [0, 1], float32 (float64 stays float64), on the images' device.

    Raises:
        TypeError, ValueError: images or labels of another shape, dtype or range; a class without images, by number.
    """
    prototypes = prototypes_from_sums(*class_sums(images, labels, num_classes))
    return prototypes if images.dtype == torch.float64 else prototypes.float()


def class_sums(images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Sum and number of the images of each class; both add up over batches.

    Arguments and errors are those of `class_prototypes`, but a class may be without images here.

    Returns:
        sums (num_classes,H,W) float64, and counts (num_classes,) long.

    Example:
        >>> sums, counts = batchcam.class_sums(images, labels, num_classes=4)
        >>> more = batchcam.class_sums(images, labels, num_classes=4)
        >>> prototypes = batchcam.prototypes_from_sums(sums + more[0], counts + more[1])
    """
    check_unit("images", images, "(N,C,H,W) or (N,H,W)")
    check_class_indices("labels", labels, images.shape[0], num_classes)
    grey = images.double().mean(dim=1) if images.ndim == 4 else images.double()
    # A one-hot product rather than index_add_, which adds in no fixed order on CUDA.
    membership = one_hot(labels, num_classes).T.double()
    sums = (membership @ grey.flatten(1)).unflatten(1, grey.shape[1:])
    return sums, torch.bincount(labels, minlength=num_classes)


def prototypes_from_sums(sums: Tensor, counts: Tensor) -> Tensor:
    """Divide the accumulated `class_sums`: (C,H,W) float64 in [0, 1].

    Raises:
        ValueError: a class without images, by number.
    """
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"no images of class {', '.join(map(str, empty))}: a prototype needs at least one")
    return sums / counts[:, None, None]
