"""The figures of mean maps: every loss has its row, and the pictures are the cells' maps."""

from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from bench.report.figures import style
from bench.report.mean_maps import Classes, Measured, drawn, paper_figure, rows_of
from bench.report.mosaic import Row, blocks_by_group
from tests.report.collected import bounds, cells_of
from tests.report.drawn import nothing_is_cut, pixels, row_labels, words

#: Two classes of two bright pixels each, so that an error of position, class or scale shows.
PROTOTYPES = torch.zeros(2, 23, 23)
PROTOTYPES[0, 3:5, 3], PROTOTYPES[1, 12, 20:22] = 0.5, 0.8
CLASSES = Classes("fashion_mnist", 23, ("T-shirt/top", "Ankle boot"), PROTOTYPES)


def test_every_loss_has_its_row_and_what_is_missing_is_told() -> None:
    rows = [Row("ce\nSSIM 0.10", PROTOTYPES), Row("prototype-l1", "missing"), Row("batchcam-l1", PROTOTYPES)]
    with style():
        figure = drawn(CLASSES, [("", rows)], "the title", "the note", side=0.8)
        assert nothing_is_cut(figure)
    axes = figure.axes[0]
    assert row_labels(axes)[1:] == ["ce\nSSIM 0.10", "prototype-l1", "batchcam-l1"]
    assert row_labels(axes)[0].startswith("class prototype")
    assert [label.get_text() for label in axes.get_xticklabels()] == list(CLASSES.names)
    assert [text.get_text() for text in axes.texts] == ["missing"]
    assert axes.texts[0].get_position()[1] == axes.get_yticks()[2]
    assert {"the title", "the note", "value of map or prototype"} <= set(words(figure).splitlines())


def test_maps_stand_in_their_row_and_column_on_one_scale() -> None:
    rows = [Row("ce", PROTOTYPES.flip(0) / 2), Row("hint", "failed"), Row("rrr", PROTOTYPES / 4)]
    figure = drawn(CLASSES, [("first", rows[:2]), ("second", rows[2:])], "", "", side=0.8)
    axes = figure.axes[0]
    (image,) = axes.images
    assert image.get_clim() == (0, 1)
    assert figure.axes[1].get_ylim() == (0, 1)  # the colour bar
    assert axes.yaxis_inverted()
    picture = pixels(image)
    height, width = picture.shape
    assert tuple(image.get_extent()) == (0, width, height, 0)  # a pixel is a unit, the first line at the top
    middles = dict(zip(row_labels(axes), axes.get_yticks(), strict=True))
    covered = np.zeros(picture.shape, dtype=bool)
    for label, maps in {**{row.label: row.maps for row in rows}, row_labels(axes)[0]: PROTOTYPES}.items():
        for column, middle in enumerate(axes.get_xticks()):
            here = tuple(slice(int(centre - 11.5), int(centre + 11.5)) for centre in (middles[label], middle))
            if isinstance(maps, str):
                assert np.isnan(picture[here]).all()
                continue
            np.testing.assert_array_equal(picture[here], maps[column].numpy())
            covered[here] = True
    assert np.isnan(picture[~covered]).all()  # nothing between them


def test_blocks_are_named() -> None:
    blocks = [
        ("SimpleCNN", [Row("ce", PROTOTYPES)]),
        ("ResNet-18", [Row("ce", PROTOTYPES), Row("batchcam-ssim", "failed")]),
    ]
    with style():
        figure = drawn(CLASSES, blocks, "the title", "the note", side=0.56)
        assert nothing_is_cut(figure)
    assert row_labels(figure.axes[0])[1:] == ["ce", "ce", "batchcam-ssim"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["SimpleCNN", "failed", "ResNet-18"]


def test_a_long_name_of_a_class_is_no_wider_than_its_maps() -> None:
    with style():
        ten = CLASSES._replace(names=CLASSES.names * 5, prototypes=PROTOTYPES.repeat(5, 1, 1))
        figure = drawn(ten, [], "", "", side=0.56)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        widths = [label.get_window_extent().width for label in axes.get_xticklabels()]
        pixel = axes.get_window_extent().width / pixels(axes.images[0]).shape[1]
    assert max(widths) <= 23 * pixel


def test_losses_stand_by_group_and_a_group_of_one_has_no_name() -> None:
    rows = {loss: Row(loss, "missing") for loss in ("hint", "noise-ssim", "ce", "blob-ssim")}
    controls = ("controls", [rows["blob-ssim"], rows["noise-ssim"]])
    assert blocks_by_group(rows) == [("", [rows["ce"]]), controls, ("", [rows["hint"]])]
    assert blocks_by_group({loss: rows[loss] for loss in ("noise-ssim", "blob-ssim")}) == [("", controls[1])]


def test_the_papers_figures_are_named_as_its_captions_have_them() -> None:
    assert paper_figure("mnist", "resnet18", 23).startswith("Answers the paper's figure 2")
    assert paper_figure("mnist", "convnextv2_tiny", 23).startswith("Answers the paper's figure 2")
    assert "figures 3 (CNN, cross-entropy" in paper_figure("mnist", "simple_cnn", 23)
    assert paper_figure("mnist", "convnextv2_tiny", 112).startswith("Answers the paper's figure 5")
    assert paper_figure("fashion_mnist", "convnextv2_tiny", 112).startswith("Counterpart on Fashion-MNIST of")
    assert paper_figure("digits", "resnet18", 23).startswith("Counterpart on digits of the paper's figure 2")
    for other in (("mnist", "resnet18", 112), ("mnist", "simple_cnn", 28), ("digits", "convnextv2_tiny", 32)):
        assert paper_figure(*other).startswith("None of the paper's figures")


def test_maps_of_a_cell_that_is_not_ok_are_not_shown(tmp_path: Path) -> None:
    run = tmp_path / "digits-resnet18-ce-23"
    run.mkdir()
    safetensors.torch.save_file({"class_means": torch.rand(3, 10, 3, 3)}, run / "maps.safetensors")
    classes = CLASSES._replace(dataset="digits")
    for status, row in (("stale", Row("ce", "stale")), ("ok", None)):
        measured = Measured(tmp_path, cells_of("ce").assign(status=status), bounds())
        found, grids, seeds = rows_of(measured, classes, "resnet18", ["ce", "none"])
        assert found[1] == Row("none", "missing")
        assert (found[0] == row) if row else isinstance(found[0].maps, torch.Tensor)
        assert (grids, seeds) == (["3×3"] if row is None else [], 3)


def test_a_row_of_fewer_seeds_than_the_others_says_how_many(tmp_path: Path) -> None:
    cells = pd.concat([cells_of("ce"), cells_of("blob-ssim").iloc[:2], cells_of("rrr")])
    cells.loc[cells["loss"].eq("rrr") & cells["seed"].gt(0), "status"] = "missing"
    for loss in ("ce", "blob-ssim", "rrr"):
        run = tmp_path / f"digits-resnet18-{loss}-23"
        run.mkdir()
        safetensors.torch.save_file({"class_means": torch.rand(3, 10, 3, 3)}, run / "maps.safetensors")
    measured, classes = Measured(tmp_path, cells, bounds()), CLASSES._replace(dataset="digits")
    found = rows_of(measured, classes, "resnet18", ["blob-ssim", "ce", "rrr"])
    assert [row.label.split("\n")[2:] for row in found.rows] == [["n = 2"], [], ["n = 1 of 3"]]
    assert found.seeds == 3
