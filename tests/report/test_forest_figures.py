"""The forest plot: each effect beside its label, with its interval, margin and verdict."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from bench.report.figures import style
from bench.report.forest_figures import forest
from tests.report.drawn import across, nothing_is_cut, points, row_labels

NAN = math.nan


def effects(*rows: tuple[str, float, float, float, float, str], **others: Any) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "estimate", "low", "high", "margin", "verdict"]).assign(**others)


TWO = effects(("hint", 1.0, 0.5, 1.5, 0.2, "supported"), ("rrr", -0.1, -0.3, 0.1, 0.2, "inconclusive"))


def markers(panel: Axes) -> list[tuple[float, float]]:
    return [point for line in panel.lines if line.get_marker() == "s" for point in points(line)]


def intervals(panel: Axes) -> list[list[tuple[float, float]]]:
    found = [points(line) for line in panel.lines if len(points(line)) == 2]
    return [ends for ends in found if ends[0][1] == ends[1][1]]


def bands(panel: Axes) -> list[tuple[float, float, float, float]]:
    """(x0, y0, x1, y1) of each band of a margin."""
    found = [path.vertices for drawn in panel.collections for path in drawn.get_paths()]
    corners = [np.asarray(vertices) for vertices in found]
    return [(float(v[:, 0].min()), float(v[:, 1].min()), float(v[:, 0].max()), float(v[:, 1].max())) for v in corners]


def verdicts(panel: Axes) -> list[tuple[str, float]]:
    return [(text.get_text(), text.get_position()[1]) for text in panel.texts]


def legend(frame: pd.DataFrame, **named: str) -> list[str]:
    return [text.get_text() for text in forest(frame, "", **named).legends[0].get_texts()]


def test_each_effect_has_its_marker_interval_margin_and_verdict() -> None:
    with style():
        figure = forest(TWO, "the title")
        assert nothing_is_cut(figure)
    (panel,) = figure.axes
    assert figure.get_suptitle() == "the title"
    assert row_labels(panel) == ["hint", "rrr"]
    assert panel.get_ylim() == (1.5, -0.5)  # from the top
    assert markers(panel) == [(1, 0), (-0.1, 1)]
    assert intervals(panel) == [[(0.5, 0), (1.5, 0)], [(-0.3, 1), (0.1, 1)]]
    assert bands(panel) == [(-0.2, -0.5, 0.2, 0.5), (-0.2, 0.5, 0.2, 1.5)]
    assert across(panel) == [0]  # no effect
    (below,) = forest(TWO.assign(one_sided=True), "").axes
    assert bands(below) == [(-0.2, -0.5, 0, 0.5), (-0.2, 0.5, 0, 1.5)]
    assert verdicts(panel) == [("supported", 0), ("inconclusive", 1)]
    (noted,) = forest(TWO.assign(note=["", "p .127"]), "").axes
    assert [word for word, _ in verdicts(noted)] == ["supported", "inconclusive, p .127"]
    assert legend(TWO, margin="band of equivalence") == [
        "estimate, interval",
        "hollow: undecided",
        "band of equivalence",
    ]


def test_headings_stand_above_their_group_and_panels_share_the_lines() -> None:
    first = pd.concat([TWO.assign(group="digits"), TWO.assign(group="MNIST", estimate=0.3)])
    second = effects(("rrr", 7.0, 6.0, 8.0, NAN, "supported"), group="MNIST")
    frame = pd.concat([first.assign(panel="ROAD", better="more"), second.assign(panel="flips, %", better="less")])
    figure = forest(frame, "")
    left, right = figure.axes
    assert row_labels(left) == ["digits", "hint", "rrr", "MNIST", "hint", "rrr"]
    assert [y for _, y in markers(left)] == [1, 2, 4, 5]
    assert markers(right) == [(7, 5)]
    assert bands(right) == []
    assert (left.get_xlabel(), right.get_xlabel()) == ("ROAD\nbetter →", "flips, %\n← better")


def test_an_infinite_end_is_an_arrow_at_the_edge_and_a_missing_interval_a_point() -> None:
    frame = effects(
        ("one-sided", 1.0, 0.5, math.inf, NAN, "supported"),
        ("below", -1.0, -math.inf, 0.2, NAN, "contradicted"),
        ("one seed", 2.0, NAN, NAN, NAN, "not judged"),
        ("none", NAN, NAN, NAN, 0.1, "not measured"),
    )
    (panel,) = forest(frame, "").axes
    left, right = panel.get_xlim()
    assert intervals(panel) == [[(0.5, 0), (right, 0)], [(left, 1), (0.2, 1)]]
    assert [points(line) for line in panel.lines if line.get_marker() in ("<", ">")] == [[(right, 0)], [(left, 1)]]
    assert markers(panel) == [(1, 0), (-1, 1), (2, 2)]
    assert [word for word, _ in verdicts(panel)] == ["supported", "contradicted", "not judged", "not measured"]
    assert "no interval (n = 1)" in legend(frame)
    assert "no interval (n = 1)" not in legend(frame[frame["label"] != "one seed"])


def test_the_scale_has_room_for_margins_and_no_effect() -> None:
    (panel,) = forest(effects(("hint", 3.0, 2.0, 4.0, 6.0, "equivalent")), "").axes
    left, right = panel.get_xlim()
    assert left < -6
    assert right > 6
    (below,) = forest(effects(("hint", 3.0, 2.0, 4.0, 6.0, "supported")).assign(one_sided=True), "").axes
    left, right = below.get_xlim()
    assert left < -6
    assert 4 < right < 6  # the margin is below no effect alone


def test_what_no_plot_can_show_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        forest(TWO.iloc[:0], "")
    with pytest.raises(ValueError, match=r"two rows of a forest plot have the label 'hint'$"):
        forest(pd.concat([TWO, TWO]), "")
    with pytest.raises(ValueError, match=r"have the label 'rrr' in the panel 'ROAD'$"):
        forest(pd.concat([TWO, TWO[1:]]).assign(panel="ROAD"), "")
