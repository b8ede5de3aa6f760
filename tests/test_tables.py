"""bench.tables: numbers against hand computation, and nothing missing without a word."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from bench import tables
from bench.collect import METRICS, SALIENCY, SWEPT, SWEPT_METRICS
from bench.errors import BenchError

# By hand: mean .93, s = .01, t = 4.302653, half-width .024841 = 4.302653 · .01 / √3
ACCURACIES = [0.92, 0.93, 0.94]
HALF = 0.0248414


def rows(
    loss: str, statuses: list[str], dataset: str = "digits", backbone: str = "resnet18"
) -> list[dict[str, object]]:
    """The rows of a cell at 23 px with these statuses, one per seed; metric k of `METRICS` is accuracy − k / 100."""
    found = []
    for seed, status in enumerate(statuses):
        key = {"dataset": dataset, "backbone": backbone, "loss": loss, "resolution": 23, "seed": seed, "status": status}
        numbers = {metric: ACCURACIES[seed] - k / 100 for k, metric in enumerate(METRICS)} if status == "ok" else {}
        found.append({**key, **dict.fromkeys(METRICS), **numbers})
    return found


def bounds() -> pd.DataFrame:
    """One floor and two ceilings of digits at 23 px."""
    columns = ["dataset", "resolution", "kind", "name", "backbones", "l1", "l2", "ssim"]
    return pd.DataFrame(
        [
            ("digits", 23, "floor", "global mean image", "", 0.066, 0.014, 0.4789),
            ("digits", 23, "ceiling", "3×3 grid", "resnet18, convnextv2_tiny", 0.03, 0.002, 0.4567),
            ("digits", 23, "ceiling", "5×5 grid", "simple_cnn", 0.02, 0.001, 0.7),
        ],
        columns=columns,
    )


def swept(dataset: str = "digits") -> pd.DataFrame:
    """A sweep of SimpleCNN at 23 px by loss, weight and the accuracies of two seeds; None is a training that failed."""
    tried = [
        ("ce", 0, 0.9, 0.92),
        ("prototype-l1", 0.1, 0.93, 0.93),
        ("prototype-l1", 1, 0.89, 0.92),
        ("prototype-l1", 10, 0.89, 0.9),
        ("hint", 0.1, 0.7, 0.7),
        ("hint", 1, 0.8, 0.88),
        ("rrr", 0.1, 0.93, 0.93),
        ("rrr", 1, 0.99, None),
    ]
    found: list[dict[str, object]] = []
    for loss, weight, *accuracies in tried:
        for seed, accuracy in enumerate(accuracies):
            numbers = {"accuracy": accuracy, "epg_ink": accuracy / 2, "specificity": accuracy / 4} if accuracy else {}
            place = {"dataset": dataset, "backbone": "simple_cnn", "resolution": 23}
            status = "ok" if accuracy else "failed: NaN at step 3"
            found.append({**place, "loss": loss, "weight": weight, "seed": seed, "status": status, **numbers})
    return pd.DataFrame(found, columns=[*SWEPT, *SWEPT_METRICS])


def chosen() -> pd.DataFrame:
    """What is chosen of `swept`: at least .90 is asked for."""
    rows = [("prototype-l1", 1, 0.905, True), ("hint", 0.1, 0.7, False), ("rrr", 0.1, 0.93, True)]
    place = {"dataset": "digits", "backbone": "simple_cnn", "resolution": 23}
    return pd.DataFrame(
        [place | dict(zip(("loss", "weight", "accuracy", "competitive"), r, strict=True)) for r in rows]
    )


@pytest.fixture
def cells() -> pd.DataFrame:
    """Four losses: complete, one of three seeds, failed, and never run."""
    failed = "failed: 100 % of a_b & c is NaN\nat step {3}"
    return pd.DataFrame(
        rows("prototype-ssim", ["ok"] * 3)
        + rows("ce", ["ok", "missing", "missing"])
        + rows("batchcam-l1", [failed] * 3)
        + rows("batchcam-l2", ["missing"] * 3)
    )


def test_accuracy_is_the_mean_with_its_interval_in_percent(cells: pd.DataFrame) -> None:
    row = tables.accuracy(cells).blocks[0].cells.iloc[0]
    assert row["prototype-ssim"] == "93.00 ± 2.48"
    assert (row["dataset"], row["backbone"], row["px"], row["n"]) == ("digits", "ResNet-18", "23", "3")


def test_tidy_numbers_are_unrounded_fractions(cells: pd.DataFrame, tmp_path: Path) -> None:
    tables.write(tables.accuracy(cells), tmp_path)
    tidy = pd.read_csv(tmp_path / "accuracy.csv")
    row = tidy[(tidy["loss"] == "prototype-ssim") & (tidy["metric"] == "accuracy")].iloc[0]
    assert row["backbone"] == "resnet18"
    assert row["mean"] == pytest.approx(0.93, abs=1e-12)
    assert (row["low"], row["high"]) == pytest.approx((0.93 - HALF, 0.93 + HALF), abs=1e-6)
    assert (row["n"], row["seeds"], row["status"]) == (3, 3, "ok")


def test_losses_stand_in_the_grids_order(cells: pd.DataFrame) -> None:
    losses = ["prototype-ssim", "ce", "batchcam-l1", "batchcam-l2"]
    assert tables.accuracy(cells).blocks[0].cells.columns[4:].tolist() == losses
    assert tables.reconstruction(cells, bounds()).blocks[0].cells["loss"].tolist()[:4] == losses


def test_fewer_seeds_are_counted_and_one_has_no_interval(cells: pd.DataFrame) -> None:
    accuracy = tables.accuracy(cells)
    assert accuracy.blocks[0].cells.iloc[0]["ce"] == "92.00 (n=1 of 3)"
    assert "digits, ResNet-18, 23 px, ce: missing (seeds 1, 2)." in accuracy.notes
    tidy = accuracy.tidy[accuracy.tidy["loss"] == "ce"].iloc[0]
    assert (tidy["n"], tidy["seeds"], tidy["status"]) == (1, 3, "missing (seeds 1, 2)")
    assert pd.isna(tidy["low"])
    assert pd.isna(tidy["high"])
    reconstruction = tables.reconstruction(cells, bounds()).blocks[0].cells.iloc[1]
    assert (reconstruction["n"], reconstruction["L1 ↓"]) == ("1 of 3", "0.900")


def test_a_cell_without_results_says_why(cells: pd.DataFrame) -> None:
    accuracy = tables.accuracy(cells)
    row = accuracy.blocks[0].cells.iloc[0]
    assert (row["batchcam-l1"], row["batchcam-l2"]) == ("failed", "missing")
    assert any("failed: 100 % of a_b & c is NaN at step {3} (seeds 0, 1, 2)" in note for note in accuracy.notes)
    reconstruction = tables.reconstruction(cells, bounds())
    for loss, word in (("batchcam-l1", "failed"), ("batchcam-l2", "missing")):
        cell = reconstruction.blocks[0].cells.set_index("loss").loc[loss]
        assert cell["n"] == "0 of 3"
        assert set(cell.iloc[2:]) == {word}
    assert reconstruction.notes[-3:] == accuracy.notes[-3:]


def test_reconstruction_columns_hold_their_metrics(cells: pd.DataFrame) -> None:
    row = tables.reconstruction(cells, bounds()).blocks[0].cells.iloc[0]
    places = {
        "L1 ↓": "l1",
        "L2 ↓": "l2",
        "SSIM ↑": "ssim",
        "SSIM of non-zero maps ↑": "ssim_nonzero",
        "class-mean L1 ↓": "class_mean_l1",
        "class-mean L2 ↓": "class_mean_l2",
        "class-mean SSIM ↑": "class_mean_ssim",
    }
    for heading, metric in places.items():
        assert row[heading] == f"{0.93 - METRICS.index(metric) / 100:.3f} ± 0.025", heading
    assert row["zero maps, %"] == f"{93 - METRICS.index('zero_map_rate'):.1f} ± 2.5"
    assert row.index.tolist() == ["backbone", "loss", "n", *places, "zero maps, %"]


def test_no_value_over_non_zero_maps_is_told_from_a_missing_cell(cells: pd.DataFrame) -> None:
    cells.loc[cells["seed"] == 0, "ssim_nonzero"] = None
    block = tables.reconstruction(cells, bounds()).blocks[0].cells
    assert block.iloc[0]["SSIM of non-zero maps ↑"].endswith("(n=2)")
    assert block.iloc[1]["SSIM of non-zero maps ↑"] == "–"


def test_floors_and_ceilings_stand_beneath_their_block(cells: pd.DataFrame) -> None:
    table = tables.reconstruction(cells, bounds())
    block = table.blocks[0]
    assert block.rule_above == 4
    beneath = block.cells.iloc[4:][["backbone", "loss", "L1 ↓", "SSIM ↑", "class-mean SSIM ↑"]].to_numpy().tolist()
    assert beneath == [
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
    for table in (tables.accuracy(cells), tables.reconstruction(cells, bounds())):
        assert "The paper's own numbers: not available" in tables.markdown(table)
        assert "The paper's own numbers: not available" in tables.latex(table)


def test_markdown_has_one_cell_per_column(cells: pd.DataFrame) -> None:
    cells["status"] = cells["status"].str.replace("failed:", "fai|led:", regex=False)
    for table in (tables.accuracy(cells), tables.reconstruction(cells, bounds())):
        lines = [line for line in tables.markdown(table).splitlines() if line.startswith("|")]
        assert len(lines) == 2 + len(table.blocks[0].cells)
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in lines}
        assert widths == {table.blocks[0].cells.shape[1] + 2}


def test_latex_escapes_and_balances(cells: pd.DataFrame) -> None:
    text = tables.latex(tables.accuracy(cells))
    assert r"failed: 100 \% of a\_b \& c is NaN at step \{3\}" in text
    assert r"93.00 $\pm$ 2.48" in text
    assert text.isascii()
    assert not re.search(r"(?<!\\)[_#]", text.replace("{table}", ""))
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1


def test_latex_has_a_rule_between_losses_and_bounds(cells: pd.DataFrame) -> None:
    lines = tables.latex(tables.reconstruction(cells, bounds())).splitlines()
    rules = [i for i, line in enumerate(lines) if line == r"\midrule"]
    assert rules[1] - rules[0] == 5
    assert lines[rules[1] + 1].startswith(r"floor & global mean image & -- & 0.066")
    assert r"3$\times$3 grid" in lines[rules[1] + 2]
    assert len({line.count(" & ") for line in lines if line.endswith(r"\\")}) == 1


def test_a_character_without_a_latex_form_does_not_break_the_document(cells: pd.DataFrame) -> None:
    cells["status"] = cells["status"].str.replace("{3}", "3 → ∞ ~ ^ \\", regex=False)
    assert r"3 ? ? \textasciitilde{} \textasciicircum{} \textbackslash{}" in tables.latex(tables.accuracy(cells))


def test_two_writings_are_the_same_bytes(cells: pd.DataFrame, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tables.write(tables.reconstruction(cells.copy(), bounds()), tmp_path / name)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        f"reconstruction.{ending}" for ending in ("csv", "md", "tex")
    ]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_what_was_written_is_read(cells: pd.DataFrame, tmp_path: Path) -> None:
    cells.to_csv(tmp_path / "cells.csv", index=False)
    bounds().to_csv(tmp_path / "bounds.csv", index=False)
    read = tables.read_cells(tmp_path / "cells.csv"), tables.read_bounds(tmp_path / "bounds.csv")
    assert tables.markdown(tables.reconstruction(*read)) == tables.markdown(tables.reconstruction(cells, bounds()))


def test_a_missing_or_wrong_file_is_one_sentence(cells: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    with pytest.raises(BenchError, match="is not there: python -m bench collect"):
        tables.read_cells(path)
    cells.drop(columns=["ssim", "seed"]).to_csv(path, index=False)
    with pytest.raises(BenchError, match="lacks seed, ssim"):
        tables.read_cells(path)
    cells.iloc[:0].to_csv(path, index=False)
    with pytest.raises(BenchError, match="lacks rows"):
        tables.read_cells(path)
    path.write_text("")
    with pytest.raises(BenchError, match="cannot be read"):
        tables.read_cells(path)


def test_the_saliency_table_shows_decoys_where_there_are_some_and_road_where_it_was_measured() -> None:
    clean, decoyed = rows("ce", ["ok"] * 3), rows("ce", ["ok"] * 3, dataset="decoy_digits")
    cells = pd.DataFrame(clean + decoyed).astype({"road": float})
    cells.loc[cells["dataset"] == "digits", [*SALIENCY[:4], "road"]] = None
    first, second = tables.saliency(cells).blocks
    assert (first.title, second.title) == ("Maps on digits, 23 px", "Maps on decoy digits, 23 px")
    maps = ["energy on ink ↑", "specificity ↑", "coherence ↑"]
    left_out = ["undefined maps", "lone images"]
    assert first.cells.columns.tolist() == ["backbone", "loss", "n", "accuracy, % ↑", *maps, *left_out]
    decoy = ["decoy accuracy, % ↑", "without decoys, % ↑", "flips with the decoy, % ↓", "decoy mass, % ↓"]
    gap = "lost to decoys, points ↓"
    columns = ["backbone", "loss", "n", *decoy[:2], gap, *decoy[2:], *maps, "ROAD ↑", *left_out]
    assert second.cells.columns.tolist() == columns
    lost = (cells["clean_accuracy"] - cells["decoy_accuracy"])[cells["decoy_accuracy"].notna()].mean() * 100
    assert float(second.cells.iloc[0][gap].split()[0]) == pytest.approx(lost, abs=0.006)
    headings = dict(zip([*decoy, *maps, "ROAD ↑", *left_out], SALIENCY, strict=True))
    for heading, metric in headings.items():
        mean = 0.93 - METRICS.index(metric) / 100
        shown, rounding = float(second.cells.iloc[0][heading].split()[0]), 0.5 if heading == "lone images" else 0.05
        assert shown == pytest.approx(mean * (100 if "%" in heading else 1), abs=rounding + 1e-9), heading
    assert second.cells.iloc[0]["decoy accuracy, % ↑"] == "78.00 ± 2.48"


def test_the_saliency_table_counts_and_says_what_is_missing(cells: pd.DataFrame) -> None:
    cells.loc[(cells["loss"] == "prototype-ssim") & (cells["seed"] == 0), "specificity"] = None
    cells.loc[cells["loss"] == "prototype-ssim", "undefined_maps"] = [2, 0, 4]
    table = tables.saliency(cells)
    by_loss = table.blocks[0].cells.set_index("loss")
    assert by_loss.loc["prototype-ssim", "specificity ↑"].endswith("(n=2)")
    assert by_loss.loc["prototype-ssim", "undefined maps"].startswith("2.0 ± ")
    assert by_loss.loc["ce", "n"] == "1 of 3"
    assert set(by_loss.loc["batchcam-l1"].iloc[2:]) == {"failed"}
    assert set(by_loss.loc["batchcam-l2"].iloc[2:]) == {"missing"}
    assert table.notes[-3:] == tables.accuracy(cells).notes[-3:]
    tidy = table.tidy[(table.tidy["loss"] == "prototype-ssim") & (table.tidy["metric"] == "specificity")].iloc[0]
    assert (tidy["n"], tidy["seeds"]) == (2, 3)


def test_the_sweep_table_has_a_column_for_each_weight_and_says_what_was_chosen() -> None:
    table = tables.sweep(swept(), chosen())
    accuracy, specificity = table.blocks
    assert accuracy.title == "Validation accuracy in % by weight: digits, SimpleCNN, 23 px"
    assert accuracy.cells.to_numpy().tolist() == [
        ["ce", "91.00", "–", "–", "–", "–"],
        ["prototype-l1", "–", "93.00", "90.50", "89.50", "1"],
        ["hint", "–", "70.00", "84.00", "–", "0.1 (none competes)"],
        ["rrr", "–", "93.00", "failed", "–", "0.1"],
    ]
    assert accuracy.cells.columns.tolist() == ["loss", "0", "0.1", "1", "10", "chosen"]
    assert specificity.cells.iloc[1].tolist() == ["prototype-l1", "–", "0.233", "0.226", "0.224", "1"]
    assert table.notes[0].startswith("Means over 2 seeds;")
    assert table.notes[-1] == "rrr, weight 1, seed 1: failed: NaN at step 3."
    assert len(table.tidy) == 16


def test_a_sweep_that_is_missing_is_told_and_nothing_is_chosen_of_it() -> None:
    place = {"dataset": "digits", "backbone": "simple_cnn", "resolution": 23}
    rows = pd.concat([swept(), pd.DataFrame([place | {"loss": "blob-ssim", "status": "missing"}])], ignore_index=True)
    nothing = pd.DataFrame([place | {"loss": "blob-ssim", "weight": math.nan, "competitive": False}])
    table = tables.sweep(rows, pd.concat([chosen(), nothing], ignore_index=True))
    assert table.blocks[0].cells.iloc[-1].tolist() == ["blob-ssim", *["–"] * 5]
    assert table.notes[-1] == "blob-ssim: missing."


def test_a_weight_that_the_cells_do_not_have_is_told() -> None:
    table = tables.sweep(swept(), chosen().assign(used=[1, 0.1, 10]))
    assert table.blocks[0].cells["chosen"].tolist()[1:] == ["1", "0.1 (none competes)", "0.1 (the cells have 10)"]


def test_a_sweep_is_read_even_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    swept().to_csv(path, index=False)
    assert tables.markdown(tables.sweep(tables.read_sweep(path), chosen())) == tables.markdown(
        tables.sweep(swept(), chosen())
    )
    swept().iloc[:0].to_csv(path, index=False)
    assert tables.read_sweep(path).empty
    swept().drop(columns=["weight", "epg_ink"]).to_csv(path, index=False)
    with pytest.raises(BenchError, match=r"sweep\.csv lacks weight, epg_ink: python -m bench collect makes it anew"):
        tables.read_sweep(path)
