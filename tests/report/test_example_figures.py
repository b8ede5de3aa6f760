"""The figure of single images: the images that a cell was tested on, with their own maps and the patch where it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batchcam import resize_maps
from bench.cell import colors
from bench.cell.data import PARTS, Split
from bench.cell.decoys import masks
from bench.cell.images import resize, subset
from bench.errors import BenchError
from bench.report.example_figures import examples
from bench.report.figures import style
from tests.report.collected import rows
from tests.report.drawn import nothing_is_cut, pixels, row_labels

PX = 23
MAPS = torch.linspace(0, 1, 2 * 10 * 9).reshape(2, 10, 3, 3).half()  # (seeds,classes,h,w)
NAMES = [f"class {c}" for c in range(10)]
RUNS = Path("runs")


def split(dataset: str) -> Split:
    """Forty images, each its own grey in the middle; a cue names the class two further."""
    labels = torch.arange(40) % 10
    images = torch.zeros(40, 28, 28, dtype=torch.uint8)
    images[:, 10:18, 10:18] = torch.arange(100, 140, dtype=torch.uint8)[:, None, None]
    named = (labels + 2) % 10
    if dataset == "color_mnist":
        return Split(images, labels, named.to(torch.uint8))
    return Split(images, labels, (255 - 25 * named).to(torch.uint8), (torch.arange(40) % 4).to(torch.uint8))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for dataset in ("decoy_mnist", "color_mnist"):
        parts = {k: v for k, v in split(dataset)._asdict().items() if v is not None}
        found = {f"{part}_{k}": v.to(torch.uint8).clone() for part in PARTS for k, v in parts.items()}
        about = {"about": f'{{"class_names": {NAMES}}}'.replace("'", '"')}
        safetensors.torch.save_file(found, f"data/{dataset}.safetensors", about)
    return tmp_path


def left(dataset: str, loss: str, test_images: int | None, maps: torch.Tensor = MAPS) -> None:
    """What a cell leaves of the first tested image of each class."""
    labels = subset(split(dataset), test_images).labels
    first = torch.stack([(labels == c).nonzero()[0, 0] for c in range(10)])
    run = RUNS / f"{dataset}-simple_cnn-{loss}-{PX}"
    run.mkdir(parents=True)
    safetensors.torch.save_file({"examples": maps, "example_indices": first}, run / "maps.safetensors")


def drawn(cells: pd.DataFrame, test_images: int | None = None) -> Figure:
    with style():
        figure = examples(RUNS, cells, test_images)
        assert figure is not None
        assert nothing_is_cut(figure)
    return figure


def cells(dataset: str = "decoy_mnist", **by_loss: list[str]) -> pd.DataFrame:
    statuses = by_loss or {"ce": ["ok"] * 2}
    return pd.DataFrame(
        [row for loss, of in statuses.items() for row in rows(loss.replace("_", "-"), of, dataset, "simple_cnn")]
    )


def here(axes: Axes, row: int, column: int) -> tuple[int, int]:
    """The top and the left edge of a map."""
    return round(axes.get_yticks()[row] - PX / 2), round(axes.get_xticks()[column] - PX / 2)


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("test_images", [None, 35])
def test_each_image_stands_above_its_maps_with_the_patch_outlined_in_both(test_images: int | None) -> None:
    left("decoy_mnist", "ce", test_images)
    axes = drawn(cells(), test_images).axes[0]
    tested = subset(split("decoy_mnist"), test_images)
    maps, strip = axes.images
    assert strip.get_extent()[3] == here(axes, 0, 0)[0]
    patches: list[Any] = list(axes.patches)
    outlines = {(round(p.get_x(), 3), round(p.get_y(), 3)) for p in patches}
    assert len(outlines) == 20
    for c in range(10):
        (i, *_) = (tested.labels == c).nonzero()[:, 0].tolist()
        assert tested.corners is not None
        _, x = here(axes, 0, c)
        picture = np.asarray(strip.get_array())[:, x : x + PX]
        patch = resize(masks(tested.corners[i : i + 1]), PX)[0, 0].numpy()
        clean = resize(tested.images[i : i + 1], PX)[0, 0].numpy()
        np.testing.assert_allclose(picture[..., 0][patch == 0], clean[patch == 0], atol=1e-6)
        named = (255 - 25 * ((c + 2) % 10)) / 255
        np.testing.assert_allclose(picture[..., :3][patch > 0.999], named, atol=1e-3)
        for row in (0, 1):
            top, x = here(axes, row, c)
            corner = int(tested.corners[i])
            far = PX - PX / 7
            assert (round(x + corner % 2 * far, 3), round(top + corner // 2 * far, 3)) in outlines
        top, x = here(axes, 1, c)
        expected = resize_maps(MAPS[0].float(), PX)[c]  # seed 0
        np.testing.assert_allclose(pixels(maps)[top : top + PX, x : x + PX], expected.numpy(), rtol=1e-6)
    headings = [label.get_text() for label in axes.get_xticklabels()]
    assert headings == [f"class {c}\n“class {(c + 2) % 10}”" for c in range(10)]


@pytest.mark.usefixtures("tree")
def test_losses_stand_by_group_with_their_decoy_mass_and_what_is_missing_is_told() -> None:
    for loss in ("ce", "hint", "blob-ssim"):
        left("decoy_mnist", loss, None)
    two = ["ok"] * 2
    found = cells("decoy_mnist", hint=two, ce=two, noise_ssim=["failed: NaN"] * 2, blob_ssim=["stale"] * 2, rrr=two)
    found["decoy_mass"] = found["decoy_mass"].where(found["status"] != "ok", 0.0312)
    axes = drawn(found).axes[0]
    mass = "\ndecoy mass 3.1 %"
    order = ["ce" + mass, "blob-ssim", "noise-ssim", "rrr", "hint" + mass]
    assert row_labels(axes)[1:] == order
    assert [text.get_text() for text in axes.texts] == ["stale", "failed", "controls", "missing", "baselines"]
    assert len([patch for patch in axes.patches if not patch.get_fill()]) == 10 * 3


@pytest.mark.usefixtures("tree")
def test_colours_are_shown_and_nothing_is_outlined() -> None:
    left("color_mnist", "ce", None)
    axes = drawn(cells("color_mnist")).axes[0]
    _, x = here(axes, 0, 3)
    middle = np.asarray(axes.images[1].get_array())[PX // 2, x + PX // 2, :3]
    assert middle == pytest.approx(colors.PALETTE[5].float().numpy() * 103 / 255 / 255, abs=3e-3)
    assert not axes.patches


@pytest.mark.usefixtures("tree")
def test_without_maps_or_without_a_cue_there_is_no_figure_and_damage_is_one_sentence() -> None:
    assert examples(RUNS, cells(), None) is None
    left("decoy_mnist", "ce", None)
    assert examples(RUNS, cells(ce=["stale"] * 2), None) is None
    left("mnist", "ce", None)
    assert examples(RUNS, cells("mnist"), None) is None
    path = RUNS / f"decoy_mnist-simple_cnn-ce-{PX}" / "maps.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(BenchError, match=f"^{path} is damaged .*: python -m bench cell makes it again$"):
        examples(RUNS, cells(), None)
