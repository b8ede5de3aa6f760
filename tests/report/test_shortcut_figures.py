"""The figures of a shortcut: accuracy by condition, reliance over epochs, reliance by dose."""

from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.collect import EPOCHS
from bench.report.figures import style
from bench.report.shortcut_figures import drawn
from tests.report.collected import ACCURACIES, HALF, rows
from tests.report.drawn import across, nothing_is_cut, points, row_labels

NO_EPOCHS = pd.DataFrame(columns=EPOCHS)
#: Accuracy with a true cue, a random one, a reversed one and without, less than `ACCURACIES`; and the reliance.
FALLS = {"true_accuracy": 0.0, "decoy_accuracy": 0.1, "reversed_accuracy": 0.3, "clean_accuracy": 0.05}


def cued(loss: str, *statuses: str, dataset: str = "decoy_mnist", backbone: str = "simple_cnn") -> list[dict[str, Any]]:
    """The rows of a cell whose accuracies are `ACCURACIES` less `FALLS`, by seed."""
    found = rows(loss, list(statuses) or ["ok"] * 3, dataset, backbone)
    for row in (row for row in found if row["status"] == "ok"):
        row |= {name: ACCURACIES[row["seed"]] - fall for name, fall in FALLS.items()} | {"reliance": 0.1}
    return found


def followed(loss: str, epochs: int, reliances: list[float]) -> list[dict[str, Any]]:
    """Reliance e · r after epoch e, r by seed."""
    about = {"dataset": "decoy_mnist", "backbone": "simple_cnn", "loss": loss, "resolution": 23}
    return [
        {**about, "seed": seed, "epoch": epoch, "true_accuracy": 0.9, "decoy_accuracy": 0.9 - epoch * reliance}
        for seed, reliance in enumerate(reliances)
        for epoch in range(1, epochs + 1)
    ]


def conditions(*cells: list[dict[str, Any]]) -> Figure:
    with style():
        figure = dict(drawn(pd.DataFrame(list(chain(*cells))), NO_EPOCHS))["conditions-decoy_mnist-simple_cnn-23"]
        assert nothing_is_cut(figure)
    return figure


def test_every_condition_has_a_panel_with_all_losses_and_the_baseline_across() -> None:
    figure = conditions(cued("ce"), cued("rrr"), cued("blob-ssim", "failed: NaN", "failed: NaN", "failed: NaN"))
    titles = ["cue is true", "cue is random", "cue is reversed", "no cue", "reliance: true − random"]
    assert [panel.get_title() for panel in figure.axes] == titles
    assert [panel.get_xlabel() for panel in figure.axes] == ["accuracy, % ↑"] * 4 + ["reliance, points ↓"]
    assert row_labels(figure.axes[0]) == ["the paper's losses", "ce", "controls", "blob-ssim", "baselines", "rrr"]
    for panel, fall in zip(figure.axes, FALLS.values(), strict=False):
        assert across(panel) == pytest.approx([100 * (0.93 - fall)])
        diamonds = [points(line)[0] for line in panel.lines if line.get_marker() == "D"]
        assert [x for x, _ in diamonds] == pytest.approx([100 * (0.93 - fall)] * 2)
        assert [round(y) for _, y in diamonds] == [1, 5]
        assert [(text.get_text(), text.get_position()[1]) for text in panel.texts] == [("failed", 3)]
    assert across(figure.axes[4]) == pytest.approx([10])


def test_a_network_that_is_known_to_fall_is_a_number_and_stretches_no_scale() -> None:
    known = cued("ce", backbone="perceptron")
    for row in known:
        row["decoy_accuracy"] -= 0.5
    labelled, with_it, *_ = conditions(cued("ce"), known).axes
    without = conditions(cued("ce")).axes[1]
    assert row_labels(labelled)[-2:] == ["known to fall for it", "perceptron, 23 px: ce (n = 3)"]
    assert [text.get_text() for text in with_it.texts] == [f"33.00 ± {100 * HALF:.2f}"]
    assert with_it.get_xlim() == without.get_xlim()


def test_cells_without_results_are_not_lost_and_images_without_cues_have_no_such_figure() -> None:
    missing = [*cued("ce", "missing", dataset="decoy_digits"), *cued("ce", "ok", dataset="mnist")]
    found = dict(drawn(pd.DataFrame(missing), NO_EPOCHS))
    assert set(found) == {"conditions-decoy_digits-simple_cnn-23"}
    (figure,) = found.values()
    assert [text.get_text() for panel in figure.axes for text in panel.texts] == ["missing"] * 5


def epochs(*followed: list[dict[str, Any]]) -> Figure:
    with style():
        figure = dict(drawn(pd.DataFrame(cued("ce")), pd.DataFrame(list(chain(*followed)))))[
            "epochs-decoy_mnist-simple_cnn-23"
        ]
        assert nothing_is_cut(figure)
    return figure


def lines(panel: Axes) -> list[list[float]]:
    """The heights of the points of each line through epochs."""
    return [[y for _, y in points(line)] for line in panel.lines if line.get_marker() == "o"]


def test_reliance_has_a_panel_for_each_loss_with_the_baseline_in_it() -> None:
    figure = epochs(
        followed("ce", 3, [0.1, 0.1]), followed("hint", 3, [0.02, 0.04]), followed("corner-ssim", 3, [0.05])
    )
    panels = [panel for panel in figure.axes if panel.get_title()]
    assert [panel.get_title() for panel in panels] == ["corner-ssim", "hint"]
    assert [pytest.approx([10, 20, 30]), pytest.approx([3, 6, 9])] == lines(panels[1])
    assert lines(panels[0])[1] == pytest.approx([5, 10, 15])
    assert panels[0].get_ylim() == panels[1].get_ylim()
    assert figure.get_suptitle().startswith("decoy MNIST, SimpleCNN, 23 px, n = 1 to 2")
    # By hand, after the third: 6 and 12 points, mean 9, s = 6 / √2, t = 12.706205, half-width t · s / √2.
    band = np.asarray(panels[1].collections[1].get_paths()[0].vertices)
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((9 - 12.706205 * 3, 9 + 12.706205 * 3))


def test_after_two_epochs_there_are_points_and_no_line() -> None:
    (panel,) = (p for p in epochs(followed("ce", 2, [0.1]), followed("hint", 2, [0.1])).axes if p.get_title())
    assert {line.get_linestyle() for line in panel.lines if line.get_marker() == "o"} == {"None"}


def doses(*names: str) -> dict[str, Figure]:
    cells = [row for name in names for row in cued("ce", dataset=name)] + cued("hint") + cued("rrr")
    cells += [row for name in names[1:] for row in cued("rrr", "ok", "failed: NaN", "failed: NaN", dataset=name)]
    return {name: figure for name, figure in drawn(pd.DataFrame(cells), NO_EPOCHS) if name.startswith("dose")}


def test_doses_go_from_cues_that_are_all_true_to_fewer() -> None:
    with style():
        (figure,) = doses("decoy_mnist", "decoy_mnist_90", "decoy_mnist_99").values()
        assert nothing_is_cut(figure)
    reliance, true, *_ = figure.axes
    assert [label.get_text() for label in true.get_xticklabels()] == ["100", "99", "90"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ce", "rrr"]  # hint has one dose
    assert (true.get_ylabel(), reliance.get_ylabel()) == ("accuracy, % →", "reliance, points ←")  # turned by a quarter
    marked = [line for line in true.lines if line.get_marker() in ("o", "s")]
    assert [[round(x) for x, _ in points(line)] for line in marked] == [[0, 1, 2]] * 2
    assert [y for _, y in points(marked[0])] == pytest.approx([93] * 3)
    assert [y for _, y in points(marked[1])] == pytest.approx([93, 92, 92])
    assert {line.get_linestyle() for line in marked} == {"-"}
    ((low, high), *_) = ([y for _, y in points(line)] for line in true.lines if line.get_marker() == "None")
    assert (low, high) == pytest.approx((93 - 100 * HALF, 93 + 100 * HALF))


def test_two_doses_have_no_line_and_one_has_no_figure() -> None:
    (figure,) = doses("decoy_mnist", "decoy_mnist_95").values()
    assert {line.get_linestyle() for line in figure.axes[0].lines if line.get_marker() in ("o", "s")} == {"None"}
    assert doses("decoy_mnist") == {}
