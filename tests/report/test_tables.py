"""The tables: numbers against hand computation, and nothing missing without a word."""

import math

import pandas as pd
import pytest

from bench.names import METRICS
from bench.report import tables
from bench.report.frames import records
from bench.report.rendering import latex, markdown
from bench.report.tables import DECOYED, METHODS, SALIENCY
from tests.report.collected import EVIDENCE, ORDER, bounds, chosen, four_losses, rows, swept


@pytest.fixture
def cells() -> pd.DataFrame:
    return four_losses()


def test_losses_stand_in_the_grids_order(cells: pd.DataFrame) -> None:
    losses = ["prototype-ssim", "ce", "batchcam-l1", "batchcam-l2"]
    assert tables.reconstruction(cells, bounds()).blocks[0].cells["loss"].tolist()[:4] == losses


def test_fewer_seeds_are_counted_and_one_has_no_interval(cells: pd.DataFrame) -> None:
    row = tables.reconstruction(cells, bounds()).blocks[0].cells.iloc[1]
    assert (row["n"], row["L1 ↓"]) == ("1 of 3", "0.900")


def test_a_cell_without_results_says_why(cells: pd.DataFrame) -> None:
    reconstruction = tables.reconstruction(cells, bounds())
    for loss, word in (("batchcam-l1", "failed"), ("batchcam-l2", "missing")):
        cell = reconstruction.blocks[0].cells.set_index("loss").loc[loss]
        assert cell["n"] == "0 of 3"
        assert set(cell.iloc[2:]) == {word}
    failed = "digits, ResNet-18, 23 px, batchcam-l1: failed: 100 % of a_b & c is NaN at step {3} (seeds 0, 1, 2)."
    missing = "digits, ResNet-18, 23 px, batchcam-l2: missing (seeds 0, 1, 2)."
    assert reconstruction.notes[-2:] == [failed, missing]
    alike = pd.concat([cells, cells[cells["loss"] == "batchcam-l2"].assign(loss="blob-ssim")])
    assert tables.problems(alike)[-1] == missing.replace("l2:", "l2, blob-ssim:")


def test_reconstruction_columns_hold_their_metrics(cells: pd.DataFrame) -> None:
    row = tables.reconstruction(cells, bounds()).blocks[0].cells.iloc[0]
    columns = {
        "L1 ↓": "l1",
        "L2 ↓": "l2",
        "SSIM ↑": "ssim",
        "SSIM of non-zero maps ↑": "ssim_nonzero",
        "class-mean L1 ↓": "class_mean_l1",
        "class-mean L2 ↓": "class_mean_l2",
        "class-mean SSIM ↑": "class_mean_ssim",
    }
    for heading, metric in columns.items():
        assert row[heading] == f"{0.93 - ORDER.index(metric) / 100:.3f} ± 0.025", heading
    assert row["zero maps, %"] == f"{93 - ORDER.index('zero_map_rate'):.1f} ± 2.5"
    assert row.index.tolist() == ["backbone", "loss", "n", *columns, "zero maps, %"]


def test_no_value_over_non_zero_maps_is_told_from_a_missing_cell(cells: pd.DataFrame) -> None:
    cells.loc[cells["seed"] == 0, "ssim_nonzero"] = None
    block = tables.reconstruction(cells, bounds()).blocks[0].cells
    assert block.iloc[0]["SSIM of non-zero maps ↑"].endswith("(n=2)")
    assert block.iloc[1]["SSIM of non-zero maps ↑"] == "–"


def test_floors_and_ceilings_stand_below_their_block(cells: pd.DataFrame) -> None:
    table = tables.reconstruction(cells, bounds())
    block = table.blocks[0]
    assert block.rule_above == 4
    below = block.cells.iloc[4:][["backbone", "loss", "L1 ↓", "SSIM ↑", "class-mean SSIM ↑"]].to_numpy().tolist()
    assert below == [
        ["floor", "global mean image", "0.066", "0.479", "–"],
        ["ceiling", "3×3 grid (ResNet-18, ConvNeXt-V2-Tiny)", "0.030", "0.457", "–"],
        ["ceiling", "5×5 grid (SimpleCNN)", "0.020", "0.700", "–"],
    ]
    tidy = table.tidy[(table.tidy["kind"] == "floor") & (table.tidy["metric"] == "ssim")]
    assert tidy["mean"].tolist() == [0.4789]


def test_lacking_bounds_are_named(cells: pd.DataFrame) -> None:
    more = pd.concat([cells, pd.DataFrame(rows("ce", ["ok"], dataset="mnist"))])
    notes = tables.reconstruction(more, bounds().iloc[[0, 2]]).notes
    assert "digits, 23 px: the ceiling of ResNet-18's grid is missing." in notes
    assert "MNIST, 23 px: the floors are missing." in notes


def test_the_papers_numbers_are_said_to_be_unknown(cells: pd.DataFrame) -> None:
    table = tables.reconstruction(cells, bounds())
    assert "The paper's own numbers: not available" in markdown(table)
    assert "The paper's own numbers: not available" in latex(table)


def test_the_saliency_table_shows_decoys_where_there_are_some_and_road_where_it_was_measured() -> None:
    clean, decoyed = rows("ce", ["ok"] * 3), rows("ce", ["ok"] * 3, dataset="decoy_digits")
    cells = pd.DataFrame(clean + decoyed).astype({"road": float})
    cells.loc[cells["dataset"] == "digits", [*DECOYED, "road"]] = None
    first, second = tables.saliency(cells).blocks
    assert (first.title, second.title) == ("Maps on digits, 23 px", "Maps on decoy digits, 23 px")
    maps = ["energy on ink ↑", "specificity ↑", "coherence ↑"]
    left_out = ["undefined maps", "lone images"]
    assert first.cells.columns.tolist() == ["backbone", "loss", "n", "accuracy, % ↑", *maps, *left_out]
    decoy = [METRICS[name].heading for name in DECOYED]
    assert decoy[:2] == ["accuracy, true cue, % ↑", "random cue, % ↑"]
    assert second.cells.columns.tolist() == ["backbone", "loss", "n", *decoy, *maps, "ROAD ↑", *left_out]
    headings = dict(zip([*decoy, *maps, "ROAD ↑", *left_out], [*DECOYED, *SALIENCY], strict=True))
    for heading, metric in headings.items():
        mean = 0.93 - ORDER.index(metric) / 100
        shown, rounding = float(second.cells.iloc[0][heading].split()[0]), 0.5 if heading == "lone images" else 0.05
        assert shown == pytest.approx(mean * METRICS[metric].factor, abs=rounding + 1e-9), heading
    assert second.cells.iloc[0]["random cue, % ↑"] == "77.00 ± 2.48"


def test_the_saliency_table_counts_and_says_what_is_missing(cells: pd.DataFrame) -> None:
    cells.loc[(cells["loss"] == "prototype-ssim") & (cells["seed"] == 0), "specificity"] = None
    cells.loc[cells["loss"] == "prototype-ssim", "undefined_maps"] = [2, 0, 4]
    table = tables.saliency(cells)
    first, ce, *absent = records(table.blocks[0].cells)
    assert first["specificity ↑"].endswith("(n=2)")
    assert first["undefined maps"].startswith("2.0 ± ")
    assert ce["n"] == "1 of 3"
    assert [set(list(row.values())[3:]) for row in absent] == [{"failed"}, {"missing"}]
    assert table.notes[-3:] == tables.reconstruction(cells, bounds()).notes[-3:]
    tidy = table.tidy[(table.tidy["loss"] == "prototype-ssim") & (table.tidy["metric"] == "specificity")].iloc[0]
    assert (tidy["n"], tidy["seeds"]) == (2, 3)


def test_maps_by_other_methods_stand_beside_grad_cams_and_decoy_mass_where_there_are_decoys() -> None:
    clean, decoyed = rows("ce", ["ok"] * 3), rows("ce", ["ok", "failed: x", "ok"], dataset="decoy_digits")
    table = tables.methods(pd.DataFrame(clean + decoyed))
    first, second = (block.cells for block in table.blocks)
    plain = [name for name in METHODS if not name.endswith("decoy_mass")]
    assert plain == ["ssim", "epg_ink", "hires_cam_ssim", "hires_cam_epg_ink", "layer_cam_ssim", "layer_cam_epg_ink"]
    assert first.columns.tolist()[3:] == [METRICS[name].heading for name in plain]
    assert second.columns.tolist()[3:] == [METRICS[name].heading for name in METHODS]
    mean = 0.93 - ORDER.index("layer_cam_ssim") / 100
    assert float(first.iloc[0]["LayerCAM: SSIM ↑"].split()[0]) == pytest.approx(mean, abs=1e-3)
    assert second.iloc[0]["n"] == "2 of 3"
    assert table.notes[-1] == "decoy digits, ResNet-18, 23 px, ce: failed: x (seed 1)."


def test_the_sweep_table_has_a_column_for_each_weight_and_says_what_was_chosen() -> None:
    table = tables.sweep(swept(), chosen(), EVIDENCE)
    accuracy, specificity = table.blocks
    assert accuracy.title == "Validation accuracy, % ↑, by weight: digits, SimpleCNN, 23 px"
    assert accuracy.cells.to_numpy().tolist() == [
        ["ce", "91.00", "–", "–", "–", "–"],
        ["prototype-l1", "–", "93.00", "90.50", "89.50", "10"],
        ["hint", "–", "70.00", "84.00", "–", "0.1 (none competes)"],
        ["rrr", "–", "93.00", "failed", "–", "0.1"],
    ]
    assert accuracy.cells.columns.tolist() == ["loss", "0", "0.1", "1", "10", "chosen"]
    assert specificity.cells.iloc[1].tolist() == ["prototype-l1", "–", "0.233", "0.226", "0.224", "10"]
    assert table.notes[0].startswith("Means over 2 seeds;")
    assert "training, of 2 epochs, where a cell has 10." in table.notes[0]
    assert table.notes[-1] == "rrr, weight 1, seed 1: failed: NaN at step 3."
    assert len(table.tidy) == 16


def test_a_sweep_that_is_missing_is_told_and_nothing_is_chosen_of_it() -> None:
    setting = {"dataset": "digits", "backbone": "simple_cnn", "resolution": 23}
    rows = pd.concat([swept(), pd.DataFrame([setting | {"loss": "blob-ssim", "status": "missing"}])], ignore_index=True)
    nothing = pd.DataFrame([setting | {"loss": "blob-ssim", "weight": math.nan, "competitive": False}])
    table = tables.sweep(rows, pd.concat([chosen(), nothing], ignore_index=True), EVIDENCE)
    assert table.blocks[0].cells.iloc[-1].tolist() == ["blob-ssim", *["–"] * 5]
    assert table.notes[-1] == "blob-ssim: missing."


def test_a_weight_that_the_cells_do_not_have_is_told() -> None:
    table = tables.sweep(swept(), chosen().assign(used=[10, 0.1, 10]), EVIDENCE)
    assert table.blocks[0].cells["chosen"].tolist()[1:] == ["10", "0.1 (none competes)", "0.1 (the cells have 10)"]
