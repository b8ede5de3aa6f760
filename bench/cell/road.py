"""ROAD: does the model need the pixels that a map calls relevant more than the others?

Rong et al. 2022, A Consistent and Efficient Evaluation Strategy for Attribution Methods (arXiv 2202.00449): remove the
pixels of an image in the order of a map, fill the gaps in so that their shape gives nothing away, and count how often
the model still finds the class.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from torch import Tensor, nn

from batchcam.checks import check_class_indices, check_float, check_same_size, describe

#: The weight of each of a pixel's eight neighbours.
WEIGHTS = np.array([[1 / 12, 1 / 6, 1 / 12], [1 / 6, 0, 1 / 6], [1 / 12, 1 / 6, 1 / 12]])
#: The standard deviation of the noise on a removed pixel.
NOISE = 0.01
#: These tenths of the pixels are removed.
TENTHS = range(1, 10)


@torch.no_grad()
def road(
    model: nn.Module, images: Tensor, maps: Tensor, labels: Tensor, generator: torch.Generator, chunk: int = 10
) -> Tensor:
    """ROAD, LeRF − MoRF: the accuracy without the least relevant pixels minus that without the most relevant ones.

    d_i = mean over t = 1 … 9 of [argmax f(least_it) = y_i] − [argmax f(most_it) = y_i]: least_it is image i without its
    ⌊t/10 · H·W⌋ least relevant pixels, most_it without as many of the most relevant. Higher is better; a map that has
    nothing to do with the model scores 0 on average. A removed pixel gets the value of `impute` plus Gaussian noise of
    σ .01. Each image has one ranking, read from its two ends. Tied pixels are ranked at random: maps have many zeros,
    which in the order of their indices would be removed from the top of the image down.

    Args:
        model: images → logits (N,classes); it is put into eval mode, and left so.
        images: (N,C,H,W), on the model's device.
        maps: M, (N,H,W), min-max normalised.
        labels: y, (N,) long.
        generator: of the order of ties and the noise; on the CPU.
        chunk: how many images, each in 18 versions, the model sees at a time; it does not change what is drawn.

    Returns:
        d, (N,) float64 in [−1, 1], on the maps' device; NaN for a zero map, which ranks nothing.

    Raises:
        TypeError, ValueError: images and maps that are not floating-point tensors of one length, height and width,
            labels that are not one class per image, or a chunk under 1.

    Source: Rong et al. 2022. There, a test set has one accuracy for each share and order; the mean over shares of their
    difference is the mean of d.
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
        versions = [nine for i in some for nine in _versions(images[i].cpu(), maps[i].cpu(), generator)]
        logits = model(torch.cat(versions).to(images))
        kept = logits.argmax(1).view(len(some), 2, len(TENTHS)) == labels[some].to(logits.device)[:, None, None]
        least, most = kept.double().mean(2).T
        scores[some] = (least - most).to(scores.device)
    return scores


def impute(image: Tensor, removed: Tensor) -> Tensor:
    """Fill in the removed pixels of several versions of an image, each with the weighted mean of its neighbours.

    x_p = Σ w_pq · x_q / Σ w_pq, the sums over those of the eight neighbours q of p that lie in the image, removed or
    not, with w = 1/6 beside, above and below, and 1/12 on the diagonals. That is one linear system for the removed
    pixels of all versions, which are numbered one version after the other.

    Args:
        image: (C,H,W).
        removed: (V,H,W) bool; in each version the same pixels are removed from every channel.

    Returns:
        (V,C,H,W) float64 on the CPU; pixels that are not removed keep their values, and the others lie between the
        least and the greatest of those.

    Raises:
        ValueError: a version of which nothing is left to fill in from.

    Source: Rong et al. 2022, noisy linear imputation, here without its noise.
    """
    gone: NDArray[np.bool_] = removed.numpy(force=True)
    if gone.all((1, 2)).any():
        raise ValueError(f"every pixel of image {tuple(image.shape)} is removed: nothing is left to fill in from")
    x: NDArray[np.float64] = np.repeat(image.double().numpy(force=True)[None], len(gone), axis=0)
    if not gone.any():
        return torch.from_numpy(x)
    # (Σ w_pq) x_p − Σ_removed w_pq x_q = Σ_kept w_pq x_q. Row by row, two neighbouring removed pixels are at most W + 1
    # numbers apart, and pixels of two versions are no neighbours: the system is banded, and, as w_pq = w_qp, symmetric.
    # It is positive definite because every connected set of removed pixels touches one that is kept.
    totals = np.broadcast_to(_weighted_sums(np.ones(gone.shape[1:])), gone.shape)[gone]
    kept = _weighted_sums(np.where(gone[:, None], 0, x))
    couplings = list(_couplings(gone))
    width = max((int((q - p).max()) for p, q, _ in couplings if len(p)), default=0)
    band = np.zeros((width + 1, len(totals)), order="F")  # band[q − p, p] is the matrix's element q, p
    band[0] = totals
    for p, q, weight in couplings:
        band[q - p, p] = -weight
    solved = solveh_banded(
        band, np.moveaxis(kept, 1, -1)[gone], overwrite_ab=True, overwrite_b=True, lower=True, check_finite=False
    )
    np.moveaxis(x, 1, -1)[gone] = solved
    return torch.from_numpy(x)


def _weighted_sums(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ w_pq x_q over the neighbours q of every pixel p of planes (…,H,W); what lies outside counts as 0."""
    height, width = planes.shape[-2:]
    padded = np.zeros((*planes.shape[:-2], height + 2, width + 2))
    padded[..., 1:-1, 1:-1] = planes
    sums = np.zeros_like(planes)
    for (down, right), weight in np.ndenumerate(WEIGHTS):
        if weight:
            sums += weight * padded[..., down : down + height, right : right + width]
    return sums


def _couplings(removed: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], float]]:
    """All pairs p < q of neighbouring removed pixels (V,H,W), by their numbers among the removed, with their weight."""
    height, width = removed.shape[1:]
    number = (removed.cumsum() - 1).reshape(removed.shape)
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        here = np.s_[:, : height - down, max(0, -right) : width - max(0, right)]
        there = np.s_[:, down:, max(0, right) : width - max(0, -right)]
        both = removed[here] & removed[there]
        yield number[here][both], number[there][both], float(WEIGHTS[1 + down, 1 + right])


def _versions(image: Tensor, relevance: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Image (C,H,W) without 10 … 90 % of its pixels, (9,C,H,W): of the least relevant, then of the most."""
    pixels = relevance.numel()
    shuffled = torch.randperm(pixels, generator=generator)
    ranking = shuffled[relevance.flatten()[shuffled].argsort(stable=True)]
    counts = torch.tensor([tenths * pixels // 10 for tenths in TENTHS])
    for order in (ranking, ranking.flip(0)):
        removed = (order.argsort() < counts[:, None]).view(-1, *relevance.shape)
        noise = torch.stack([torch.randn(image.shape, generator=generator, dtype=torch.float64) for _ in counts])
        yield impute(image, removed) + NOISE * noise * removed[:, None]
