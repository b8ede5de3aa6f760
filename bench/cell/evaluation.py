"""Accuracy, reconstruction and the other map metrics of one trained model on the test images."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from batchcam import explain, normalize_maps, resize_maps
from batchcam.cam import Method
from batchcam.distances import DISTANCES
from batchcam.maps import EPSILON
from bench.cell import saliency
from bench.cell.road import road
from bench.names import OTHER_METHODS

BATCH = 120
PROBED = 1000  # test images whose maps are examined closely: the first of a fixed random order
ROAD_IMAGES = 100  # of the probed ones


class Explained(NamedTuple):
    """What a model in eval mode makes of N images, in their order."""

    logits: Tensor  # (N,classes)
    raw: Tensor  # (N,h,w): the map of the true label, at its own grid


class Probe(NamedTuple):
    """The test images whose maps are examined closely, S of them; the last two only with cues, `patch` with decoys."""

    images: Tensor  # (S,1 or 3,px,px) in [0, 1]
    labels: Tensor  # (S,) long
    ink: Tensor  # (S,px,px) in {0, 1}: the foreground of the image without its cue
    patch: Tensor | None  # (S,px,px) in [0, 1]: how much of a pixel the decoy covers
    repainted: Tensor | None  # the images with a cue that names another label
    honest: Tensor | None  # the images with the cue that names their own


def explain_all(
    model: nn.Module, layer: nn.Module, images: Tensor, labels: Tensor, method: Method = "grad_cam"
) -> Explained:
    """Run a model in eval mode over images (N,1,px,px), batch by batch; the maps are those of labels (N,)."""
    model.eval()
    batches = zip(images.split(BATCH), labels.split(BATCH), strict=True)
    found = [explain(model, layer, x, targets=y, method=method) for x, y in batches]
    logits, raw = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Explained(logits, raw)


def evaluate(explained: Explained, labels: Tensor, prototypes: Tensor) -> tuple[dict[str, float | None], Tensor]:
    """Accuracy and reconstruction on the test images, with the maps of the true label.

    Args:
        explained: what `explain_all` makes of the images.
        labels: y, (N,) long; every class must be there.
        prototypes: P, (classes,px,px).

    Returns:
        By column of cells.csv, accuracies and the zero-map rate as fractions; `l1`, `l2`, `ssim`: the mean over images
        of the comparison of M_i with P[y_i]; `class_mean_…`: the mean over classes of that of the class's mean map with
        P_c. L1 and mean squared error are lower, SSIM (the similarity) higher where they agree. `…_nonzero` leaves zero
        maps out, and is None where nothing is left. A constant map normalises to zero, and counts as a zero map.
        And the class means (classes,h,w) at the map's own grid: resized bilinearly, the mean normalised map of each
        class.
    """
    classes, px = len(prototypes), prototypes.shape[-1]
    rows, class_sums = [], []
    for logits, raw, y in zip(*(tensor.split(BATCH) for tensor in (*explained, labels)), strict=True):
        maps, grids = _normalized(raw, px)
        live = maps.amax((1, 2)) > 0
        rows.append(torch.stack([logits.argmax(1) == y, live, *_compare(maps, prototypes[y])], dim=1).double())
        members = one_hot(y, classes).T.double()
        # Zero maps add nothing to these sums: those over all and over non-zero maps differ in their counts alone.
        class_sums.append((members @ maps.flatten(1).double(), members @ grids.flatten(1).double()))
    correct, live, *comparisons = torch.cat(rows).T
    map_sums, grid_sums = (torch.stack(sums).sum(0) for sums in zip(*class_sums, strict=True))

    members = one_hot(labels, classes).T.double()
    counts, live_counts = members.sum(1), members @ live
    mean_maps = (map_sums / counts[:, None]).view_as(prototypes)
    found = live_counts > 0
    live_mean_maps = (map_sums[found] / live_counts[found, None]).view(-1, *prototypes.shape[1:])

    metrics: dict[str, float | None] = {
        "accuracy": correct.mean().item(),
        "worst_class_accuracy": (members @ correct / counts).min().item(),
    }
    metrics |= _means("", "", comparisons) | _means("", "_nonzero", [c[live > 0] for c in comparisons])
    metrics |= _means("class_mean_", "", _compare(mean_maps, prototypes.double()))
    metrics |= _means("class_mean_", "_nonzero", _compare(live_mean_maps, prototypes[found].double()))
    metrics["zero_map_rate"] = 1 - live.mean().item()

    class_means = (grid_sums / counts[:, None]).view(classes, *explained.raw.shape[1:])
    return metrics, class_means


def class_examples(model: nn.Module, layer: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The map of the first image of each class: (classes,h,w), and the indices of those images, (classes,).

    It is at the map's own grid: resized bilinearly, it is the normalised map.
    """
    first = torch.stack([(labels == c).nonzero()[0, 0] for c in labels.unique()])
    raw = explain_all(model, layer, images[first], labels[first]).raw
    return _normalized(raw, images.shape[-1])[1], first


@torch.no_grad()
def probe(
    model: nn.Module, images: Probe, explained: Explained, *, with_road: bool
) -> tuple[dict[str, float | None], dict[str, Tensor]]:
    """The metrics of `bench.cell.saliency` and `road`, with the maps of the true label.

    Args:
        model: as from `bench.cell.backbones.build`; it is left in eval mode.
        images: S of them.
        explained: what `explain_all` makes of them and their labels.
        with_road: measure ROAD as well, on the first `ROAD_IMAGES` images.

    Returns:
        By column of cells.csv, the means over the images where a metric is defined, None where it is for none:
        `decoy_flip_rate`, `decoy_mass`, `epg_ink`, `specificity`, `coherence`, `road`. `undefined_maps` counts the maps
        without mass, for which the others are not defined, and `lone_images` the images that are alone in their class,
        which have no specificity.
        And the metrics that single images have, (S,) each, NaN where they are not defined: `epg_ink`, `specificity`,
        with cues `decoy_flip`, and with decoys `decoy_mass`.
    """
    model.eval()
    logits = explained.logits
    maps = normalize_maps(resize_maps(explained.raw, images.images.shape[-1]))
    by_image = {
        "epg_ink": saliency.energy(maps, images.ink),
        "specificity": saliency.specificity(maps, images.ink, images.labels),
    }
    if images.repainted is not None:
        after = torch.cat([model(x) for x in images.repainted.split(BATCH)])
        by_image["decoy_flip"] = saliency.flipped(logits, after)
    if images.patch is not None:
        by_image["decoy_mass"] = saliency.energy(maps, images.patch)
    means = {name: _mean(values) for name, values in by_image.items()}
    counts = images.labels.unique(return_counts=True)[1]
    metrics = {
        "decoy_flip_rate": means.get("decoy_flip"),
        "decoy_mass": means.get("decoy_mass"),
        "epg_ink": means["epg_ink"],
        "specificity": means["specificity"],
        "coherence": _known(saliency.coherence(maps, images.labels)),
        "road": _road(model, images, maps) if with_road else None,
        "undefined_maps": int((maps.amax((1, 2)) == 0).sum()),
        "lone_images": int((counts == 1).sum()),
    }
    return metrics, by_image


def other_maps(model: nn.Module, layer: nn.Module, images: Probe, prototypes: Tensor) -> dict[str, float | None]:
    """Whether what is guided is the map or the model: maps by other methods, which no loss has seen.

    By column of cells.csv, for each of `OTHER_METHODS` the mean SSIM to the prototype of the label, the energy on ink
    and with decoys the decoy mass, over the probed images where these are defined.
    """
    found: dict[str, float | None] = {}
    for method in OTHER_METHODS:
        raw = explain_all(model, layer, images.images, images.labels, method).raw
        maps = normalize_maps(resize_maps(raw, images.images.shape[-1]))
        found[f"{method}_ssim"] = _mean(1 - DISTANCES["ssim"](maps, prototypes[images.labels]))
        found[f"{method}_epg_ink"] = _mean(saliency.energy(maps, images.ink))
        found[f"{method}_decoy_mass"] = None if images.patch is None else _mean(saliency.energy(maps, images.patch))
    return found


@torch.no_grad()
def correct(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Which images a model in eval mode classifies correctly, (N,) bool."""
    found = [model(x).argmax(1) == y for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)]
    return torch.cat(found)


def _road(model: nn.Module, images: Probe, maps: Tensor) -> float | None:
    """The mean over the first images, with noise and ties from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    few = slice(ROAD_IMAGES)
    return _mean(road(model, images.images[few], maps[few], images.labels[few], generator))


def _mean(values: Tensor) -> float | None:
    return _known(values.nanmean().item())


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _normalized(raw: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Normalised maps (N,px,px), and the grid (N,h,w) that they are the bilinear enlargement of.

    Bilinear enlargement is linear and keeps constants, so (resize(m) − min) / range = resize((m − min) / range).
    """
    resized = resize_maps(raw, resolution)
    low, high = resized.amin((1, 2), keepdim=True), resized.amax((1, 2), keepdim=True)
    return normalize_maps(resized), (raw.to(resized.dtype) - low) / (high - low).clamp(min=EPSILON)


def _compare(maps: Tensor, references: Tensor) -> list[Tensor]:
    """L1, mean squared error and SSIM of each pair, three tensors (N,)."""
    if len(maps) == 0:
        return [maps.new_empty(0)] * len(DISTANCES)
    distances = {name: distance(maps, references) for name, distance in DISTANCES.items()}
    return [distances["l1"], distances["l2"], 1 - distances["ssim"]]


def _means(prefix: str, suffix: str, comparisons: list[Tensor]) -> dict[str, float | None]:
    values = (c.mean().item() if len(c) else None for c in comparisons)
    return {f"{prefix}{name}{suffix}": value for name, value in zip(("l1", "l2", "ssim"), values, strict=True)}
