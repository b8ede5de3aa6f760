"""The figures of numbers: every loss has its line, and the bytes repeat."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from bench.names import METRICS
from bench.report import figures
from bench.report.results import means
from tests.report.collected import bounds, cells_of
from tests.report.drawn import across, bars, nothing_is_cut, points, row_labels

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["accuracy", "reconstruction"])
def test_dot_plot_shows_every_loss_each_seed_and_the_interval(kind: str) -> None:
    cells = cells_of("ce", "batchcam-l2")
    metric, factor = ("accuracy", 100) if kind == "accuracy" else ("l1", 1)
    with figures.style():
        figure = (
            figures.accuracy(cells, "digits")
            if kind == "accuracy"
            else figures.reconstruction(cells, bounds(), "digits")
        )
        assert nothing_is_cut(figure)
    panel = figure.axes[0]
    assert row_labels(panel) == ["ce", "batchcam-l2"]
    assert [(text.get_text(), text.get_position()[1]) for text in panel.texts] == [("failed", 1)]
    assert any(axes.get_title().startswith("ResNet-18, 23 px") for axes in figure.axes)
    assert panel.get_xlabel() == ("test accuracy, % ↑" if kind == "accuracy" else "L1 ↓")
    ((found, _),) = means(cells[cells["loss"] == "ce"], [metric])
    (seeds,) = (at for at in map(points, panel.lines) if len(at) == 3)
    assert [x for x, _ in seeds] == pytest.approx((cells[metric].dropna() * factor).tolist())
    (bar,) = bars(panel)
    assert [x for x, _ in bar] == pytest.approx([found.low * factor, found.high * factor])


def test_floors_and_the_grids_own_ceiling_are_lines_for_each_distance() -> None:
    figure = figures.reconstruction(cells_of("ce"), bounds(), "digits")
    # Lines across a panel; the ceiling of SimpleCNN's grid is not drawn for ResNet-18's.
    assert [panel.get_xlabel() for panel in figure.axes] == ["L1 ↓", "L2 ↓", "SSIM ↑"]
    assert list(map(across, figure.axes)) == [[0.066, 0.03], [0.014, 0.002], [0.4789, 0.4567]]
    assert figure.axes[1].get_title() == "ResNet-18, 23 px, 3×3 grid, n = 3"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[2:] == ["floor: global mean image", "ceiling: best map of this grid"]


def test_the_saliency_figure_has_a_panel_for_each_metric_that_was_measured_and_a_line_for_each_loss() -> None:
    cells = cells_of("ce", "rrr", "batchcam-l2").assign(road=None, decoy_mass=None, coherence=0.0)  # 0 is measured
    with figures.style():
        figure = figures.saliency(cells)
        assert nothing_is_cut(figure)
    panels = [panel for panel in figure.axes if panel.get_xlabel()]
    expected = ["flips, % ↓", "energy on ink ↑", "specificity ↑", "coherence ↑"]  # the accuracies are elsewhere
    assert [panel.get_xlabel() for panel in panels] == expected
    assert figure.get_suptitle() == "digits, ResNet-18, 23 px, n = 3: what the maps show"
    rows = ["the paper's losses", "ce", "batchcam-l2", "baselines", "rrr"]
    assert row_labels(panels[0]) == row_labels(panels[3]) == rows  # shared along a row
    for panel in panels:
        assert [(text.get_text(), text.get_position()[1]) for text in panel.texts] == [("failed", 2)]
    seeds = next(at for at in map(points, panels[1].lines) if len(at) == 3)
    assert [x for x, _ in seeds] == pytest.approx(cells["epg_ink"][:3].tolist())
    assert across(panels[2]) == pytest.approx([cells["specificity"][:3].mean(), 0])  # ce, and a template


def test_without_a_cue_the_saliency_figure_begins_with_the_accuracy() -> None:
    without = {metric.name: None for metric in METRICS.values() if metric.group == "decoy"}
    assert figures.saliency(cells_of("ce").assign(**without)).axes[0].get_xlabel() == "accuracy, % ↑"


def test_the_saliency_figure_of_cells_without_results_says_so() -> None:
    figure = figures.saliency(cells_of("batchcam-l2"))
    assert [text.get_text() for text in figure.axes[0].texts] == ["failed"]


#: Draws and saves; run here and in a process of its own.
DRAWING = """
import torch
from bench.report import figures
from bench.report.mean_maps import Classes, drawn
from bench.report.mosaic import Row
with figures.style():
    maps = torch.rand(2, 23, 23, generator=torch.Generator().manual_seed(0))
    rows = [Row("ce ±×", maps), Row("prototype-l1", "missing")]
    figure = drawn(Classes("digits", 23, ("a", "b"), maps), [("", rows)], "t", "n", 0.8)
    figures.save(figure, directory, "maps")
"""


def test_bytes_repeat_in_another_process(tmp_path: Path) -> None:
    """Another process has other hashes of strings, another clock and another matplotlibrc."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    exec(DRAWING, {"directory": here})
    (tmp_path / "matplotlibrc").write_text("font.size: 20\naxes.facecolor: red\n")
    environment = os.environ | {
        "PYTHONHASHSEED": "1",
        "SOURCE_DATE_EPOCH": "1000000000",
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
    }
    code = f"from pathlib import Path\ndirectory = Path({str(there)!r})\n{DRAWING}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    for name in ("maps.png", "maps.pdf"):
        assert (here / name).read_bytes() == (there / name).read_bytes()
    assert b"CreationDate" not in (here / "maps.pdf").read_bytes()


def test_figures_are_saved_elsewhere_with_the_same_bytes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with figures.style(), figures.saving(there) as save:
        for loss in ("ce", "rrr"):
            save(loss, figures.saliency(cells_of(loss)))
            figures.save(figures.saliency(cells_of(loss)), here, loss)
    names = [f"{loss}.{ending}" for loss in ("ce", "rrr") for ending in ("pdf", "png")]
    assert sorted(path.name for path in there.iterdir()) == names
    for name in names:
        assert (here / name).read_bytes() == (there / name).read_bytes()


def test_a_figure_that_cannot_be_saved_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), figures.style(), figures.saving(tmp_path / "none") as save:
        save("ce", figures.saliency(cells_of("ce")))


def test_both_files_of_a_figure_have_one_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = []
    real = Figure.savefig

    def savefig(figure: Figure, *args: Any, **kwargs: Any) -> None:
        real(figure, *args, **kwargs)
        layouts.append([axes.get_position().bounds for axes in figure.axes])

    monkeypatch.setattr(Figure, "savefig", savefig)
    with figures.style():
        figures.save(figures.saliency(cells_of("ce")), tmp_path, "ce")
    assert layouts[0] == layouts[1]
