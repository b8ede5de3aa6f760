"""The figures of numbers: dot plots by loss, and what each weight of a sweep reaches.

Files hold no date and no random names: the same results give the same bytes.
"""

import contextlib
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.names import METRICS, Metric, shown
from bench.report.frames import groups, having, in_order, records
from bench.report.results import absence, finished, has_grid, means, weight_means

_POINT, _MEAN, _FLOOR, _CEILING = "#56B4E9", "#0B3C5D", "#8A8A8A", "#D55E00"
_DASHES: list[Any] = ["solid", (0, (6, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1))]
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
_FRONT = 0.03  # accuracy below the best one up to which the front is shown


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
    figure, panels = _panels(cells, dataset, METRICS["accuracy"])
    for panel in panels.values():
        if panel.texts:
            panel.margins(x=0.3)  # room for the words at the right
    figure.suptitle(f"{shown(dataset)}: test accuracy by loss (each panel has its own scale)")
    figure.legend(handles=_keys(), loc="outside lower center", ncols=2)
    return figure


def reconstruction(cells: pd.DataFrame, bounds: pd.DataFrame, dataset: str) -> Figure:
    """Dot plot of a dataset's test SSIM to the class prototype, with the floors and the ceiling of each grid."""
    figure, panels = _panels(cells, dataset, METRICS["ssim"])
    bounds = having(bounds, dataset=dataset)
    names = in_order(bounds[bounds["kind"] == "floor"], "name")
    dashes = {name: _DASHES[k % len(_DASHES)] for k, name in enumerate(names)}
    for (resolution, backbone), panel in panels.items():
        _bounds(panel, having(bounds, resolution=resolution), backbone, dashes)
        panel.set_xlabel(f"{METRICS['ssim'].heading}, map and class prototype")
        panel.set_xlim(min(-0.03, panel.get_xlim()[0]), 1)
    figure.suptitle(f"{shown(dataset)}: how much the map of a test image looks like its class")
    keys = [Line2D([], [], color=_FLOOR, linestyle=dashes[name], label=f"floor: {name}") for name in names]
    keys += [Line2D([], [], color=_CEILING, linewidth=1.6, label="ceiling: best map of this grid")]
    figure.legend(handles=[*_keys(), *keys], loc="outside lower center", ncols=3)
    return figure


def saliency(cells: pd.DataFrame) -> Figure:
    """Dot plot of one dataset, backbone and resolution: a panel for each metric of the maps, a line per loss."""
    first = cells.iloc[0]
    metrics = [m for m in METRICS.values() if m.group in ("decoy", "saliency") and cells[m.name].notna().any()]
    if METRICS["decoy_accuracy"] not in metrics:  # where it is, it is the same number
        metrics.insert(0, METRICS["accuracy"])
    losses, seeds = in_order(cells, "loss"), int(cells.groupby("loss").size().max())
    columns = min(3, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = Figure(figsize=(1.6 + 2.7 * columns, 1.4 + (0.6 + 0.24 * len(losses)) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten().tolist()
    for panel in panels[len(metrics) :]:
        panel.set_axis_off()
    for panel, metric in zip(panels, metrics, strict=False):
        _dot_plot(panel, cells, losses, metric, seeds)
        if metric.chance is not None:
            panel.axvline(metric.chance, color=_FLOOR, linestyle=_DASHES[1], linewidth=1, zorder=0)
        panel.set_xlabel(metric.heading)
    setting = f"{shown(first['dataset'])}, {shown(first['backbone'])}, {first['resolution']} px, n = {seeds}"
    figure.suptitle(f"{setting}: what the maps show")
    keys = [*_keys(), Line2D([], [], color=_FLOOR, linestyle=_DASHES[1], label="by chance, or of a template")]
    figure.legend(handles=keys, loc="outside lower center", ncols=3)
    return figure


def front(swept: pd.DataFrame, chosen: pd.DataFrame) -> Figure:
    """What a stronger regulariser costs in accuracy and gains in the maps: a line per loss, through its weights."""
    figure = Figure(figsize=(10.5, 5.2), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    colours: list[Any] = list(matplotlib.color_sequences["petroff10"])  # for any kind of colour blindness
    # What has lost more than a few points has no use, and would hide the rest.
    least = weight_means(swept, ["accuracy"])["accuracy"].max() - _FRONT - 1e-9
    accuracy = METRICS["accuracy"]
    for panel, metric in zip(panels, (METRICS["specificity"], METRICS["epg_ink"]), strict=True):
        for k, ((loss,), here) in enumerate(groups(swept, ["loss"])):
            tried = weight_means(here, ["accuracy", metric.name]).droplevel("loss").dropna()
            shown_here = tried[tried["accuracy"] >= least].itertuples()
            points = {weight: (x * accuracy.factor, y * metric.factor) for weight, x, y in shown_here}
            _line(panel, points, loss, colours[k % len(colours)], having(chosen, loss=loss)["weight"].tolist())
        panel.set(xlabel=f"validation {accuracy.heading}", ylabel=metric.heading)
        panel.grid()
    first = swept.iloc[0]
    setting = f"{shown(first['dataset'])}, {shown(first['backbone'])}, {first['resolution']} px"
    weights = ", ".join(f"{w:g}" for w in sorted(set(swept["weight"].dropna()) - {0.0}))
    weights += f"; not shown where accuracy is more than {_FRONT * 100:g} points below the best"
    note = "Means over seeds. The number is the largest weight that is shown; the ring is around the chosen one."
    figure.suptitle(f"{setting}: accuracy against maps, weights {weights}\n{note}", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _line(
    panel: Axes, points: Mapping[float, tuple[float, float]], loss: str, colour: Any, chosen: Sequence[float]
) -> None:
    """A loss through its weights; a star for the loss without any."""
    alone = set(points) == {0.0}
    x, y = [point[0] for point in points.values()], [point[1] for point in points.values()]
    panel.plot(x, y, "*-" if alone else ".-", color=colour, markersize=14 if alone else 7, label=loss)
    for weight in chosen:
        if weight in points:
            panel.plot(*points[weight], "o", color=colour, markersize=12, markerfacecolor="none")
    if points and not alone:
        panel.annotate(f"{max(points):g}", points[max(points)], (4, 3), textcoords="offset points")


def _panels(cells: pd.DataFrame, dataset: str, metric: Metric) -> tuple[Figure, dict[tuple[int, str], Axes]]:
    """A figure with rows of resolutions and columns of backbones, each with its dots drawn; and its panels by both."""
    cells = having(cells, dataset=dataset)
    losses, backbones, resolutions = (in_order(cells, column) for column in ("loss", "backbone", "resolution"))
    size = (max(_LEGEND_WIDTH, 1.6 + 3.0 * len(backbones)), 1.6 + (0.75 + 0.3 * len(losses)) * len(resolutions))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(resolutions), len(backbones), sharey=True, squeeze=False)
    panels = {(px, name): axes[i, j] for i, px in enumerate(resolutions) for j, name in enumerate(backbones)}
    for (resolution, backbone), panel in panels.items():
        here = having(cells, resolution=resolution, backbone=backbone)
        seeds = int(here.groupby("loss").size().max()) if len(here) else 0
        panel.set_title(f"{shown(backbone)}, {resolution} px, n = {seeds}")
        panel.set_xlabel(f"test {metric.heading}")
        _dot_plot(panel, here, losses, metric, seeds)
    return figure, panels


def _dot_plot(panel: Axes, cells: pd.DataFrame, losses: Sequence[str], metric: Metric, seeds: int) -> None:
    """A line for each loss, from the top."""
    for y, loss in enumerate(losses):
        _dots(panel, y, cells[cells["loss"] == loss], metric, seeds)
    panel.set_yticks(range(len(losses)), losses)
    panel.set_ylim(len(losses) - 0.5, -0.5)
    panel.grid(axis="x")


def _dots(panel: Axes, y: int, cell: pd.DataFrame, metric: Metric, seeds: int) -> None:
    """One line of a dot plot: a point per seed, and the mean with its interval just above."""
    ((found, n),) = means(cell, [metric.name])
    if n < seeds or not n:
        word = f"n = {n} of {seeds}" if n else absence(cell) or "missing"
        across = panel.get_yaxis_transform()
        text = panel.text(0.99, y, word, transform=across, ha="right", va="center", fontsize=8, style="italic")
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # over the lines of the bounds
    if not n:
        return
    values = finished(cell)[metric.name].dropna() * metric.factor
    panel.plot(values, [y + 0.2] * n, "o", color=_POINT, markersize=3.5, alpha=0.7, markeredgewidth=0)
    mean, half = found.mean * metric.factor, found.half_width * metric.factor
    ends = None if math.isnan(half) or half == 0 else half
    panel.errorbar(mean, y - 0.1, xerr=ends, fmt="D", color=_MEAN, markersize=4.5, capsize=2.5)


def _bounds(panel: Axes, bounds: pd.DataFrame, backbone: str, dashes: Mapping[str, Any]) -> None:
    """The floors, and the ceiling of the backbone's grid, as lines across a panel; the grid in its title."""
    for floor in records(bounds[bounds["kind"] == "floor"]):
        panel.axvline(floor["ssim"], color=_FLOOR, linestyle=dashes[floor["name"]], linewidth=1, zorder=0)
    for ceiling in records(bounds[has_grid(bounds, backbone)]):
        panel.axvline(ceiling["ssim"], color=_CEILING, linewidth=1.6, zorder=0)
        panel.set_title(f"{panel.get_title()}, {ceiling['name']}")


def _keys() -> list[Line2D]:
    """What the dots are."""
    return [
        Line2D([], [], linestyle="", marker="o", color=_POINT, markersize=3.5, label="one seed"),
        Line2D([], [], marker="D", color=_MEAN, markersize=4.5, label="mean and 95 % t interval over seeds"),
    ]
