"""The paper's tables: numbers against hand computation, marks, ranges, and nothing missing without a word."""

from pathlib import Path

import pandas as pd
import pytest

from bench.params import load
from bench.report.loss_tables import compared
from bench.report.rendering import Table, latex, markdown, write
from tests.report.collected import HALF, bounds, four_losses, rows

ROOT = Path(__file__).parents[2]
PROFILE = load(ROOT / "profiles/reduced/params.yaml")


def made(cells: pd.DataFrame, floors: pd.DataFrame | None = None) -> Table:
    return compared(cells, bounds() if floors is None else floors, PROFILE)


def shifted(loss: str, by: float, **where: str) -> pd.DataFrame:
    """A cell whose accuracies are .92, .93 and .94, and as much more."""
    cell = pd.DataFrame(rows(loss, ["ok"] * 3, **where))
    return cell.assign(accuracy=cell["accuracy"] + by)


def test_a_block_for_each_metric_with_means_intervals_and_losses_in_the_grids_order() -> None:
    table = made(four_losses())
    titles = ["Test accuracy, % ↑", "Test L1 ↓", "Test L2 ↓", "Test SSIM ↑"]
    assert [block.title for block in table.blocks] == titles
    row = table.blocks[0].cells.iloc[0]
    assert (row["dataset"], row["backbone"], row["px"], row["n"]) == ("digits", "ResNet-18", "23", "3")
    losses = ["prototype-ssim", "ce", "batchcam-l1", "batchcam-l2"]
    assert table.blocks[0].cells.columns.tolist()[4:] == losses
    assert row["prototype-ssim"] == "93.00 ± 2.48 *"
    assert table.blocks[1].cells.iloc[0]["prototype-ssim"].startswith("0.910 ± 0.025")


def test_fewer_seeds_are_counted_and_what_is_absent_says_why() -> None:
    table = made(four_losses())
    row = table.blocks[0].cells.iloc[0]
    assert row["ce"] == "92.00 (n=1 of 3) *"
    assert (row["batchcam-l1"], row["batchcam-l2"]) == ("failed", "missing")
    assert "digits, ResNet-18, 23 px, ce: missing (seeds 1, 2)." in table.notes
    assert any("failed: 100 % of a_b & c is NaN at step {3} (seeds 0, 1, 2)" in note for note in table.notes)


def test_the_best_of_the_papers_losses_is_marked_with_all_within_its_interval_and_no_control() -> None:
    # The interval of the best, 95 ± 2.48, holds 93 and not 92.
    cells = [
        shifted("ce", 0),
        shifted("prototype-l1", 0.02),
        shifted("prototype-l2", -0.01),
        shifted("blob-ssim", 0.05),
    ]
    row = made(pd.concat(cells)).blocks[0].cells.iloc[0]
    marked = [loss for loss in ("ce", "prototype-l1", "prototype-l2", "blob-ssim") if row[loss].endswith("*")]
    assert marked == ["ce", "prototype-l1"]
    less = [cell.assign(l1=cell["accuracy"]) for cell in cells]
    row = made(pd.concat(less)).blocks[1].cells.iloc[0]
    assert [loss for loss in ("ce", "prototype-l1", "prototype-l2") if row[loss].endswith("*")] == [
        "ce",
        "prototype-l2",
    ]


def test_floor_and_ceiling_stand_at_the_end_of_a_row() -> None:
    more = pd.DataFrame(
        [{"dataset": "digits", "resolution": 23, "kind": "floor", "backbones": "", "l1": 0.05, "ssim": 0.1}]
    )
    table = made(four_losses(), pd.concat([bounds(), more]))
    ends = {block.title: block.cells[["floor", "ceiling"]].to_numpy().tolist() for block in table.blocks[1:]}
    assert ends == {
        "Test L1 ↓": [["0.050", "0.030"]],
        "Test L2 ↓": [["0.014", "0.002"]],
        "Test SSIM ↑": [["0.479", "0.457"]],
    }
    (lacking,) = made(four_losses(), bounds().iloc[:0]).blocks[1].cells[["floor", "ceiling"]].to_numpy().tolist()
    assert lacking == ["–", "–"]


def test_a_baseline_outside_its_usual_range_is_named_with_what_it_was_trained_on() -> None:
    where = {"dataset": "mnist", "backbone": "resnet18"}
    low, good = shifted("ce", 0, **where), shifted("ce", 0.06, **where)
    at_its_end = shifted("ce", 0.0674, **where)  # 99.74 is 99.7
    table = made(low)
    assert table.blocks[0].cells.iloc[0]["usual for ce"] == "97.9 to 99.7"
    (note,) = [note for note in table.notes if note.startswith("Usual for ce")]
    settings = PROFILE.trained("resnet18", 23)
    trained = f"{settings.train_images:,} images, {settings.epochs} epoch"
    assert f"Outside it: MNIST, ResNet-18, 23 px (93.0; {trained}" in note
    (note,) = [note for note in made(good).notes if note.startswith("Usual for ce")]
    assert note.endswith("None lies outside it.")
    assert markdown(made(at_its_end)).count("None lies outside it.") == 1
    assert not any(note.startswith("Usual for ce") for note in made(four_losses()).notes)


def test_the_papers_own_numbers_are_said_to_be_unknown() -> None:
    for text in (markdown(made(four_losses())), latex(made(four_losses()))):
        assert "The paper's own numbers: not available" in text


def test_tidy_numbers_are_unrounded_fractions(tmp_path: Path) -> None:
    write(made(four_losses()), tmp_path)
    tidy = pd.read_csv(tmp_path / "losses.csv")
    (row,) = tidy[(tidy["loss"] == "prototype-ssim") & (tidy["metric"] == "accuracy")].to_dict("records")
    assert row["backbone"] == "resnet18"
    assert row["mean"] == pytest.approx(0.93, abs=1e-12)
    assert (row["low"], row["high"]) == pytest.approx((0.93 - HALF, 0.93 + HALF), abs=1e-6)
    assert (row["n"], row["seeds"], row["status"]) == (3, 3, "ok")
    (row,) = tidy[(tidy["loss"] == "ce") & (tidy["metric"] == "accuracy")].to_dict("records")
    assert (row["n"], row["seeds"], row["status"]) == (1, 3, "missing (seeds 1, 2)")
    assert pd.isna(row["low"])
    assert pd.isna(row["high"])
