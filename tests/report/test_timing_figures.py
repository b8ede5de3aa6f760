"""The figures of the timings: each line is of its own contender."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes

from bench.report import timing_figures
from bench.report.figures import save, style
from bench.report.frames import Record
from tests.report.drawn import bars, points
from tests.report.timings import content, written

EXPLAIN = "#0B3C5D"  # its colour


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return written(content(), tmp_path)


def test_figures_are_drawn_of_what_was_measured(table: pd.DataFrame, tmp_path: Path) -> None:
    grown = table[table["kind"] == "maps"].assign(kind="growth")
    drawn = timing_figures.drawn(pd.concat([table, grown]))
    assert set(drawn) == {"timing-maps-cpu", "timing-step-cpu", "timing-growth-cpu"}
    with style():
        for name, figure in drawn.items():
            save(figure, tmp_path, name)
    axis = drawn["timing-maps-cpu"].axes[0]
    assert [(8.0, 2.5 / 8 * 1e3)] in [points(line) for line in axis.lines]  # the floor, ms per image
    assert points(drawn["timing-step-cpu"].axes[0].lines[0])[0][0] == 2
    assert timing_figures.drawn(table.iloc[:0]) == {}


def lines(axis: Axes) -> dict[str, list[tuple[float, float]]]:
    """The points of each line of a figure's panel, by its colour."""
    return {str(line.get_color()): points(line) for line in axis.lines}


def test_growth_is_drawn_of_the_settings_that_differ_in_one_thing() -> None:
    def grown(batch: int, px: int, classes: int, seconds: float) -> dict[str, Any]:
        about: Record = {
            "device": "cpu",
            "kind": "growth",
            "backbone": "resnet18",
            "layer": "layer4",
            "machine": "A CPU",
        }
        about |= {"contender": "explain", "status": "ok", "seconds": seconds, "peak_bytes": seconds * 2**20}
        return about | {"batch": batch, "resolution": px, "classes": classes}

    settings = [(2, 23, 10, 1.0), (8, 23, 10, 2.0), (32, 23, 10, 3.0), (8, 56, 10, 4.0), (8, 112, 10, 5.0)]
    settings += [(8, 23, 100, 6.0), (8, 23, 1000, 7.0)]
    figure = timing_figures.drawn(pd.DataFrame([grown(*s) for s in settings]))["timing-growth-cpu"]
    expected = [
        ("batch, resolution 23, classes 10", [(2, 1), (8, 2), (32, 3)]),
        ("resolution, batch 8, classes 10", [(23, 2), (56, 4), (112, 5)]),
        ("classes, batch 8, resolution 23", [(10, 2), (100, 6), (1000, 7)]),
    ]
    for factor, axes in ((1e3, figure.axes[:3]), (1, figure.axes[3:])):
        for axis, (title, line) in zip(axes, expected, strict=True):
            assert f"{axis.get_xlabel()}, {axis.get_title()}" == title
            assert lines(axis)[EXPLAIN] == [(x, y * factor) for x, y in line]


def test_a_panel_shows_one_layer_of_one_device_and_only_what_is_right(table: pd.DataFrame) -> None:
    ours = table[table["contender"] == "explain"]
    changes: list[dict[str, Any]] = [{}, {"layer": "layer3"}, {"device": "cuda"}, {"batch": 32, "status": "wrong: no"}]
    drawn = timing_figures.drawn(pd.concat([ours.assign(**change) for change in changes]))
    assert set(drawn) == {"timing-maps-cpu", "timing-maps-cuda"}
    titles = {name: [axis.get_title().split()[-1] for axis in f.axes] for name, f in drawn.items()}
    assert titles == {"timing-maps-cpu": ["layer3", "layer4"], "timing-maps-cuda": ["layer4"]}
    for axis in drawn["timing-maps-cpu"].axes + drawn["timing-maps-cuda"].axes:
        assert lines(axis)[EXPLAIN] == [(8, 7 / 8 * 1e3)]


def test_a_step_is_drawn_beside_its_name_from_end_to_end_of_its_interval(table: pd.DataFrame) -> None:
    axis = timing_figures.drawn(table)["timing-step-cpu"].axes[0]
    (((low, y), (high, _)),) = bars(axis)
    assert (low, high) == (2, 8)
    labels = {tick: label.get_text() for tick, label in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)}
    assert labels[y] == "prototype-l1"


@pytest.mark.parametrize("batches", [(8, 32), (2, 8, 32)])
def test_there_is_no_line_through_two_batch_sizes(table: pd.DataFrame, batches: tuple[int, ...]) -> None:
    maps = table[table["kind"] == "maps"]
    figure = timing_figures.drawn(pd.concat([maps.assign(batch=batch) for batch in batches]))["timing-maps-cpu"]
    styles = {line.get_linestyle() for axis in figure.axes for line in axis.lines if len(points(line)) > 1}
    keys = {line.get_linestyle() for line in figure.legends[0].get_lines()}
    assert styles == keys == {"None" if len(batches) == 2 else "-"}
