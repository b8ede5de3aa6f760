"""How numbers are drawn: what is a point, what is a line, and what an interval."""

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from bench.names import METRICS
from bench.report.drawing import blocks_of, course, dot_plot, keys, multiples, seeds_text
from bench.statistics import Interval
from tests.report.collected import rows
from tests.report.drawn import bars, points, row_labels


def panel() -> Axes:
    return Figure().add_subplot()


def plotted(cells: pd.DataFrame, losses: list[str]) -> Axes:
    found = panel()
    dot_plot(found, blocks_of(cells, losses), METRICS["accuracy"])
    return found


def legend(cells: pd.DataFrame) -> list[str]:
    return [str(key.get_label()) for key in keys(cells)]


def test_a_single_seed_is_a_plain_point_and_the_legend_says_so() -> None:
    one, three = rows("ce", ["ok"]), rows("hint", ["ok"] * 3)
    alone = plotted(pd.DataFrame(one), ["ce"])
    assert [(line.get_marker(), points(line)) for line in alone.lines] == [("o", [(pytest.approx(92), 0)])]
    assert bars(alone) == []
    assert legend(pd.DataFrame(one)) == ["the only seed (n = 1: no interval)"]
    assert "D" in [line.get_marker() for line in plotted(pd.DataFrame(three), ["hint"]).lines]
    assert legend(pd.DataFrame(three)) == ["one seed", "mean and 95 % t interval over seeds"]
    assert legend(pd.DataFrame(one + three)) == legend(pd.DataFrame(three)) + legend(pd.DataFrame(one))


def test_of_three_seeds_with_one_result_there_is_a_point_and_a_word() -> None:
    found = plotted(pd.DataFrame(rows("ce", ["ok", "missing", "missing"])), ["ce"])
    assert [line.get_marker() for line in found.lines] == ["o"]
    assert [text.get_text() for text in found.texts] == ["n = 1 of 3"]


def test_losses_stand_below_the_heading_of_their_group_with_their_number_of_seeds() -> None:
    few, many = ["ok"] * 2, ["ok"] * 3
    cells = pd.DataFrame(rows("hint", few) + rows("blob-ssim", many) + rows("ce", many) + rows("corner-ssim", few))
    found = plotted(cells, ["hint", "blob-ssim", "ce", "corner-ssim", "rrr"])
    paper, controls = ["the paper's losses", "ce"], ["controls", "blob-ssim", "corner-ssim (n = 2)"]
    assert row_labels(found) == [*paper, *controls, "baselines", "rrr", "hint (n = 2)"]
    assert [(text.get_text(), text.get_position()[1]) for text in found.texts] == [("missing", 6)]
    assert seeds_text(cells) == "n = 2 to 3"
    # The seeds of blob-ssim are at its own label.
    assert 3.2 in {y for line in found.lines for _, y in points(line)}


@pytest.mark.parametrize("band", [False, True])
def test_there_is_no_line_through_two_points(band: bool) -> None:
    found = [Interval(1.0, 0.5, 1.5), Interval(2.0, 1.0, 3.0), Interval(3.0, float("nan"), float("nan"))]
    two, three = panel(), panel()
    course(two, [0, 1], found[:2], "C0", band=band)
    course(three, [0, 1, 2], found, "C0", band=band)
    assert (two.lines[0].get_linestyle(), three.lines[0].get_linestyle()) == ("None", "-")
    assert points(two.lines[0]) == [(0, 1), (1, 2)]
    # Bars where there is no band; none for a single seed.
    ends = [[(0, 0.5), (0, 1.5)], [(1, 1), (1, 3)]]
    assert [points(line) for line in two.lines[1:]] == ends
    assert [points(line) for line in three.lines[1:]] == ([] if band else ends)
    assert [isinstance(drawn, PolyCollection) for drawn in three.collections] == [True] * band


def test_small_panels_fill_line_by_line_and_the_lowest_name_the_axis() -> None:
    figure, found = multiples(4, 3, (1.5, 1.5), "weight")  # two lines of two, not of three and one
    assert len(found) == len([axes for axes in figure.axes if axes.axison]) == 4
    assert [axes.get_xlabel() for (axes,) in found] == ["", "", "weight", "weight"]
    _, five = multiples(5, 3, (1.5, 1.5), "weight", lines=2)
    assert [lower.get_xlabel() for _, lower in five] == ["", "", "weight", "weight", "weight"]
    assert {upper.get_xlabel() for upper, _ in five} == {""}
