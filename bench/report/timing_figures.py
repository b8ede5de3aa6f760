"""The figures of the timings: time of a map against batch size, overhead of a guided step, growth."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from bench.names import (
    AUTOGRAD_LOOP,
    BACKBONES,
    CAPTUM,
    CE_STEP,
    EXPLAIN,
    EXPLAIN_ALL,
    FORWARD,
    GRAD_CAM,
    LOOP,
    PYTORCH_GRAD_CAM,
    STEPS,
    TORCH_CAM,
    shown,
)
from bench.report.drawing import line_through, upright
from bench.report.frames import in_order, records
from bench.report.timing_table import GROWN

_FLOOR_COLOUR = "#8A8A8A"
#: Contender → colour and marker (Okabe and Ito's palette; ours in the strongest).
_LOOKS: dict[str, tuple[str, str]] = {
    LOOP: ("#D55E00", "v"),
    AUTOGRAD_LOOP: ("#E69F00", "^"),
    PYTORCH_GRAD_CAM: ("#CC79A7", "s"),
    CAPTUM: ("#009E73", "P"),
    TORCH_CAM: ("#56B4E9", "X"),
    EXPLAIN_ALL: ("#7A5195", "D"),
    GRAD_CAM: ("#3C6E91", "d"),
    EXPLAIN: ("#0B3C5D", "o"),
}


def drawn(rows: pd.DataFrame) -> dict[str, Figure]:
    """The figures of every device by the stem of their files; none for what was not measured."""
    figures: dict[str, Figure] = {}
    ok = rows[rows["status"] == "ok"]
    for device, here in ok.groupby("device", sort=False):
        for kind, draw in (("maps", _maps), ("step", _steps), ("growth", _growth)):
            if not (chosen := here[here["kind"] == kind]).empty:
                figures[f"timing-{kind}-{device}"] = draw(chosen, f"{str(device).upper()} ({here['machine'].iloc[0]})")
    return figures


def _maps(rows: pd.DataFrame, machine: str) -> Figure:
    """Seconds per image against batch size, whole calls; a panel per backbone, layer and resolution."""
    panels = _by_panel(rows)
    figure, axes = _grid(len(panels), 3.4, 3.0)
    for axis, (title, here) in zip(axes, panels, strict=True):
        for contender in (FORWARD, *_LOOKS):
            line = here[here["contender"] == contender].sort_values("batch")
            axis.plot(line["batch"], line["seconds"] / line["batch"] * 1e3, **_line(contender, len(line)))
        axis.set(xlabel="batch size", ylabel=upright("ms per image ↓"), title=title)
        _logarithmic(axis, in_order(here.sort_values("batch"), "batch"))
        axis.margins(x=0.15)
    drawn = [name for name in (FORWARD, *_LOOKS) if name in set(rows["contender"])]
    return _finished(
        figure, f"A Grad-CAM map for each image, whole call, {machine}", drawn, int(rows["batch"].nunique())
    )


def _steps(rows: pd.DataFrame, machine: str) -> Figure:
    """A training step ÷ the cross-entropy step, with intervals; a panel per backbone, layer and resolution."""
    panels = _by_panel(rows)
    losses = [name for name in STEPS if name != CE_STEP]
    figure, axes = _grid(len(panels), 3.8, 2.8)
    for axis, (title, here) in zip(axes, panels, strict=True):
        for y, loss in enumerate(losses):
            for row in records(here[here["contender"] == loss]):
                ratio, low, high = (row[f"floor_ratio{end}"] for end in ("", "_low", "_high"))
                ends = None if math.isnan(low) else [[ratio - low], [high - ratio]]
                axis.errorbar(ratio, y, xerr=ends, fmt="o", color="#0B3C5D", capsize=3)
        axis.axvline(1, color=_FLOOR_COLOUR, linewidth=2, zorder=1)
        axis.set_yticks(range(len(losses)), losses)
        axis.set_ylim(len(losses) - 0.5, -0.5)
        axis.set_xlim(min(0.9, axis.get_xlim()[0]), max(1.5, axis.get_xlim()[1]))
        axis.set(xlabel="time of a step ÷ ce step ↓", title=f"{title}\nbatch {here['batch'].iloc[0]}")
        axis.grid(axis="x")
    return _finished(figure, f"What a guided training step costs, {machine}", ())


def _by_panel(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each backbone, resolution and layer, with a title, in the order of the suite."""
    found = []
    for backbone in (name for name in BACKBONES if name in set(rows["backbone"])):
        here = rows[rows["backbone"] == backbone].sort_values(["resolution", "layer"])
        for (resolution, layer), panel in here.groupby(["resolution", "layer"], sort=False):
            found.append((f"{shown(backbone)}, {resolution} px\nread at {layer}", panel))
    return found


def _logarithmic(axis: Axes, values: Sequence[int], labels: Sequence[str] | None = None) -> None:
    """Both scales logarithmic, with a tick for each value below, and plain numbers at the left."""
    axis.set(xscale="log", yscale="log")
    axis.set_xticks(values, labels or [str(value) for value in values])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))


def _growth(rows: pd.DataFrame, machine: str) -> Figure:
    """Time and memory of a call against batch size, resolution and number of classes, the others held."""
    base = {name: rows[name].mode()[0] for name in ("batch", "resolution", "classes")}
    figure = Figure(figsize=(10.5, 6.2), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row")
    for column, varied in enumerate(base):
        others = [name for name in base if name != varied]
        here = rows[(rows[others] == pd.Series({name: base[name] for name in others})).all(axis=1)].sort_values(varied)
        for row, (value, factor, label) in enumerate((("seconds", 1e3, "ms"), ("peak_bytes", 2**-20, "MiB"))):
            axis: Axes = axes[row, column]
            for contender in GROWN:
                line = here[here["contender"] == contender]
                axis.plot(line[varied], line[value] * factor, **_line(contender, len(line)))
            axis.set(xlabel=varied, ylabel=upright(f"{label} per call ↓") if column == 0 else None)
            points = here.drop_duplicates(varied)
            # The layer is chosen for the map, and changes with the resolution.
            names = [f"{px}\n{at}" for px, at in zip(points[varied], points["layer"], strict=True)]
            _logarithmic(axis, points[varied].tolist(), names if varied == "resolution" else None)
            axis.set_title(", ".join(f"{name} {base[name]}" for name in others))
    backbone = shown(rows["backbone"].iloc[0])
    return _finished(
        figure,
        f"How the cost of maps grows: {backbone}, {machine}",
        GROWN,
        max(int(rows[name].nunique()) for name in base),
    )


def _line(contender: str, points: int) -> dict[str, Any]:
    """How a contender with so many points is drawn: the floor as a broad grey band, and two points without a line."""
    joined = {"linestyle": line_through(points)}
    if contender == FORWARD:
        return {"color": _FLOOR_COLOUR, "linewidth": 5, "marker": "o", "alpha": 0.5, "solid_capstyle": "round"} | joined
    colour, marker = _LOOKS[contender]
    strong = contender == EXPLAIN
    return {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.8 if strong else 1.1} | joined


def _grid(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, up to three in a row."""
    columns = min(3, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(max(8.0, width * columns), height * lines + 1.1), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def _finished(figure: Figure, title: str, contenders: Sequence[str], points: int = 0) -> Figure:
    """With a title and, where there are contenders, a legend of their lines through so many points."""
    figure.suptitle(title)
    if contenders:
        names = {FORWARD: "forward pass alone (the floor)"}
        keys = [Line2D([], [], label=names.get(name, name), **_line(name, points)) for name in contenders]
        figure.legend(handles=keys, loc="outside lower center", ncols=5)
    return figure
