"""What maps show of the images they explain: where their mass lies, what they tell apart, and whether the model agrees.

A map M is (H,W) in [0, 1], min-max normalised, at the size of the images. A constant map normalises to zero; a zero
map has no mass and ranks no pixels, and what is computed from it is NaN: the caller counts such maps. Sums are in
float64.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.ndimage import correlate
from torch import Tensor, nn

from batchcam.checks import check_class_indices, check_float, check_same_size, describe

#: ROAD: the weight of each of a pixel's eight neighbours, and the standard deviation of the noise.
WEIGHTS = np.array([[1 / 12, 1 / 6, 1 / 12], [1 / 6, 0, 1 / 6], [1 / 12, 1 / 6, 1 / 12]])
NOISE = 0.01
#: ROAD removes these tenths of the pixels.
TENTHS = range(1, 10)


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
        ink: (N,H,W), floating point in [0, 1]: where each image shows something.
        labels: y, (N,) long.

    Returns:
        s, (N,) float64 in [−1, 1]; NaN for a map without mass, and for an image alone in its class. An image whose map
        has no mass still is one of the others to the rest of its class.

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
    same, all_ = sums.square().sum().item(), sums.sum(0).square().sum().item()
    pairs_same, pairs_all = counts.square().sum().item(), len(z) ** 2
    if pairs_same == len(z) or pairs_all == pairs_same:
        return math.nan
    return (same - len(z)) / (pairs_same - len(z)) - (all_ - same) / (pairs_all - pairs_same)


def flipped(before: Tensor, after: Tensor) -> Tensor:
    """Whether the predicted class changes: f_i = [argmax before_i ≠ argmax after_i].

    Where only the grey of the decoy's patch differs between the two, the mean of f is the decoy flip rate: lower is
    better, and as it looks at predictions alone, no map can improve it by its looks.

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


@torch.no_grad()
def road(
    model: nn.Module, images: Tensor, maps: Tensor, labels: Tensor, generator: torch.Generator, chunk: int = 10
) -> Tensor:
    """Whether the model needs the pixels that a map calls relevant more than the others: ROAD, LeRF − MoRF.

    d_i = mean over t = 1 … 9 of [argmax f(least_it) = y_i] − [argmax f(most_it) = y_i]: least_it is image i without its
    ⌊t/10 · H·W⌋ least relevant pixels, most_it without as many of the most relevant. Higher is better; a map that has
    nothing to do with the model scores 0 on average. A removed pixel gets the value of `impute` plus Gaussian noise of
    σ .01. One ranking per image is read from its two ends. Tied pixels are in random order in it: maps have many zeros,
    and in the order of their indices they would go from the top of the image down.

    Args:
        model: images → logits (N,classes); it is put into eval mode, and left so.
        images: (N,C,H,W), on the model's device.
        maps: M, (N,H,W).
        labels: y, (N,) long.
        generator: of the order of ties and the noise; on the CPU.
        chunk: how many images, each in 18 versions, the model sees at a time; it does not change what is drawn.

    Returns:
        d, (N,) float64 in [−1, 1], on the maps' device; NaN for a zero map, which ranks nothing.

    Raises:
        TypeError, ValueError: images and maps that are not floating-point tensors of one length, height and width,
            labels that are not one class per image, or a chunk under 1.

    Source: Rong et al. 2022, A Consistent and Efficient Evaluation Strategy for Attribution Methods (ROAD). There, a
    test set has one accuracy for each share and order; the mean over shares of their difference is the mean of d.
    """
    check_float("images", images, "(N,C,H,W)")
    check_float("maps", maps, "(N,H,W)")
    if len(maps) != len(images):
        raise ValueError(f"maps must be one per image, got {describe(maps)} and images {describe(images)}")
    check_same_size("maps", maps, "images", images)
    check_class_indices("labels", labels, len(images), None)
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    model.eval()
    scores = torch.full((len(maps),), math.nan, dtype=torch.float64, device=maps.device)
    live = maps.flatten(1).any(1).nonzero()[:, 0].tolist()
    for some in (live[start : start + chunk] for start in range(0, len(live), chunk)):
        versions = [v for i in some for v in _versions(images[i].cpu(), maps[i].cpu(), generator)]
        logits = model(torch.stack(versions).to(images))
        kept = logits.argmax(1).view(len(some), 2, len(TENTHS)) == labels[some].to(logits.device)[:, None, None]
        least, most = kept.double().mean(2).T
        scores[some] = (least - most).to(scores.device)
    return scores


def impute(image: Tensor, removed: Tensor) -> Tensor:
    """Fill in removed pixels, each with the weighted mean of its neighbours, which may be removed ones too.

    x_p = Σ w_pq · x_q / Σ w_pq, the sums over those of the eight neighbours q of p that lie in the image, with
    w = 1/6 beside, above and below, and 1/12 on the diagonals: one linear system for all removed pixels.

    Args:
        image: (C,H,W).
        removed: (H,W) bool, the same pixels in every channel.

    Returns:
        (C,H,W) float64 on the CPU; the pixels that are not removed are as they were, and the others between the least
        and the greatest of them.

    Raises:
        ValueError: nothing is left to fill in from.

    Source: Rong et al. 2022, noisy linear imputation, here without its noise.
    """
    x: NDArray[np.float64] = image.double().numpy(force=True).copy()
    gone: NDArray[np.bool_] = removed.numpy(force=True)
    if gone.all():
        raise ValueError(f"every pixel of image {tuple(image.shape)} is removed: nothing is left to fill in from")
    if not gone.any():
        return torch.from_numpy(x)
    # (Σ w_pq) x_p − Σ_removed w_pq x_q = Σ_kept w_pq x_q. Numbered row by row, two neighbouring removed pixels are at
    # most W + 1 apart: the system is banded, and, as w_pq = w_qp, symmetric. It is positive definite because every
    # connected set of removed pixels touches a kept one.
    totals = correlate(np.ones(gone.shape), WEIGHTS, mode="constant")[gone]
    kept = correlate(np.where(gone, 0, x), WEIGHTS[None], mode="constant")[:, gone]
    couplings = list(_couplings(gone))
    width = max((int((q - p).max()) for p, q, _ in couplings if len(p)), default=0)
    band = np.zeros((width + 1, len(totals)))  # band[q − p, p] is the matrix's element q, p
    band[0] = totals
    for p, q, weight in couplings:
        band[q - p, p] = -weight
    x[:, gone] = solveh_banded(band, kept.T, overwrite_ab=True, overwrite_b=True, lower=True, check_finite=False).T
    return torch.from_numpy(x)


def _couplings(removed: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], float]]:
    """All pairs p < q of neighbouring removed pixels, by their numbers among the removed, with their weight."""
    height, width = removed.shape
    number = (removed.cumsum() - 1).reshape(removed.shape)
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        here = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        there = np.s_[down:, max(0, right) : width - max(0, -right)]
        both = removed[here] & removed[there]
        yield number[here][both], number[there][both], float(WEIGHTS[1 + down, 1 + right])


def _versions(image: Tensor, relevance: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Image (C,H,W) without 10 … 90 % of its pixels: nine times the least relevant, then nine times the most."""
    pixels = relevance.numel()
    shuffled = torch.randperm(pixels, generator=generator)
    ranking = shuffled[relevance.flatten()[shuffled].argsort(stable=True)]
    for order in (ranking, ranking.flip(0)):
        for tenths in TENTHS:
            removed = torch.zeros(pixels, dtype=torch.bool)
            removed[order[: tenths * pixels // 10]] = True
            removed = removed.view_as(relevance)
            noise = NOISE * torch.randn(image.shape, generator=generator, dtype=torch.float64)
            yield impute(image, removed) + noise * removed


def _members(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which images are in which class, (classes,N) float64 of 0 and 1, and each image's row in it, (N,) long."""
    classes, of_image = labels.unique(return_inverse=True)
    return (labels == classes[:, None]).double(), of_image


def _check_pair(maps: Tensor, name: str, masks: Tensor) -> None:
    check_float("maps", maps, "(N,H,W)")
    check_float(name, masks, "(N,H,W)")
    if maps.shape != masks.shape:
        raise ValueError(f"maps and {name} must have one shape, got {tuple(maps.shape)} and {tuple(masks.shape)}")
