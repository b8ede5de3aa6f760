"""What the reconstruction metrics are worth: floors that need no network, and the ceiling that a grid sets.

A floor is what a map that knows nothing of the image reaches. A ceiling is the best that any map of an h×w grid can
reach after the resizing and normalising that every map goes through, found by optimising the map itself.
"""

from collections.abc import Callable
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
        for (h, w), users in _grids(params, resolution).items():
            scores = ceiling(P, shares, (h, w))
            rows.append({**here, "kind": "ceiling", "name": f"{h}×{w} grid", "backbones": ", ".join(users), **scores})
    path = params.bounds_file(dataset)
    with written_aside(path) as aside:
        pd.DataFrame(rows).to_csv(aside, index=False)
    return path


def _grids(params: Params, resolution: int) -> dict[tuple[int, int], list[str]]:
    """The grids at a resolution, and the backbones that have them."""
    users: dict[tuple[int, int], list[str]] = {}
    for name in dict.fromkeys(cell.backbone for cell in params.cells() if cell.resolution == resolution):
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
        known: dict[tuple[int, int], dict[str, float]] = {}
        for name in PAPER_BACKBONES:
            backbone = backbones.build(name, resolution)
            layer = next(path for path, module in backbone.model.named_modules() if module is backbone.layer)
            grid = backbones.grid_size(backbone, resolution)
            known[grid] = known.get(grid) or ceiling(P, shares, grid)
            scores = {f"best {key}": value for key, value in known[grid].items()}
            rows.append(
                {"px": resolution, "backbone": name, "read at": layer, "grid": "×".join(map(str, grid)), **scores}
            )
    return pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3f")


def floors(P: Tensor, shares: Tensor) -> dict[str, dict[str, float]]:
    """l1, l2 and ssim of maps that know nothing of the image.

    Args:
        P: prototypes (classes,px,px) in [0, 1].
        shares: each class's share of the test images, (classes,).
    """
    classes, px = len(P), P.shape[-1]
    maps = {
        "all zero": torch.zeros(px, px),
        "constant .5": torch.full((px, px), 0.5),
        "global mean image": (shares[:, None, None] * P).sum(0),
        "centre blob": blob(px),
    }
    scores = {name: _scores(m.expand_as(P), P, shares) for name, m in maps.items()}
    others = [_scores(P.roll(shift, 0), P, shares) for shift in range(1, classes)]
    scores["wrong class's prototype"] = {k: sum(o[k] for o in others) / len(others) for k in others[0]}
    return scores


def ceiling(P: Tensor, shares: Tensor, grid: tuple[int, int]) -> dict[str, float]:
    """The best l1, l2 and ssim that maps of an h×w grid can reach: for each, every class's map is optimised by itself.

    Arguments are those of `floors`.
    """
    best = {name: float((shares * _least_distance(P, distance, grid)).sum()) for name, distance in DISTANCES.items()}
    return {"l1": best["l1"], "l2": best["l2"], "ssim": 1 - best["ssim"]}


def _least_distance(P: Tensor, distance: Callable[[Tensor, Tensor], Tensor], grid: tuple[int, int]) -> Tensor:
    """(classes,): the least distance to each prototype on Adam's way down, from the prototype shrunk to the grid."""
    raw = adaptive_avg_pool2d(P, grid).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    least = torch.full((len(P),), torch.inf)
    for _ in range(STEPS):
        distances = distance(normalize_maps(resize_maps(raw.relu(), P.shape[-1])), P)
        least = torch.minimum(least, distances.detach())
        optimizer.zero_grad()
        distances.sum().backward()
        optimizer.step()
        schedule.step()
    return least


def _scores(maps: Tensor, P: Tensor, shares: Tensor) -> dict[str, float]:
    """Means over the test images, each compared with the prototype of its class."""
    means = {name: float((shares * distance(maps, P)).sum()) for name, distance in DISTANCES.items()}
    return {"l1": means["l1"], "l2": means["l2"], "ssim": 1 - means["ssim"]}
