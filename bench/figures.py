"""The figures: mean maps beside their prototypes, as in the paper's figures 2 to 5, and dot plots of the numbers.

Maps and prototypes share one colour scale from 0 to 1. Files hold no date and no random names: the same results give
the same bytes.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import matplotlib.style
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from bench.tables import absence, finished, in_order, interval, shown, split_names, weight_means

#: Sequential, even in lightness, and told apart with any kind of colour blindness.
COLOURS = "magma"
_POINT, _MEAN, _FLOOR, _CEILING = "#56B4E9", "#0B3C5D", "#8A8A8A", "#D55E00"
_DASHES: list[Any] = ["solid", (0, (6, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1))]
_LEGEND_WIDTH = 8.0  # inches, so that a figure with one panel does not cut its legend
_GAP, _BLOCK_GAP = 0.06, 0.2  # between two maps, and further between two blocks of rows, in widths of a map
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
    "image.interpolation": "nearest",  # the maps as they are; the default's smoothing doubles the files at 112 px
}
#: Metric → label, factor, and what chance or a map that is the class's template reaches.
_SALIENCY: dict[str, tuple[str, float, float | None]] = {
    "decoy_accuracy": ("decoy accuracy, %", 100, None),
    "decoy_flip_rate": ("predictions flipped by the decoy, %", 100, None),
    "decoy_mass": ("decoy's share of the map, %", 100, 2.04),
    "clean_accuracy": ("accuracy without decoys, %", 100, None),
    "accuracy": ("accuracy, %", 100, None),
    "epg_ink": ("energy on ink", 1, None),
    "specificity": ("instance specificity", 1, 0),
    "coherence": ("coherence", 1, None),
    "road": ("ROAD, LeRF − MoRF", 1, 0),
}
_FRONT = 0.03  # accuracy below the best one up to which the front is shown
OVERVIEW = ("ce", "prototype-ssim", "batchcam-ssim")


class Row(NamedTuple):
    """One row of a figure of maps: its label, and maps (classes,px,px), or the word that stands in their place."""

    label: str
    maps: Tensor | str


@contextlib.contextmanager
def style() -> Iterator[None]:
    """seaborn's style and ours, whatever the user's matplotlibrc says: figures are made and saved in it."""
    with matplotlib.style.context(["default", seaborn.axes_style("ticks"), _STYLE]):
        yield


def save(figure: Figure, directory: Path, name: str) -> None:
    """<name>.png and <name>.pdf, without date and version."""
    figure.savefig(directory / f"{name}.png", metadata={"Software": None})
    figure.savefig(directory / f"{name}.pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})


def mean_maps(prototypes: Tensor, rows: Sequence[Row], class_names: Sequence[str], title: str, note: str) -> Figure:
    """The class prototypes and, beneath, a row of mean maps per loss.

    Args:
        prototypes: (classes,px,px) in [0, 1].
        rows: one per loss, in the grid's order.
        class_names: what stands above the columns.
        title, note: above, and in small letters beneath.
    """
    figure, axes = _canvas(0.8, 2.5, len(class_names), [1, len(rows)])
    _mosaic(axes, [[Row("class prototype\n(training mean)", prototypes)], rows], class_names)
    _finish(figure, axes, title, note)
    return figure


def overview(
    prototypes: Tensor, blocks: Mapping[str, Sequence[Row]], class_names: Sequence[str], title: str, note: str
) -> Figure:
    """One small picture of everything: the prototypes, then a block of a few losses for each backbone."""
    figure, axes = _canvas(0.56, 2.8, len(class_names), [1, *map(len, blocks.values())])
    _mosaic(axes, [[Row("class prototype", prototypes)], *blocks.values()], class_names, ["", *blocks])
    _finish(figure, axes, title, note)
    return figure


def accuracy(cells: pd.DataFrame, dataset: str) -> Figure:
    """Dot plot of a dataset's test accuracy: a panel per resolution and backbone, a line per loss."""
    figure, panels = _panels(cells, dataset, "accuracy", 100)
    for panel in panels.flat:
        panel.set_xlabel("test accuracy, %")
        if panel.texts:
            panel.margins(x=0.3)  # room for the words at the right
    figure.suptitle(f"{shown(dataset)}: test accuracy by loss (each panel has its own scale)", fontsize=11)
    figure.legend(handles=_keys(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def reconstruction(cells: pd.DataFrame, bounds: pd.DataFrame, dataset: str) -> Figure:
    """Dot plot of a dataset's test SSIM to the class prototype, with the floors and the ceiling of each grid."""
    figure, panels = _panels(cells, dataset, "ssim", 1)
    cells, bounds = cells[cells["dataset"] == dataset], bounds[bounds["dataset"] == dataset]
    names = in_order(bounds[bounds["kind"] == "floor"], "name")
    dashes = {name: _DASHES[k % len(_DASHES)] for k, name in enumerate(names)}
    for row, resolution in zip(panels, in_order(cells, "resolution"), strict=True):
        for panel, backbone in zip(row, in_order(cells, "backbone"), strict=True):
            _bounds(panel, bounds[bounds["resolution"] == resolution], backbone, dashes)
            panel.set_xlabel("SSIM of map and class prototype")
            panel.set_xlim(min(-0.03, panel.get_xlim()[0]), 1)
    figure.suptitle(f"{shown(dataset)}: how much the map of a test image looks like its class", fontsize=11)
    keys = [Line2D([], [], color=_FLOOR, linestyle=dashes[name], label=f"floor: {name}") for name in names]
    keys += [Line2D([], [], color=_CEILING, linewidth=1.6, label="ceiling: best map of this grid")]
    figure.legend(handles=[*_keys(), *keys], loc="outside lower center", ncols=3, frameon=False)
    return figure


def saliency(cells: pd.DataFrame) -> Figure:
    """Dot plot of one dataset, backbone and resolution: a panel for each metric of the maps, a line per loss."""
    first = cells.iloc[0]
    shown_here = {name: panel for name, panel in _SALIENCY.items() if cells[name].notna().any()}
    if "decoy_accuracy" in shown_here:  # the same number
        del shown_here["accuracy"]
    shown_here = shown_here or {"accuracy": _SALIENCY["accuracy"]}
    losses = in_order(cells, "loss")
    columns = min(3, len(shown_here))
    rows = math.ceil(len(shown_here) / columns)
    figure = Figure(figsize=(1.6 + 2.7 * columns, 1.4 + (0.6 + 0.24 * len(losses)) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for panel in panels.flat[len(shown_here) :]:
        panel.set_axis_off()
    seeds = cells.groupby("loss").size().max()
    for panel, (metric, (label, factor, chance)) in zip(panels.flat, shown_here.items(), strict=False):
        for y, loss in enumerate(losses):
            _dots(panel, y, cells[cells["loss"] == loss], metric, factor, seeds)
        if chance is not None:
            panel.axvline(chance, color=_FLOOR, linestyle=_DASHES[1], linewidth=1, zorder=0)
        panel.set_yticks(range(len(losses)), losses)
        panel.set_ylim(len(losses) - 0.5, -0.5)
        panel.set_xlabel(label)
        panel.grid(axis="x", color="0.9")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    place = f"{shown(first['dataset'])}, {shown(first['backbone'])}, {first['resolution']} px, n = {seeds}"
    figure.suptitle(f"{place}: what the maps show", fontsize=11)
    keys = [*_keys(), Line2D([], [], color=_FLOOR, linestyle=_DASHES[1], label="by chance, or of a template")]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False)
    return figure


def front(rows: pd.DataFrame, chosen: pd.DataFrame) -> Figure:
    """What a stronger regulariser costs in accuracy and gains in the maps: a line per loss, through its weights."""
    figure = Figure(figsize=(10.5, 5.2), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    losses = in_order(rows, "loss")
    colours = dict(zip(losses, seaborn.color_palette("colorblind", len(losses)), strict=True))
    # What has lost more than a few points has no use, and would hide the rest.
    least = weight_means(rows, ["accuracy"])["accuracy"].max() - _FRONT - 1e-9
    for panel, (metric, label) in zip(
        panels, (("specificity", "instance specificity"), ("epg_ink", "energy on ink")), strict=True
    ):
        for loss in losses:
            means = weight_means(rows[rows["loss"] == loss], ["accuracy", metric]).droplevel("loss").dropna()
            means = means[means["accuracy"] >= least]
            alone = set(means.index) == {0.0}  # ce, which has no weight
            x, y = means["accuracy"] * 100, means[metric]
            panel.plot(x, y, "*-" if alone else ".-", color=colours[loss], markersize=14 if alone else 7, label=loss)
            for weight in chosen.loc[chosen["loss"] == loss, "weight"]:
                if weight in means.index:
                    panel.plot(x[weight], y[weight], "o", color=colours[loss], markersize=12, markerfacecolor="none")
            if not alone and len(means):
                panel.annotate(f"{means.index[-1]:g}", (x.iloc[-1], y.iloc[-1]), (4, 3), textcoords="offset points")
        panel.set(xlabel="validation accuracy, %", ylabel=label)
        panel.grid(color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    first = rows.iloc[0]
    where = f"{shown(first['dataset'])}, {shown(first['backbone'])}, {first['resolution']} px"
    weights = ", ".join(f"{w:g}" for w in sorted(set(rows["weight"].dropna()) - {0.0}))
    weights += f"; not shown where accuracy is more than {_FRONT * 100:g} points below the best"
    note = "Means over seeds. The number stands at the largest weight that is shown, a ring around the chosen one."
    figure.suptitle(f"{where}: accuracy against maps, weights {weights}\n{note}", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def paper_figure(dataset: str, backbone: str, resolution: int) -> str:
    """Which of the paper's figures a figure of mean maps answers, as far as its captions tell; a sentence."""
    both = "figure 2 (mean MNIST reconstruction prototypes per class, 23×23, ResNet and ConvNeXt-V2)"
    cnn = "figures 3 (CNN, cross-entropy: row ce) and 4 (CNN, Batch-CAM prototype loss: prototype rows)"
    large = "figure 5 (MNIST 112×112, ConvNeXt-V2, prototype loss with L1: row prototype-l1)"
    known = {
        ("resnet18", 23): both,
        ("convnextv2_tiny", 23): both,
        ("simple_cnn", 23): cnn,
        ("convnextv2_tiny", 112): large,
    }
    figure = known.get((backbone, resolution))
    if figure is None:
        return "None of the paper's figures whose captions are known shows this combination."
    if dataset == "mnist":
        return f"Answers the paper's {figure}."
    return f"Counterpart on {shown(dataset)} of the paper's {figure}."


def _canvas(side: float, beside: float, columns: int, blocks: Sequence[int]) -> tuple[Figure, Axes]:
    """A figure for maps `side` inches wide, in blocks of so many rows, with `beside` inches for labels and scale."""
    width = beside + side * columns * (1 + _GAP)
    height = 1.25 + side * (sum(blocks) * (1 + _GAP) + (len(blocks) - 1) * _BLOCK_GAP)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _mosaic(
    axes: Axes, blocks: Sequence[Sequence[Row]], class_names: Sequence[str], block_names: Sequence[str] = ()
) -> None:
    """Rows of maps, one column per class, in one Axes whose unit is the side of a map; a wider gap between blocks."""
    columns, step = len(class_names), 1 + _GAP
    y, labels = 0.0, {}
    for k, rows in enumerate(blocks):
        top = y
        for row in rows:
            labels[y + 0.5] = row.label
            if isinstance(row.maps, str):
                axes.add_patch(Rectangle((0, y), columns * step - _GAP, 1, facecolor="0.95"))
                axes.text(columns * step / 2, y + 0.5, row.maps, ha="center", va="center", style="italic")
            else:
                for c in range(columns):
                    extent = (c * step, c * step + 1, y + 1, y)
                    axes.imshow(row.maps[c].numpy(), cmap=COLOURS, vmin=0, vmax=1, extent=extent)
            y += step
        if block_names and block_names[k]:
            # Left of the tick labels, whose width is that of the longest loss.
            axes.annotate(
                block_names[k], (0, (top + y - _GAP) / 2), (-92, 0), textcoords="offset points", rotation=90,
                ha="center", va="center", fontweight="bold", annotation_clip=False,
            )  # fmt: skip
        y += _BLOCK_GAP
    axes.set(xlim=(0, columns * step - _GAP), ylim=(y - _BLOCK_GAP - _GAP, 0), aspect="equal")
    axes.set_xticks([c * step + 0.5 for c in range(columns)], class_names)
    axes.set_yticks(list(labels), list(labels.values()))
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def _finish(figure: Figure, axes: Axes, title: str, note: str) -> None:
    """Title, colour bar and note."""
    figure.suptitle(title, fontsize=11)
    scale = ScalarMappable(cmap=COLOURS)
    scale.set_clim(0, 1)
    bar = figure.colorbar(scale, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.set_label("value of map or prototype")
    figure.supxlabel(note, fontsize=8, color="0.3")


def _panels(cells: pd.DataFrame, dataset: str, metric: str, factor: float) -> tuple[Figure, Any]:
    """A figure with rows of resolutions and columns of backbones, each with its dots drawn; and its axes."""
    cells = cells[cells["dataset"] == dataset]
    losses, backbones, resolutions = (in_order(cells, column) for column in ("loss", "backbone", "resolution"))
    size = (max(_LEGEND_WIDTH, 1.6 + 3.0 * len(backbones)), 1.6 + (0.75 + 0.3 * len(losses)) * len(resolutions))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(resolutions), len(backbones), sharey=True, squeeze=False)
    for i, resolution in enumerate(resolutions):
        for j, backbone in enumerate(backbones):
            panel = panels[i, j]
            here = cells[(cells["resolution"] == resolution) & (cells["backbone"] == backbone)]
            seeds = here.groupby("loss").size().max() if len(here) else 0
            panel.set_title(f"{shown(backbone)}, {resolution} px, n = {seeds}")
            for y, loss in enumerate(losses):
                _dots(panel, y, here[here["loss"] == loss], metric, factor, seeds)
            panel.set_yticks(range(len(losses)), losses)
            panel.set_ylim(len(losses) - 0.5, -0.5)
            panel.grid(axis="x", color="0.9")
            panel.set_axisbelow(True)
            panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _dots(panel: Axes, y: int, cell: pd.DataFrame, metric: str, factor: float, seeds: int) -> None:
    """One line of a dot plot: a point per seed, and the mean with its interval just above."""
    found, n = interval(cell, metric)
    if n < seeds or not n:
        word = f"n = {n} of {seeds}" if n else absence(cell) or "missing"
        across = panel.get_yaxis_transform()
        text = panel.text(0.99, y, word, transform=across, ha="right", va="center", fontsize=8, style="italic")
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # over the lines of the bounds
    if not n:
        return
    values = finished(cell)[metric].dropna() * factor
    panel.plot(values, [y + 0.2] * n, "o", color=_POINT, markersize=3.5, alpha=0.7, markeredgewidth=0)
    half = 0 if math.isnan(found.half_width) else found.half_width * factor
    panel.errorbar(found.mean * factor, y - 0.1, xerr=half or None, fmt="D", color=_MEAN, markersize=4.5, capsize=2.5)


def _bounds(panel: Axes, bounds: pd.DataFrame, backbone: str, dashes: Mapping[str, Any]) -> None:
    """The floors, and the ceiling of the backbone's grid, as lines across a panel; the grid in its title."""
    for bound in bounds.to_dict("records"):
        if bound["kind"] == "floor":
            panel.axvline(bound["ssim"], color=_FLOOR, linestyle=dashes[bound["name"]], linewidth=1, zorder=0)
        elif backbone in split_names(bound["backbones"]):
            panel.axvline(bound["ssim"], color=_CEILING, linewidth=1.6, zorder=0)
            panel.set_title(f"{panel.get_title()}, {bound['name']}")


def _keys() -> list[Line2D]:
    """What the dots stand for."""
    return [
        Line2D([], [], linestyle="", marker="o", color=_POINT, markersize=3.5, label="one seed"),
        Line2D([], [], marker="D", color=_MEAN, markersize=4.5, label="mean and 95 % t interval over seeds"),
    ]
