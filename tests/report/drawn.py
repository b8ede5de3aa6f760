"""What can be read in a figure."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from numpy.typing import NDArray


def words(figure: Figure) -> str:
    """All that can be read in a figure, its legends aside."""
    found = [figure.get_suptitle(), figure.get_supxlabel()]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
        found += [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    return "\n".join(found)


def row_labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def nothing_is_cut(figure: Figure) -> bool:
    """Whether all that is drawn lies inside the figure, after its layout."""
    figure.draw_without_rendering()
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    return bool(page.x0 <= drawn.x0 and page.y0 <= drawn.y0 and drawn.x1 <= page.x1 and drawn.y1 <= page.y1)


def points(line: Line2D) -> list[tuple[float, float]]:
    """(x, y) of each point of a line."""
    x, y = (np.asarray(values, dtype=np.float64).tolist() for values in line.get_data())
    return list(zip(x, y, strict=True))


def across(panel: Axes) -> list[float]:
    """Where the lines stand that run from the bottom of a panel to its top."""
    return [at[0][0] for at in map(points, panel.lines) if [y for _, y in at] == [0, 1]]


def bars(panel: Axes) -> list[list[list[float]]]:
    """From where to where the bars of intervals run, [[x, y], [x, y]] each."""
    found = [collection for collection in panel.collections if isinstance(collection, LineCollection)]
    return [np.asarray(bar).tolist() for collection in found for bar in collection.get_segments()]


def pixels(image: AxesImage) -> NDArray[np.float64]:
    """(height,width) of an image; NaN where it shows nothing."""
    return np.ma.asarray(image.get_array(), dtype=np.float64).filled(np.nan)
