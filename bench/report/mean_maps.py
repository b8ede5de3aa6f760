"""The figures of mean maps beside the class prototypes, as in the paper's figures 2 to 5.

Maps and prototypes share one colour scale from 0 to 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import safetensors
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from batchcam import resize_maps
from bench import paper
from bench.cell import data, images
from bench.errors import BenchError
from bench.names import shown
from bench.params import Cell
from bench.report.frames import having, in_order, records
from bench.report.rendering import count
from bench.report.results import absence, has_grid, means

#: Sequential, even in lightness, and told apart with any kind of colour blindness.
COLOURS = "magma"
#: The losses of the overview.
OVERVIEW = ("ce", "prototype-ssim", "batchcam-ssim")
_BESIDE = 2.8  # inches for labels and scale
_GAP, _BLOCK_GAP = 0.06, 0.2  # between two maps, and further between two blocks of rows, in widths of a map


class Classes(NamedTuple):
    """The classes of a dataset at a resolution: their names, and prototypes (classes,px,px) in [0, 1]."""

    dataset: str
    resolution: int
    names: tuple[str, ...]
    prototypes: Tensor


class Row(NamedTuple):
    """One row of a figure: its label, and maps (classes,px,px), or the word in place of them."""

    label: str
    maps: Tensor | str


Block = tuple[str, Sequence[Row]]


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
    rows, grids, seeds = rows_of(measured, classes, backbone, in_order(having(measured.cells, **setting), "loss"))
    grid = f"map grid {' and '.join(grids)}" if grids else "no maps"
    title = f"{shown(classes.dataset)}, {shown(backbone)}, {classes.resolution} px, {grid}: mean map of each class"
    seed = f"mean over {count(seeds, 'seed')}" if seeds > 1 else "one seed"
    note = [
        paper_figure(classes.dataset, backbone, classes.resolution),
        f"Test images, maps of the true label; {seed}.",
        f"SSIM: of the mean map of a class to its prototype, mean over classes{' and seeds' if seeds > 1 else ''}."
        f"{_comparison(measured.bounds, classes, backbone)}",
    ]
    return drawn(classes, [("", rows)], title, "\n".join(note), side=0.8)


def overview(measured: Measured, classes: Classes, backbones: Sequence[str], losses: Sequence[str]) -> Figure:
    """One small picture of everything: for each backbone a block of a few losses."""
    chosen = [loss for loss in losses if loss in OVERVIEW]
    found = {shown(backbone): rows_of(measured, classes, backbone, chosen) for backbone in backbones}
    seeds = ", ".join(f"{name} {rows.seeds}" for name, rows in found.items())
    title = f"{shown(classes.dataset)}, {classes.resolution} px: mean Grad-CAM map of each class"
    note = (
        "Test images, maps of the true label. SSIM: of the mean map of a class to its prototype,\n"
        f"mean over classes and seeds. Number of seeds: {seeds}."
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


def rows_of(measured: Measured, classes: Classes, backbone: str, losses: Sequence[str]) -> Rows:
    """A row of mean maps for each loss, resized as every map is; or the reason why there are none."""
    rows, grids, seeds = [], [], 0
    for loss in losses:
        key = Cell(classes.dataset, backbone, loss, classes.resolution)
        cell = having(measured.cells, **key._asdict())
        maps = _class_means(measured.runs / key.name / "maps.safetensors")
        seeds = max(seeds, len(cell))
        ((found, n),) = means(cell, ["class_mean_ssim"])
        if n == 0 or maps is None:
            rows.append(Row(loss, absence(cell) or "missing"))
            continue
        grids.append(f"{maps.shape[-2]}×{maps.shape[-1]}")
        short = "" if n == len(cell) else f"\nn = {n} of {len(cell)}"
        mean = resize_maps(maps.mean(dim=0), classes.resolution)
        rows.append(Row(f"{loss}\nSSIM {found.mean:.2f}{short}", mean))
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
    number = len(classes.names)
    height = sum(len(rows) for _, rows in blocks) * (1 + _GAP) + (len(blocks) - 1) * _BLOCK_GAP
    figure = Figure(figsize=(_BESIDE + side * number * (1 + _GAP), 1.25 + side * height), layout="constrained")
    axes = figure.add_subplot()
    _mosaic(axes, blocks, classes.names, classes.resolution)
    figure.suptitle(title)
    scale = ScalarMappable(cmap=COLOURS)
    scale.set_clim(0, 1)
    bar = figure.colorbar(scale, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.set_label("value of map or prototype")
    figure.supxlabel(note, fontsize=8, color="0.3")
    return figure


def _mosaic(axes: Axes, blocks: Sequence[Block], class_names: Sequence[str], px: int) -> None:
    """Rows of maps, one column per class, with a wider gap between blocks: one picture, whose unit is a map's pixel."""
    gap, block_gap = (max(1, round(share * px)) for share in (_GAP, _BLOCK_GAP))
    width = len(class_names) * (px + gap) - gap
    lines, labels, y = [], {}, 0
    for name, rows in blocks:
        top = y
        for row in rows:
            labels[y + px / 2] = row.label
            if isinstance(row.maps, str):
                axes.add_patch(Rectangle((0, y), width, px, facecolor="0.95"))
                axes.text(width / 2, y + px / 2, row.maps, ha="center", va="center", style="italic")
                lines.append(np.full((px + gap, width), np.nan))
            else:
                apart = np.pad(row.maps.numpy(), ((0, 0), (0, gap), (0, gap)), constant_values=np.nan)
                lines.append(np.hstack(list(apart))[:, :width])
            y += px + gap
        if name:
            # Left of the tick labels, whose width is that of the longest loss.
            axes.annotate(
                name, (0, (top + y - gap) / 2), (-92, 0), textcoords="offset points", rotation=90,
                ha="center", va="center", fontweight="bold", annotation_clip=False,
            )  # fmt: skip
        lines.append(np.full((block_gap, width), np.nan))
        y += block_gap
    height = y - block_gap - gap
    # One image and not one for each map: a figure of eight losses is saved in a third of the time.
    picture = np.ma.masked_invalid(np.vstack(lines)[:height])
    axes.imshow(picture, cmap=COLOURS, vmin=0, vmax=1, extent=(0, width, height, 0))
    axes.set_xticks([c * (px + gap) + px / 2 for c in range(len(class_names))], class_names)
    axes.set_yticks(list(labels), list(labels.values()))
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def _class_means(path: Path) -> Tensor | None:
    """Mean maps of a cell, (seeds,classes,h,w) float32; None if the cell left none."""
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            maps: Tensor = file.get_tensor("class_means").float()
    except (safetensors.SafetensorError, OSError) as error:
        raise BenchError(f"{path} is damaged ({error}): python -m bench cell makes it again") from error
    return maps


def _comparison(bounds: pd.DataFrame, classes: Classes, backbone: str) -> str:
    """What the SSIM of a figure can be held against: the strongest floor, and the ceiling of the grid."""
    here = having(bounds, dataset=classes.dataset, resolution=classes.resolution)
    floors = here[here["kind"] == "floor"].sort_values("ssim")
    parts = [f"{row['name']} {row['ssim']:.2f}" for row in records(floors.tail(1))]
    parts += [
        f"best single map of a {row['name']} {row['ssim']:.2f}" for row in records(here[has_grid(here, backbone)])
    ]
    return f" For comparison: {', '.join(parts)}." if parts else ""
