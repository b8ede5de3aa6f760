"""How every figure draws its numbers: the seeds of a cell with their mean and interval, courses, losses by group."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.names import LOSSES, Metric
from bench.report.frames import in_order
from bench.report.results import CELL, absence, finished, means
from bench.statistics import Interval

POINT, MEAN, FLOOR, CEILING, REFERENCE = "#56B4E9", "#0B3C5D", "#8A8A8A", "#D55E00", "#5A5A5A"
DASHES: list[Any] = [
    "solid",
    (0, (6, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (3, 3)),
    (0, (1, 4)),
]
#: Where lines across a panel lie: above the grid, which would hide them, and below the points.
LINES = 1
#: Group of losses → heading and colour (Okabe and Ito's palette, for any kind of colour blindness).
GROUPS = {
    "paper": ("the paper's losses", "#0072B2"),
    "control": ("controls", "#D55E00"),
    "reading": ("other readings", "#009E73"),
    "baseline": ("baselines", "#AA4499"),
}
#: What the others are held against.
BASELINE = "ce"
#: Up to how many points no line is drawn.
_POINTS_ALONE = 2


class Row(NamedTuple):
    """A line of a dot plot: its label, and the seeds of one cell."""

    label: str
    cell: pd.DataFrame
    far: bool = False  # from the others, whose scale it would stretch: a number in place of dots


#: A heading, or "", and the rows below it.
Block = tuple[str, list[Row]]


def by_group(losses: Iterable[str]) -> dict[str, list[str]]:
    """Losses by their group, both in the order of `bench.names`."""
    asked = set(losses)
    found = {group: [name for name in LOSSES if name in asked and LOSSES[name].group == group] for group in GROUPS}
    return {group: names for group, names in found.items() if names}


def blocks_of(cells: pd.DataFrame, losses: Iterable[str]) -> list[Block]:
    """A block for each group of losses; where some cells have fewer seeds than others, the labels say how many."""
    seeds = seed_counts(cells)
    most = max(seeds, default=0)

    def row(loss: str) -> Row:
        cell = cells[cells["loss"] == loss]
        return Row(f"{loss} (n = {len(cell)})" if 0 < len(cell) < most else loss, cell)

    groups = by_group(losses)
    heading = {group: GROUPS[group][0] if len(groups) > 1 else "" for group in groups}
    return [(heading[group], [row(loss) for loss in names]) for group, names in groups.items()]


def seed_counts(cells: pd.DataFrame) -> list[int]:
    """How many seeds were expected, each number once, in ascending order."""
    return sorted(set(cells.groupby(list(CELL)).size().tolist()))


def seeds_text(cells: pd.DataFrame) -> str:
    """ "n = 5", or "n = 3 to 10" where cells differ."""
    counts = seed_counts(cells) or [0]
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"


def height_of(blocks: Sequence[Block]) -> int:
    """How many lines a dot plot has, its headings among them."""
    return sum(len(rows) + bool(heading) for heading, rows in blocks)


def dot_plot(panel: Axes, blocks: Sequence[Block], metric: Metric) -> None:
    """A line for each row, from the top, and one for each heading."""
    labels: list[str] = []
    headings: list[int] = []
    for heading, rows in blocks:
        if heading:
            headings.append(len(labels))
            labels.append(heading)
        for row in rows:
            (_number if row.far else _dots)(panel, len(labels), row.cell, metric)
            labels.append(row.label)
    panel.set_yticks(range(len(labels)), labels)
    for label in panel.get_yticklabels():  # none where a panel further left has them
        if label.get_text() in [labels[y] for y in headings]:
            label.set_fontweight("bold")
    for y in headings:
        panel.axhspan(y - 0.5, y + 0.5, color="0.96", zorder=0)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.locator_params(axis="x", nbins=5)
    panel.grid(axis="x")


def _dots(panel: Axes, y: int, cell: pd.DataFrame, metric: Metric) -> None:
    """A point per seed, and the mean with its interval just above; a single seed is a point and nothing else."""
    ((found, n),) = means(cell, [metric.name])
    if n < len(cell) or not n:
        _word(panel, y, f"n = {n} of {len(cell)}" if n else _why_not(cell))
    if not n:
        return
    values = finished(cell)[metric.name].dropna() * metric.factor
    if n == 1:
        panel.plot(values, [y], "o", color=POINT, markersize=5, markeredgewidth=0)
        return
    panel.plot(values, [y + 0.2] * n, "o", color=POINT, markersize=3.5, alpha=0.7, markeredgewidth=0)
    mean, half = found.mean * metric.factor, found.half_width * metric.factor
    panel.errorbar(mean, y - 0.1, xerr=half if half > 0 else None, fmt="D", color=MEAN, markersize=4.5, capsize=2.5)


def _number(panel: Axes, y: int, cell: pd.DataFrame, metric: Metric) -> None:
    """The mean with its interval, in words."""
    ((found, n),) = means(cell, [metric.name])
    mean, half = (f"{value * metric.factor:.{metric.decimals}f}" for value in (found.mean, found.half_width))
    _word(panel, y, (mean if n == 1 else f"{mean} ± {half}") if n else _why_not(cell))


def _why_not(cell: pd.DataFrame) -> str:
    """In a word, why a cell has no number."""
    return absence(cell) or ("missing" if cell.empty else "none")


def _word(panel: Axes, y: int, word: str) -> None:
    """At the right of a line."""
    across = panel.get_yaxis_transform()
    text = panel.text(0.99, y, word, transform=across, ha="right", va="center", fontsize=8, style="italic")
    text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # over the lines that run across


def upright(heading: str) -> str:
    """A metric's heading for an axis whose label is turned by a quarter: turned back, its arrow would lie."""
    return heading.replace("↑", "→").replace("↓", "←")


def keys(cells: pd.DataFrame) -> list[Line2D]:
    """What the dots are, of those that these cells have."""
    counts = set(finished(cells).groupby(list(CELL)).size())
    found = []
    if counts - {1}:
        found = [
            Line2D([], [], linestyle="", marker="o", color=POINT, markersize=3.5, label="one seed"),
            Line2D([], [], marker="D", color=MEAN, markersize=4.5, label="mean and 95 % t interval over seeds"),
        ]
    if 1 in counts:
        alone = "the only seed (n = 1: no interval)"
        found.append(Line2D([], [], linestyle="", marker="o", color=POINT, markersize=5, label=alone))
    return found


def reference(panel: Axes, cells: pd.DataFrame, metric: Metric) -> None:
    """A line across a dot plot at what the baseline has, with its interval as a band."""
    ((found, n),) = means(cells[cells["loss"] == BASELINE], [metric.name])
    if not n:
        return
    if found.half_width > 0:
        panel.axvspan(found.low * metric.factor, found.high * metric.factor, color=REFERENCE, alpha=0.12, zorder=0)
    panel.axvline(found.mean * metric.factor, color=REFERENCE, linewidth=1, zorder=LINES)


def reference_key() -> Line2D:
    """The line of `reference`."""
    return Line2D([], [], color=REFERENCE, linewidth=1, label=f"{BASELINE}: mean, and interval as a band")


def line_through(points: int) -> str:
    """The style of the line through so many points; none through two, which make a line whatever they are."""
    return "-" if points > _POINTS_ALONE else ""


def course(
    panel: Axes, x: Sequence[float], found: Sequence[Interval], colour: str, marker: str = "o", *, band: bool = False
) -> None:
    """Means with their intervals, as bars or as a band, and a line through them where there are more than two."""
    through = line_through(len(found))
    y, low, high = ([getattr(interval, end) for interval in found] for end in Interval._fields)
    size = 2.5 if band else 3.5
    panel.plot(x, y, marker=marker, color=colour, markersize=size, linewidth=1.2, linestyle=through)
    if band and through:
        panel.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        return
    for at, interval in zip(x, found, strict=True):
        if interval.half_width > 0:
            panel.plot([at, at], interval[1:], color=colour, linewidth=1, solid_capstyle="butt")


def multiples(
    count: int, columns: int, size: tuple[float, float], xlabel: str, lines: int = 1, *, shared: bool = False
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with so many small panels, each of a few lines below each other; the lines of each panel.

    Args:
        count, columns: how many panels, and at most how many beside each other.
        size: width and height of a panel with all its lines, in inches.
        xlabel: below the lowest panel of each column.
        lines: of each panel.
        shared: whether all panels have one scale.
    """
    bands = -(-count // columns)
    columns = -(-count // bands)
    figure = Figure(figsize=(max(9.0, 0.6 + size[0] * columns), 1.3 + size[1] * bands), layout="constrained")
    axes = figure.subplots(bands * lines, columns, squeeze=False, sharex=shared, sharey=shared)
    found = [[axes[k // columns * lines + line, k % columns] for line in range(lines)] for k in range(bands * columns)]
    for panel in (panel for beyond in found[count:] for panel in beyond):
        panel.set_axis_off()
    for *_, lowest in found[max(0, count - columns) : count]:
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel(xlabel, fontsize=8)
    return figure, found[:count]


def group_keys(losses: Iterable[str]) -> list[Patch]:
    """The colours of the groups that these losses are in."""
    return [Patch(color=GROUPS[group][1], label=GROUPS[group][0]) for group in by_group(losses)]


def losses_of(cells: pd.DataFrame) -> list[str]:
    """The losses that a frame has, in the order of their groups."""
    return [loss for names in by_group(in_order(cells, "loss")).values() for loss in names]
