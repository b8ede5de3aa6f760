"""The dot plots by loss, and how any figure is saved.

Files hold no date and no random names: the same results give the same bytes.
"""

import contextlib
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.names import COMPARISONS, METRICS, shown
from bench.report.drawing import (
    CEILING,
    DASHES,
    FLOOR,
    LINES,
    blocks_of,
    dot_plot,
    height_of,
    keys,
    reference,
    reference_key,
    seeds_text,
)
from bench.report.frames import having, in_order, records
from bench.report.results import has_grid

_LEGEND_WIDTH = 8.0  # inches, so that a figure with one panel does not cut its legend
_STYLE = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), ".15"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "axes.axisbelow": True,
    "grid.color": ".9",
    "lines.solid_capstyle": "round",
    "font.family": "DejaVu Sans",  # which matplotlib brings along: no other machine has other letters
    "font.size": 9,
    "axes.titlesize": 9.5,
    "figure.titlesize": 11,
    "pdf.fonttype": 42,
    "figure.dpi": 150,
    "image.interpolation": "nearest",  # the maps as they are; the default's smoothing doubles the files at 112 px
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Our style, whatever the user's matplotlibrc says: figures are made and saved in it."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


@contextlib.contextmanager
def saving(directory: Path) -> Iterator[Callable[[str, Figure], None]]:
    """Yield what takes a figure by its name and saves it in another process while the next is drawn; all are saved at
    the end. Half of a report's time goes into saving, most of it into cutting the fonts of PDFs.
    """
    context = multiprocessing.get_context("forkserver")  # to fork this process, with torch's threads, is not safe
    context.set_forkserver_preload([__name__])
    saved: list[Future[None]] = []
    with ProcessPoolExecutor(os.cpu_count(), context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            yield lambda name, figure: saved.append(pool.submit(save, figure, directory, name))
            for future in saved:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def save(figure: Figure, directory: Path, name: str) -> None:
    """<name>.png and <name>.pdf, with one layout and without date and version."""
    with style():
        figure.draw_without_rendering()  # lays it out
        figure.set_layout_engine(None)
        figure.savefig(directory / f"{name}.png", metadata={"Software": None})
        figure.savefig(directory / f"{name}.pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})


def accuracy(cells: pd.DataFrame, dataset: str) -> Figure:
    """Dot plot of a dataset's test accuracy: a panel per resolution and backbone, a line per loss."""
    cells, metric = having(cells, dataset=dataset), METRICS["accuracy"]
    losses, backbones, resolutions = (in_order(cells, column) for column in ("loss", "backbone", "resolution"))
    size = (max(_LEGEND_WIDTH, 1.6 + 3.0 * len(backbones)), 1.6 + (0.75 + 0.3 * len(losses)) * len(resolutions))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(resolutions), len(backbones), sharey=True, squeeze=False)
    for i, resolution in enumerate(resolutions):
        for j, backbone in enumerate(backbones):
            here, panel = having(cells, resolution=resolution, backbone=backbone), panels[i, j]
            dot_plot(panel, blocks_of(here, losses), metric)
            panel.set_title(f"{shown(backbone)}, {resolution} px, {seeds_text(here)}")
            panel.set_xlabel(f"test {metric.heading}")
            if panel.texts:
                panel.margins(x=0.3)  # room for the words at the right
    figure.suptitle(f"{shown(dataset)}: test accuracy by loss (each panel has its own scale)")
    figure.legend(handles=keys(cells), loc="outside lower center", ncols=3)
    return figure


def reconstruction(cells: pd.DataFrame, bounds: pd.DataFrame, dataset: str) -> Figure:
    """Dot plot of how near a dataset's test maps come to the class prototype, with floors and the ceiling of the grid.

    A line of panels per resolution and backbone, a panel per distance.
    """
    cells, bounds = having(cells, dataset=dataset), having(bounds, dataset=dataset)
    losses = in_order(cells, "loss")
    settings = [(px, name) for px in in_order(cells, "resolution") for name in in_order(cells, "backbone")]
    names = in_order(bounds[bounds["kind"] == "floor"], "name")
    dashes = {name: DASHES[k % len(DASHES)] for k, name in enumerate(names)}
    size = (11.5, 1.9 + (0.85 + 0.24 * len(losses)) * len(settings))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(settings), len(COMPARISONS), sharey=True, squeeze=False)
    for i, (resolution, backbone) in enumerate(settings):
        here = having(cells, resolution=resolution, backbone=backbone)
        for panel, distance in zip(panels[i], COMPARISONS, strict=True):
            dot_plot(panel, blocks_of(here, losses), METRICS[distance])
            grid = _bounds(panel, having(bounds, resolution=resolution), backbone, distance, dashes)
            panel.set_xlabel(METRICS[distance].heading)
            panel.margins(x=0.06)
        panels[i, 1].set_title(", ".join([shown(backbone), f"{resolution} px", *grid, seeds_text(here)]))
    figure.suptitle(f"{shown(dataset)}: how near the map of a test image comes to the prototype of its class")
    lines = [Line2D([], [], color=FLOOR, linestyle=dashes[name], label=f"floor: {name}") for name in names]
    lines += [Line2D([], [], color=CEILING, linewidth=1.6, label="ceiling: best map of this grid")]
    figure.legend(handles=[*keys(cells), *lines], loc="outside lower center", ncols=3)
    return figure


def saliency(cells: pd.DataFrame) -> Figure:
    """Dot plot of one dataset, backbone and resolution: a panel for each metric of the maps, a line per loss."""
    first = cells.iloc[0]
    metrics = [m for m in METRICS.values() if m.group in ("decoy", "saliency") and cells[m.name].notna().any()]
    # The accuracies under each condition, and their difference, have a figure of their own.
    elsewhere = [m for m in metrics if m.name.endswith("_accuracy") or m.name == "reliance"]
    metrics = [m for m in metrics if m not in elsewhere] if elsewhere else [METRICS["accuracy"], *metrics]
    blocks = blocks_of(cells, in_order(cells, "loss"))
    columns = min(3, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = Figure(figsize=(2.4 + 2.7 * columns, 1.4 + (0.6 + 0.2 * height_of(blocks)) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten().tolist()
    for panel in panels[len(metrics) :]:
        panel.set_axis_off()
    for panel, metric in zip(panels, metrics, strict=False):
        dot_plot(panel, blocks, metric)
        reference(panel, cells, metric)
        if metric.chance is not None:
            panel.axvline(metric.chance, color=CEILING, linestyle=DASHES[1], linewidth=1, zorder=LINES)
        panel.set_xlabel(metric.heading)
    setting = f"{shown(first['dataset'])}, {shown(first['backbone'])}, {first['resolution']} px, {seeds_text(cells)}"
    figure.suptitle(f"{setting}: what the maps show")
    chance = Line2D([], [], color=CEILING, linestyle=DASHES[1], label="by chance, or of a template")
    figure.legend(handles=[*keys(cells), reference_key(), chance], loc="outside lower center", ncols=2)
    return figure


def _bounds(panel: Axes, bounds: pd.DataFrame, backbone: str, distance: str, dashes: Mapping[str, Any]) -> list[str]:
    """The floors, and the ceiling of the backbone's grid, as lines across a panel; the grid's name, if it is known."""
    for floor in records(bounds[bounds["kind"] == "floor"]):
        panel.axvline(floor[distance], color=FLOOR, linestyle=dashes[floor["name"]], linewidth=1, zorder=LINES)
    ceilings = records(bounds[has_grid(bounds, backbone)])
    for ceiling in ceilings:
        panel.axvline(ceiling[distance], color=CEILING, linewidth=1.6, zorder=LINES)
    return [ceiling["name"] for ceiling in ceilings]
