"""The figures of mean maps beside the class prototypes, as in the paper's figures 2 to 5.

Maps and prototypes share one colour scale from 0 to 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import safetensors
from matplotlib.figure import Figure
from torch import Tensor

from batchcam import resize_maps
from bench import paper
from bench.cell import data, images
from bench.errors import BenchError
from bench.names import shown
from bench.params import Cell
from bench.report.frames import having, in_order, records
from bench.report.mosaic import Block, Row, blocks_by_group, mosaic
from bench.report.rendering import count, decimals
from bench.report.results import absence, has_grid, means

#: The losses of the overview; the last shows each class the prototype of the next one.
OVERVIEW = ("ce", "prototype-ssim", "batchcam-ssim", "permuted-ssim")


class Classes(NamedTuple):
    """The classes of a dataset at a resolution: their names, and prototypes (classes,px,px) in [0, 1]."""

    dataset: str
    resolution: int
    names: tuple[str, ...]
    prototypes: Tensor


class Rows(NamedTuple):
    """The rows of a backbone, the sizes of its maps' grids, "3×3", and how many seeds were expected."""

    rows: list[Row]
    grids: list[str]
    seeds: int


class Measured(NamedTuple):
    """What the figures are made from: where a profile's cells are, cells.csv and bounds.csv."""

    runs: Path
    cells: pd.DataFrame
    bounds: pd.DataFrame


def classes_of(dataset: str, resolutions: Sequence[int]) -> list[Classes]:
    """The classes of a prepared dataset at each of these resolutions; raise `BenchError` if it is missing."""
    prepared = data.load(Path("data", f"{dataset}.safetensors"))
    return [Classes(dataset, px, prepared.class_names, images.prototypes(prepared.train, px)) for px in resolutions]


def of_backbone(measured: Measured, classes: Classes, backbone: str) -> Figure:
    """A row of mean maps for every loss of a backbone."""
    setting = {"dataset": classes.dataset, "backbone": backbone, "resolution": classes.resolution}
    losses = in_order(having(measured.cells, **setting), "loss")
    rows, grids, seeds = rows_of(measured, classes, backbone, losses)
    grid = f"map grid {' and '.join(grids)}" if grids else "no maps"
    title = f"{shown(classes.dataset)}, {shown(backbone)}, {classes.resolution} px, {grid}: mean map of each class"
    seed = f"mean over {count(seeds, 'seed')}" if seeds > 1 else "one seed"
    note = [
        paper_figure(classes.dataset, backbone, classes.resolution),
        f"Test images, maps of the true label; {seed}.",
        f"SSIM: of the mean map of a class to its prototype, mean over classes{' and seeds' if seeds > 1 else ''}."
        f"{_comparison(measured.bounds, classes, backbone)}",
    ]
    blocks = blocks_by_group(dict(zip(losses, rows, strict=True)))
    return drawn(classes, blocks, title, "\n".join(note), side=0.8)


def overview(measured: Measured, classes: Classes, backbones: Sequence[str]) -> Figure:
    """One small picture of everything: for each backbone a block of a few losses, with their accuracies."""
    found = {}
    for backbone in backbones:
        here = having(measured.cells, dataset=classes.dataset, backbone=backbone, resolution=classes.resolution)
        losses = [loss for loss in OVERVIEW if loss in in_order(here, "loss")]
        found[shown(backbone)] = rows_of(measured, classes, backbone, losses, with_accuracy=True)
    seeds = ", ".join(f"{name} {rows.seeds}" for name, rows in found.items())
    title = f"{shown(classes.dataset)}, {classes.resolution} px: mean Grad-CAM map of each class"
    note = (
        "Test images, maps of the true label. SSIM: of the mean map of a class to its prototype, mean over classes\n"
        "and seeds; then the accuracy. permuted-ssim guides each map towards the prototype of the next class.\n"
        f"Number of seeds, unless a row says otherwise: {seeds}."
    )
    return drawn(classes, [(name, rows.rows) for name, rows in found.items()], title, note, side=0.56)


def paper_figure(dataset: str, backbone: str, resolution: int) -> str:
    """Which of the paper's figures a figure of mean maps answers, as far as its captions tell; a sentence."""
    figure = paper.FIGURES.get((backbone, resolution))
    if figure is None:
        return "None of the paper's figures whose captions are known shows this combination."
    if dataset == "mnist":
        return f"Answers the paper's {figure}."
    return f"Counterpart on {shown(dataset)} of the paper's {figure}."


def rows_of(
    measured: Measured, classes: Classes, backbone: str, losses: Sequence[str], *, with_accuracy: bool = False
) -> Rows:
    """A row of mean maps for each loss, resized as every map is; or the reason why there are none."""
    keys = [Cell(classes.dataset, backbone, loss, classes.resolution) for loss in losses]
    cells = [having(measured.cells, **key._asdict()) for key in keys]
    rows, grids, seeds = [], [], max(map(len, cells), default=0)
    for key, cell in zip(keys, cells, strict=True):
        loss = key.loss
        maps = read_maps(measured.runs / key.name / "maps.safetensors", "class_means")
        (found, n), (accuracy, _) = means(cell, ["class_mean_ssim", "accuracy"])
        if n == 0 or maps is None:
            rows.append(Row(loss, absence(cell) or "missing"))
            continue
        grids.append(f"{maps.shape[-2]}×{maps.shape[-1]}")
        short = f"\nn = {n}" if n < seeds else ""
        short += f" of {len(cell)}" if n < len(cell) else ""
        mean = resize_maps(maps.float().mean(dim=0), classes.resolution)
        share = f", {100 * accuracy.mean:.1f} %" if with_accuracy else ""
        rows.append(Row(f"{loss}\nSSIM {decimals(found.mean, 2)}{share}{short}", mean))
    return Rows(rows, list(dict.fromkeys(grids)), seeds)


def drawn(classes: Classes, blocks: Sequence[Block], title: str, note: str, side: float) -> Figure:
    """The class prototypes and, below, blocks of rows of maps, a column per class.

    Args:
        classes: the columns.
        blocks: each with the name beside it, or "".
        title, note: above, and in small letters below.
        side: of a map, in inches.
    """
    blocks = [("", [Row("class prototype\n(training mean)", classes.prototypes)]), *blocks]
    scale = "value of map or prototype"
    figure, _, _ = mosaic(blocks, classes.names, classes.resolution, title, note, side, scale)
    return figure


def read_maps(path: Path, name: str) -> Tensor | None:
    """A tensor of a cell's maps.safetensors; None if the cell left none.

    Raises:
        BenchError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            found: Tensor = file.get_tensor(name)
    except (safetensors.SafetensorError, OSError) as error:
        raise BenchError(f"{path} is damaged ({error}): python -m bench cell makes it again") from error
    return found


def _comparison(bounds: pd.DataFrame, classes: Classes, backbone: str) -> str:
    """What the SSIM of a figure can be held against: the strongest floor, and the ceiling of the grid."""
    here = having(bounds, dataset=classes.dataset, resolution=classes.resolution)
    floors = here[here["kind"] == "floor"].sort_values("ssim")
    parts = [f"{row['name']} {row['ssim']:.2f}" for row in records(floors.tail(1))]
    parts += [
        f"best single map of a {row['name']} {row['ssim']:.2f}" for row in records(here[has_grid(here, backbone)])
    ]
    return f" For comparison: {', '.join(parts)}." if parts else ""
