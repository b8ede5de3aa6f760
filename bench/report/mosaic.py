"""Pictures of maps: rows of maps with a column per class, on one colour scale from 0 to 1."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from bench.report.drawing import GROUPS, by_group

#: Sequential, even in lightness, and told apart with any kind of colour blindness.
COLOURS = "magma"
_SCALE = 1.75  # inches for the scale and the blocks' names
_LETTER = 5.4  # points, of a label
_HEADING = 9  # points, the size of a heading where the longest fits above its column
_LETTER_WIDTH = 0.45  # mean width of a letter ÷ its size
_GAP, _BLOCK_GAP = 0.06, 0.2  # between two maps, and further between two blocks of rows, in widths of a map


class Row(NamedTuple):
    """One row of a figure: its label, and maps (columns,px,px), or the word in place of them."""

    label: str
    maps: Tensor | str


#: The name beside a block of rows, or "", and the rows.
Block = tuple[str, Sequence[Row]]


class Places(NamedTuple):
    """Where the maps are in the axes of a mosaic, whose unit is a map's pixel: left edges, and top edges by row."""

    left: Sequence[int]
    top: Sequence[int]


def blocks_by_group(rows: Mapping[str, Row]) -> list[Block]:
    """A block for each group of losses, of a row by loss; the name of a group does not fit beside one row."""
    groups = by_group(rows)
    named = [group for group, losses in groups.items() if len(losses) > 1 and len(groups) > 1]
    return [(GROUPS[group][0] if group in named else "", [rows[x] for x in losses]) for group, losses in groups.items()]


def mosaic(
    blocks: Sequence[Block], columns: Sequence[str], px: int, title: str, note: str, side: float, scale: str
) -> tuple[Figure, Axes, Places]:
    """A figure of blocks of rows of maps.

    Args:
        blocks: from the top.
        columns: their headings.
        px: side of a map, in pixels.
        title, note: above, and in small letters below.
        side: of a map, in inches.
        scale: what the colours show.
    """
    height = sum(len(rows) for _, rows in blocks) * (1 + _GAP) + (len(blocks) - 1) * _BLOCK_GAP
    beside = _SCALE + _longest(blocks) * _LETTER / 72
    size = (beside + side * len(columns) * (1 + _GAP), 1.25 + side * height)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    places = _drawn(axes, blocks, columns, px)
    axes.tick_params(axis="x", labelsize=min(_HEADING, 72 * side / _LETTER_WIDTH / max(map(len, columns))))
    figure.suptitle(title)
    mappable = ScalarMappable(cmap=COLOURS)
    mappable.set_clim(0, 1)
    bar = figure.colorbar(mappable, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.set_label(scale)
    figure.supxlabel(note, fontsize=8, color="0.3")
    return figure, axes, places


def _drawn(axes: Axes, blocks: Sequence[Block], columns: Sequence[str], px: int) -> Places:
    """Rows of maps with a wider gap between blocks: one picture."""
    gap, block_gap = (max(1, round(share * px)) for share in (_GAP, _BLOCK_GAP))
    width = len(columns) * (px + gap) - gap
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
            axes.annotate(
                name, (0, (top + y - gap) / 2), (-16 - _LETTER * _longest(blocks), 0), textcoords="offset points",
                rotation=90, ha="center", va="center", fontweight="bold", annotation_clip=False,
            )  # fmt: skip
        lines.append(np.full((block_gap, width), np.nan))
        y += block_gap
    height = y - block_gap - gap
    # One image and not one for each map: a figure of eight losses is saved in a third of the time.
    picture = np.ma.masked_invalid(np.vstack(lines)[:height])
    axes.imshow(picture, cmap=COLOURS, vmin=0, vmax=1, extent=(0, width, height, 0))
    axes.set_xticks([c * (px + gap) + px / 2 for c in range(len(columns))], columns)
    axes.set_yticks(list(labels), list(labels.values()))
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    return Places([c * (px + gap) for c in range(len(columns))], [round(middle - px / 2) for middle in labels])


def _longest(blocks: Sequence[Block]) -> int:
    """How many letters the longest line of a label has."""
    return max(len(line) for _, rows in blocks for row in rows for line in row.label.split("\n"))
