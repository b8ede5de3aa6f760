"""What maps show of the images they explain: where their mass lies, and what they tell apart.

A map M is (H,W) in [0, 1], min-max normalised, at the size of the images. A constant map normalises to zero; a zero
map has no mass, and what is computed from it is NaN: the caller counts such maps. Sums are in float64.
"""

import math

from torch import Tensor

from batchcam.checks import check_class_indices, check_float


def energy(maps: Tensor, masks: Tensor) -> Tensor:
    """The share of a map's mass that lies in a mask: e_i = Σ M_i · mask_i / Σ M_i, the sums over pixels.

    With the decoy's patch as mask it is the decoy mass (lower is better; chance is the patch's share of the image),
    with the ink the energy-based pointing game (higher is better; chance is the ink's share).

    Args:
        maps: M, (N,H,W).
        masks: (N,H,W), floating point in [0, 1]; fractional where a mask was resized.

    Returns:
        e, (N,) float64 in [0, 1]; NaN for a map without mass.

    Raises:
        TypeError, ValueError: not two floating-point tensors of one shape (N,H,W).

    Source: Wang et al. 2020, Score-CAM (energy-based pointing game, there with the box of an object).
    """
    _check_pair(maps, "masks", masks)
    M = maps.flatten(1).double()
    return (M * masks.flatten(1)).sum(1) / M.sum(1)  # 0 / 0 is NaN


def specificity(maps: Tensor, ink: Tensor, labels: Tensor) -> Tensor:
    """How much better a map fits its own image than the others of the class.

    s_i = e(M_i, ink_i) − mean over {j ≠ i : y_j = y_i} of e(M_i, ink_j), with e as in `energy`; higher is better.
    Where all maps of a class are one template, the mean of s over the class is 0.

    Args:
        maps: M, (N,H,W).
        ink: (N,H,W), floating point in [0, 1]: the foreground of each image.
        labels: y, (N,) long.

    Returns:
        s, (N,) float64 in [−1, 1]; NaN for a map without mass, and for an image alone in its class. An image whose map
        has no mass still counts among the others of its class.

    Raises:
        TypeError, ValueError: maps and ink that are not two floating-point tensors of one shape, or labels that are not
            one class per image.

    Source: this suite; built on the energy-based pointing game of Wang et al. 2020.
    """
    _check_pair(maps, "ink", ink)
    check_class_indices("labels", labels, len(maps), None)
    M, foreground = maps.flatten(1).double(), ink.flatten(1).double()
    members, of_image = _members(labels)
    # e is linear in its mask: the sum of e(M_i, ink_j) over a class is that of M_i with the summed ink.
    in_class = (M @ (members @ foreground).T).gather(1, of_image[:, None])[:, 0]
    own = (M * foreground).sum(1)
    others = members.sum(1)[of_image] - 1
    scores = (own - (in_class - own) / others) / M.sum(1)
    return scores.masked_fill(others == 0, math.nan)  # else rounding over 0 is infinite


def coherence(maps: Tensor, labels: Tensor) -> float:
    """How much more alike the maps of one class are than those of different classes.

    mean over {i ≠ j : y_i = y_j} of r(M_i, M_j) − mean over {y_i ≠ y_j} of r(M_i, M_j), with r the Pearson correlation
    over pixels; higher is more coherent. One template for each class maximises it.

    Args:
        maps: M, (N,H,W).
        labels: y, (N,) long.

    Returns:
        A number in [−2, 2]. Constant maps, zero ones among them, have no correlation and are left out; NaN where what
        remains has no two images of one class, or only one class.

    Raises:
        TypeError, ValueError: maps that are not a floating-point tensor (N,H,W), or labels that are not one class per
            image.

    Source: this suite; the correlation is Pearson's (1895).
    """
    check_float("maps", maps, "(N,H,W)")
    check_class_indices("labels", labels, len(maps), None)
    M = maps.flatten(1).double()
    varied = M.amax(1) > M.amin(1)
    M = M[varied] - M[varied].mean(1, keepdim=True)
    z = M / M.norm(dim=1, keepdim=True)  # r(M_i, M_j) = z_i · z_j
    members, _ = _members(labels[varied])
    # The sum of z_i · z_j over all i and j of a set is the squared length of the set's sum; z_i · z_i = 1.
    sums, counts = members @ z, members.sum(1)
    same, total = sums.square().sum().item(), sums.sum(0).square().sum().item()
    pairs_same, pairs = counts.square().sum().item(), len(z) ** 2
    if pairs_same == len(z) or pairs == pairs_same:
        return math.nan
    return (same - len(z)) / (pairs_same - len(z)) - (total - same) / (pairs - pairs_same)


def flipped(before: Tensor, after: Tensor) -> Tensor:
    """Whether the predicted class changes: f_i = [argmax before_i ≠ argmax after_i].

    Where only the grey of the decoy's patch differs between the two, the mean of f is the decoy flip rate: lower is
    better. It depends on predictions alone, so no map can improve it by looking good.

    Args:
        before, after: logits, (N,C).

    Returns:
        f, (N,) float64 in {0, 1}; of equal logits the first counts, as in `Tensor.argmax`.

    Raises:
        TypeError, ValueError: not two floating-point tensors of one shape (N,C).

    Source: this suite, for the decoys of Ross et al. 2017.
    """
    check_float("before", before, "(N,C)")
    check_float("after", after, "(N,C)")
    if before.shape != after.shape:
        raise ValueError(f"before and after must have one shape, got {tuple(before.shape)} and {tuple(after.shape)}")
    return (before.argmax(1) != after.argmax(1)).double()


def _members(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which images are in which class, (classes,N) float64 of 0 and 1, and each image's row in it, (N,) long."""
    classes, of_image = labels.unique(return_inverse=True)
    return (labels == classes[:, None]).double(), of_image


def _check_pair(maps: Tensor, name: str, masks: Tensor) -> None:
    check_float("maps", maps, "(N,H,W)")
    check_float(name, masks, "(N,H,W)")
    if maps.shape != masks.shape:
        raise ValueError(f"maps and {name} must have one shape, got {tuple(maps.shape)} and {tuple(masks.shape)}")
