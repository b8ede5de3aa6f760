"""The figure of single test images with a cue, and of what each loss makes the map look at."""

from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from batchcam import resize_maps
from bench.cell import cues, data, decoys, images
from bench.names import METRICS, has_cue, shown
from bench.params import Cell
from bench.report.frames import having, in_order, records
from bench.report.mean_maps import read_maps
from bench.report.mosaic import Block, Places, Row, blocks_by_group, mosaic
from bench.report.results import absence, finished, means

_OUTLINE = "#00E5FF"  # neither among the map's colours nor grey
_SIDE = 0.62  # inches


class Examples(NamedTuple):
    """One test image of each class: (classes,3,px,px) in [0, 1], its corner (classes,) or None, and two names."""

    images: Tensor
    corners: Tensor | None
    classes: list[str]
    cues: list[str]  # the class that the cue names


def examples_of(dataset: str, resolution: int, test_images: int | None, indices: Tensor) -> Examples:
    """The test images at `indices` as a cell with so many test images sees them.

    Raises:
        BenchError: the dataset is missing or damaged.
    """
    prepared = data.load(Path("data", f"{dataset}.safetensors"))
    whole = images.subset(prepared.test, test_images)
    split = data.Split(*(None if part is None else part[indices] for part in whole))  # type: ignore[arg-type]
    pictures = images.resize(cues.pictures(split), resolution).expand(-1, 3, -1, -1)
    names = prepared.class_names
    return Examples(pictures, split.corners, [names[c] for c in split.labels], cue_names(split, names))


def cue_names(split: data.Split, classes: Sequence[str]) -> list[str]:
    """The class that the cue of each image names; none without cues."""
    if split.shown is None:
        return []
    named = split.shown.long() if split.corners is None else decoys.named(split.shown)
    return [classes[c] for c in named]


def examples(runs: Path, cells: pd.DataFrame, test_images: int | None) -> Figure | None:
    """The images, and below them their maps by loss, all of seed 0; None without a cue, or where no cell has maps.

    Args:
        runs: where the profile's cells are.
        cells: of one dataset, backbone and resolution.
        test_images: that the cells were tested on; None: all.
    """
    setting = Cell(*records(cells[list(Cell._fields)])[0].values())
    if not has_cue(setting.dataset):
        return None
    files = {loss: _file(runs, having(cells, loss=loss)) for loss in in_order(cells, "loss")}
    indices = next((read_maps(path, "example_indices") for path in files.values() if path is not None), None)
    if indices is None:
        return None
    found = examples_of(setting.dataset, setting.resolution, test_images, indices)
    px, headings = setting.resolution, [f"{own}\n“{cue}”" for own, cue in zip(found.classes, found.cues, strict=True)]
    first = Row("test image\n(class, “cue”)", torch.full((len(headings), px, px), torch.nan))
    rows = {loss: _row(path, having(cells, loss=loss), px) for loss, path in files.items()}
    blocks: list[Block] = [("", [first]), *blocks_by_group(rows)]
    title = f"{shown(setting.dataset)}, {shown(setting.backbone)}, {px} px: single test images and their maps by loss"
    figure, axes, places = mosaic(blocks, headings, px, title, _note(found), _SIDE, "value of the map")
    axes.tick_params(axis="x", labelsize=7)
    _put_images(axes, places, found.images)
    if found.corners is not None:
        with_maps = [not isinstance(row.maps, str) for _, rows in blocks for row in rows]
        _outline(axes, Places(places.left, list(compress(places.top, with_maps))), found.corners, px)
    return figure


def _file(runs: Path, cell: pd.DataFrame) -> Path | None:
    """Where the maps of a cell are, if its first seed has results."""
    path = runs / Cell(*records(cell[list(Cell._fields)])[0].values()).name / "maps.safetensors"
    return path if (finished(cell)["seed"] == 0).any() and path.is_file() else None


def _row(path: Path | None, cell: pd.DataFrame, px: int) -> Row:
    """The maps of a loss, or why there are none."""
    loss = str(cell["loss"].iloc[0])
    maps = None if path is None else read_maps(path, "examples")
    if maps is None:
        return Row(loss, absence(cell) or "missing")
    metric = METRICS["decoy_mass"]
    ((mass, n),) = means(cell, [metric.name])
    label = f"{loss}\ndecoy mass {mass.mean * metric.factor:.1f} %" if n else loss
    return Row(label, resize_maps(maps[0].float(), px))


def _note(found: Examples) -> str:
    note = "The first test image of each class, and the class that its cue names. Maps of the true label, of seed 0."
    if found.corners is None:
        return note
    mass = f"mean over test images and seeds; by chance {METRICS['decoy_mass'].chance:g} %"
    return f"{note}\nThe cue is the outlined patch; decoy mass: the share of a map that lies in it, {mass}."


def _put_images(axes: Axes, places: Places, pictures: Tensor) -> None:
    """The images in the first row, in their own colours."""
    px = pictures.shape[-1]
    strip = np.zeros((px, places.left[-1] + px, 4))  # transparent between them
    for left, picture in zip(places.left, pictures, strict=True):
        strip[:, left : left + px, :3] = picture.permute(1, 2, 0)
        strip[:, left : left + px, 3] = 1
    top, limits = places.top[0], (axes.get_xlim(), axes.get_ylim())
    axes.imshow(strip, extent=(0, strip.shape[1], top + px, top))
    axes.set(xlim=limits[0], ylim=limits[1])


def _outline(axes: Axes, places: Places, corners: Tensor, px: int) -> None:
    """The patch of each image, on it and on its maps."""
    side = px * decoys.SIDE / decoys.IMAGE
    for left, corner in zip(places.left, corners.tolist(), strict=True):
        x, y = left + corner % 2 * (px - side), corner // 2 * (px - side)
        for top in places.top:
            axes.add_patch(Rectangle((x, top + y), side, side, fill=False, edgecolor=_OUTLINE, linewidth=0.8))
