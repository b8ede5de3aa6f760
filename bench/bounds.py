"""What the reconstruction metrics are worth: floors that need no network, and the ceiling that a grid sets.

A floor is what a map that knows nothing of the image reaches. A ceiling is the best that any map of an h×w grid can
reach after the resizing and normalising that every map goes through, found by optimising the map itself.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from batchcam import normalize_maps, resize_maps
from batchcam.distances import DISTANCES
from bench.cell import backbones
from bench.cell.data import NUM_CLASSES, load
from bench.cell.images import prototypes
from bench.cell.losses import blob
from bench.files import written_aside
from bench.names import PAPER_BACKBONES
from bench.params import Params

# Of the table in the docs.
RESOLUTIONS = (23, 28, 32, 56, 112, 224)

STEPS = 300  # of Adam from the prototype shrunk to the grid. 1,000 steps move MNIST's SSIM at 4×4, 112 px by .001


def write_bounds(params: Params, dataset: str) -> Path:
    """Floors and ceilings of a dataset at every resolution of a profile, as a CSV among the profile's runs.

    Columns: `dataset, resolution, kind` (floor or ceiling), `name`, `backbones` (which have the grid), `l1, l2, ssim`:
    means over the test images of the comparison with the prototype of their class.
    """
    torch.set_num_threads(params.threads)
    data = load(Path("data", f"{dataset}.safetensors"))
    shares = torch.bincount(data.test.labels, minlength=NUM_CLASSES) / len(data.test.labels)
    rows: list[dict[str, Any]] = []
    for resolution in params.grid.resolution:
        P = prototypes(data.train, resolution)
        here = {"dataset": dataset, "resolution": resolution}
        for name, scores in floors(P, shares).items():
            rows.append({**here, "kind": "floor", "name": name, "backbones": "", **scores})
        users = _grids(params, resolution)
        for ((h, w), names), scores in zip(users.items(), ceilings(P, shares, list(users)), strict=True):
            rows.append({**here, "kind": "ceiling", "name": f"{h}×{w} grid", "backbones": ", ".join(names), **scores})
    path = params.bounds_file(dataset)
    with written_aside(path) as aside:
        pd.DataFrame(rows).to_csv(aside, index=False)
    return path


def _grids(params: Params, resolution: int) -> dict[tuple[int, int], list[str]]:
    """The grids at a resolution, and the backbones that have them."""
    users: dict[tuple[int, int], list[str]] = {}
    for name in dict.fromkeys(cell.backbone for cell in params.cells() if cell.resolution == resolution):
        with torch.device("meta"):  # shapes are all that is wanted: no weight is drawn, nothing computed
            grid = backbones.grid_size(backbones.build(name, resolution), resolution)
        users.setdefault(grid, []).append(name)
    return dict(sorted(users.items()))


def grids_table(dataset: str) -> str:
    """The table of docs/backbones.md: the grid of every backbone's map at every resolution, and that grid's ceiling."""
    data = load(Path("data", f"{dataset}.safetensors"))
    shares = torch.bincount(data.test.labels, minlength=NUM_CLASSES) / len(data.test.labels)
    rows = []
    for resolution in RESOLUTIONS:
        P = prototypes(data.train, resolution)
        found = {}
        for name in PAPER_BACKBONES:
            backbone = backbones.build(name, resolution)
            layer = next(path for path, module in backbone.model.named_modules() if module is backbone.layer)
            found[name] = layer, backbones.grid_size(backbone, resolution)
        grids = list(dict.fromkeys(grid for _, grid in found.values()))
        best = dict(zip(grids, ceilings(P, shares, grids), strict=True))
        for name, (layer, grid) in found.items():
            scores = {f"best {key}": value for key, value in best[grid].items()}
            rows.append(
                {"px": resolution, "backbone": name, "read at": layer, "grid": "×".join(map(str, grid)), **scores}
            )
    return pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3f")


def floors(P: Tensor, shares: Tensor) -> dict[str, dict[str, float]]:
    """l1, l2 and ssim of maps that know nothing of the image.

    The global mean image is the best of them by L2, the median of each pixel by L1; by SSIM the best is sought.

    Args:
        P: prototypes (classes,px,px) in [0, 1].
        shares: each class's share of the test images, (classes,).
    """
    classes, px = len(P), P.shape[-1]
    mean = (shares[:, None, None] * P).sum(0)
    maps = {
        "all zero": torch.zeros(px, px),
        "constant .5": torch.full((px, px), 0.5),
        "global mean image": mean,
        "centre blob": blob(px),
        "pixelwise median": _median(P, shares),
        "one map, best by SSIM": _best_by_ssim(mean, P, shares),
    }
    scores = {name: _scores(m.expand_as(P), P, shares) for name, m in maps.items()}
    others = [_scores(P.roll(shift, 0), P, shares) for shift in range(1, classes)]
    scores["wrong class's prototype"] = {k: sum(o[k] for o in others) / len(others) for k in others[0]}
    return scores


def _median(P: Tensor, shares: Tensor) -> Tensor:
    """Of each pixel the value (px,px) that half of the test images' prototypes are not above."""
    values, classes = P.sort(dim=0)
    below = shares[classes].cumsum(0) < 0.5
    return values.gather(0, below.sum(0, keepdim=True))[0]


def _best_by_ssim(start: Tensor, P: Tensor, shares: Tensor) -> Tensor:
    """The map (px,px) in [0, 1] that is most like the prototypes of all test images, on Adam's way from `start`."""
    values = start.clone().requires_grad_()
    # At .1, pixels that come below 0 stay there: .526 in place of .530 on MNIST at 23 px, .630 in place of .670 at 112.
    optimizer = torch.optim.Adam([values], lr=0.003)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    best, least = start, torch.inf
    for _ in range(STEPS):
        one = values.clamp(0, 1)
        distance = (shares * DISTANCES["ssim"](one.expand_as(P), P)).sum()
        if distance < least:
            best, least = one.detach(), float(distance.detach())
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        schedule.step()
    return best


def ceilings(P: Tensor, shares: Tensor, grids: Sequence[tuple[int, int]]) -> list[dict[str, float]]:
    """For each h×w grid the best l1, l2 and ssim that its maps can reach: every class's map is optimised by itself.

    The other arguments are those of `floors`.
    """
    least = {name: _least_distances(P, distance, grids) for name, distance in DISTANCES.items()}
    best = [{name: float((shares * of_grid[k]).sum()) for name, of_grid in least.items()} for k in range(len(grids))]
    return [{"l1": means["l1"], "l2": means["l2"], "ssim": 1 - means["ssim"]} for means in best]


def _least_distances(
    P: Tensor, distance: Callable[[Tensor, Tensor], Tensor], grids: Sequence[tuple[int, int]]
) -> Tensor:
    """(grids,classes): the least distance to each prototype on Adam's way down, from the prototype shrunk to the grid.

    All grids take a step at once: of such small maps, most of the time goes into calls.
    """
    raw = [adaptive_avg_pool2d(P, grid).requires_grad_() for grid in grids]
    optimizer = torch.optim.Adam(raw, lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    targets = P.repeat(len(grids), 1, 1)
    least = torch.full((len(targets),), torch.inf)
    for _ in range(STEPS):
        resized = torch.cat([resize_maps(maps.relu(), P.shape[-1]) for maps in raw])
        distances = distance(normalize_maps(resized), targets)
        least = torch.minimum(least, distances.detach())
        optimizer.zero_grad()
        distances.sum().backward()
        optimizer.step()
        schedule.step()
    return least.view(len(grids), len(P))


def _scores(maps: Tensor, P: Tensor, shares: Tensor) -> dict[str, float]:
    """Means over the test images, each compared with the prototype of its class."""
    means = {name: float((shares * distance(maps, P)).sum()) for name, distance in DISTANCES.items()}
    return {"l1": means["l1"], "l2": means["l2"], "ssim": 1 - means["ssim"]}
