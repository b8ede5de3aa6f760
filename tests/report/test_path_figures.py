"""The figure of a sweep: each loss's accuracy and objective by weight, and the weight that is chosen."""

import math
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.choice import choose
from bench.report.claims.rules import RULES
from bench.report.figures import style
from bench.report.path_figures import path
from tests.report.collected import swept
from tests.report.drawn import nothing_is_cut, points

#: Of two seeds: t, with one degree of freedom.
T = 12.706205


def drawn(tried: pd.DataFrame) -> tuple[Figure, dict[str, tuple[Axes, Axes]]]:
    """The figure, and the two panels of each loss."""
    with style():
        figure = path(tried, choose(tried, RULES))
        assert nothing_is_cut(figure)
    named = [axes for axes in figure.axes if axes.get_title()]
    below = {axes.get_title(): figure.axes[figure.axes.index(axes) + columns(figure)] for axes in named}
    return figure, {axes.get_title(): (axes, below[axes.get_title()]) for axes in named}


def columns(figure: Figure) -> int:
    place = figure.axes[0].get_subplotspec()
    assert place is not None
    return place.get_gridspec().ncols


def marked(panel: Axes, **look: Any) -> list[tuple[float, float]]:
    """The points of lines that have this look."""
    found = [line for line in panel.lines if all(getattr(line, f"get_{k}")() == v for k, v in look.items())]
    return [point for line in found for point in points(line)]


def course(panel: Axes) -> list[tuple[float, float]]:
    return marked(panel, marker="o", markersize=3.5)


def rings(panel: Axes, colour: str = ".1") -> list[tuple[float, float]]:
    return marked(panel, marker="o", markersize=10, markeredgecolor=colour)


def bands(panel: Axes) -> list[Any]:
    """The translucent patches of a panel."""
    patches: list[Any] = list(panel.patches)
    return [patch for patch in patches if patch.get_facecolor()[3] < 1]


def test_accuracy_and_objective_go_through_the_weights_and_the_chosen_one_is_ringed() -> None:
    tried = swept().assign(objective=lambda frame: 1 / (1 + frame["weight"]))
    figure, panels = drawn(tried)
    assert list(panels) == ["prototype-l1", "rrr", "hint"]
    upper, lower = panels["prototype-l1"]
    assert course(upper) == [(0.1, pytest.approx(93)), (1, pytest.approx(90.5)), (10, pytest.approx(89.5))]
    assert [y for _, y in course(lower)] == pytest.approx([1 / 1.1, 1 / 2, 1 / 11])
    # ce has .91 and a standard error of .0236: at 10 prototype-l1 has .895, and the lowest objective.
    assert rings(upper) == [(10, pytest.approx(89.5))]
    assert rings(lower) == [(10, pytest.approx(1 / 11))]
    (band,) = bands(upper)
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((91 - 2.3558, 91 + 2.3558), abs=1e-3)
    bars = [points(line) for line in upper.lines if line.get_marker() == "None"]
    half = T * 1.5  # by hand, at weight 1: 89 and 92, s = 3 / √2, half-width t · s / √2
    assert [(x, pytest.approx(y)) for x, y in bars[0]] == [(1, 90.5 - half), (1, 90.5 + half)]
    assert (upper.get_xscale(), [label.get_text() for label in lower.get_xticklabels()]) == ("log", ["0.1", "1", "10"])
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("accuracy, % →", "own objective ←")  # turned by a quarter
    assert figure.get_suptitle().startswith("digits, SimpleCNN, 23 px, n = 2")


def test_what_has_no_place_on_the_scale_is_told() -> None:
    _, panels = drawn(swept())
    upper, lower = panels["hint"]
    bottom = upper.get_ylim()[0]
    # At .1 hint has .70, at 1 .84; the scale goes down to three points below ce, and all panels share it.
    assert bottom == pytest.approx(88, abs=0.5)
    assert {axes.get_ylim() for axes, _ in panels.values()} == {upper.get_ylim()}
    assert [at for at, _ in marked(upper, marker="v")] == [0.1, 1]
    assert [text.get_text() for text in upper.texts] == ["70.0", "84.0"]
    assert rings(upper) == []
    assert rings(upper, ".7") == [(0.1, pytest.approx(70))]  # none competes
    assert [text.get_text() for text in lower.texts] == ["not measured"]
    # A seed of rrr at 1 failed, and what is left of it is no mean of both.
    assert [at for at, _ in course(panels["rrr"][0])] == [0.1]
    assert marked(panels["rrr"][0], marker="x") == [(1, pytest.approx(bottom))]


def test_there_is_no_line_through_two_weights_and_no_interval_of_one_seed() -> None:
    tried = swept()
    _, panels = drawn(tried[(tried["weight"] <= 1) & (tried["seed"] == 0)])
    upper, _ = panels["prototype-l1"]
    assert [line.get_linestyle() for line in upper.lines if line.get_markersize() == 3.5] == ["None"]
    assert [line for line in upper.lines if line.get_marker() == "None"] == []


def test_the_legend_names_what_is_drawn_and_nothing_else() -> None:
    figure, _ = drawn(swept().query("loss in ['ce', 'prototype-l1']"))
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {"the paper's losses", "ce: mean ± one standard error", "chosen weight"}


def test_a_sweep_without_its_baseline_is_drawn_without_the_band() -> None:
    _, panels = drawn(swept().query("loss == 'prototype-l1'"))
    upper, _ = panels["prototype-l1"]
    assert not bands(upper)
    assert all(math.isfinite(end) for end in upper.get_ylim())
