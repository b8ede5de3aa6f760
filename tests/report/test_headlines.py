"""The paper's tables in one: what is compared, where, and nothing missing without a word."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.params import Params, load
from bench.report.claims.evidence import Setting
from bench.report.headlines import headline
from bench.report.rendering import Table, latex, markdown
from tests.report.collected import bounds, rows

PROFILE = load(Path(__file__).parents[2] / "params.yaml")
FLOOR = "0.479"
HERE = Setting("digits", "resnet18", 23)
PICKED = {HERE: ["batchcam-l2", "prototype-l1"]}


def made(
    found: pd.DataFrame, picked: Mapping[Setting, Sequence[str]] = PICKED, profile: Params = PROFILE
) -> Table | None:
    return headline(found, bounds(), picked, profile)


def cells(**statuses: list[str]) -> pd.DataFrame:
    """Three seeds of three losses, with accuracies of .92, .93 and .94, and one that nobody picked."""
    losses = ("ce", "prototype-l1", "prototype-l2", "batchcam-l2", "permuted-ssim")
    return pd.DataFrame([row for loss in losses for row in rows(loss, statuses.get(loss, ["ok"] * 3))])


def test_a_row_has_accuracy_and_ssim_of_ce_and_of_what_was_picked_of_each_kind() -> None:
    better = cells()
    better.loc[better["loss"] == "prototype-l1", "accuracy"] += 0.01
    table = made(better)
    assert table is not None
    (row,) = table.blocks[0].cells.to_dict("records")
    assert (row["dataset"], row["backbone"], row["px"], row["n"]) == ("digits", "ResNet-18", "23", "3")
    accuracies = [row[f"accuracy, %: {kind}"] for kind in ("ce", "Prototype", "Batch-CAM")]
    assert accuracies == ["93.00 ± 2.48", "94.00 ± 2.48", "93.00 ± 2.48"]
    training = PROFILE.trained("resnet18", 23)
    assert row["trained on"] == f"{training.train_images:,} images, {training.epochs} epoch"
    assert "usual for ce" not in row  # of digits nothing is known
    assert row["SSIM: ce"] == row["SSIM: Batch-CAM"] != "–"
    assert row["accuracy, %: wrong class"] == "93.00 ± 2.48"
    assert row["SSIM: floor"] == FLOOR
    assert "batchcam-l2 and prototype-l1 on digits" in table.notes[1]
    assert "evidence" not in table.notes[1]
    assert set(table.tidy["loss"]) == {"ce", "prototype-l1", "batchcam-l2", "permuted-ssim"}
    assert "Prototype" in markdown(table)
    assert "Prototype" in latex(table)


def test_a_kind_that_was_not_picked_has_no_number_and_one_that_failed_says_so() -> None:
    failed = cells(**{"batchcam-l2": ["failed: NaN"] * 3})
    table = made(failed, {HERE: ["batchcam-l2"]})
    assert table is not None
    (row,) = table.blocks[0].cells.to_dict("records")
    assert (row["accuracy, %: Prototype"], row["accuracy, %: Batch-CAM"]) == ("–", "failed")
    assert any("failed: NaN" in note for note in table.notes)


def test_fewer_seeds_are_counted() -> None:
    table = made(cells(**{"ce": ["ok", "missing", "missing"]}))
    assert table is not None
    assert table.blocks[0].cells.iloc[0]["accuracy, %: ce"] == "92.00 (n=1 of 3)"


def test_a_setting_without_a_pick_or_without_what_was_picked_has_no_row() -> None:
    assert made(cells(), {}) is None
    assert made(cells().query("loss == 'prototype-l2'")) is None


def test_beside_accuracies_stands_what_is_usual() -> None:
    reduced = load(Path(__file__).parents[2] / "profiles/reduced/params.yaml")
    known = cells().assign(dataset="mnist")
    table = made(known, {HERE._replace(dataset="mnist"): PICKED[HERE]}, reduced)
    assert table is not None
    shown = table.blocks[0].cells
    columns = shown.columns.tolist()
    assert columns.index("usual for ce") == columns.index("accuracy, %: ce") + 1
    assert shown.iloc[0]["usual for ce"] == "97.9 to 99.7"
    assert "picked on the validation split in the profile evidence, with SimpleCNN at 23 px" in table.notes[1]
    whole = known.assign(backbone="simple_cnn")
    table = made(whole, {Setting("mnist", "simple_cnn", 23): PICKED[HERE]}, reduced)
    assert table is not None
    assert (
        table.blocks[0].cells.iloc[0]["trained on"] == f"all images, {reduced.trained('simple_cnn', 23).epochs} epochs"
    )
    assert any(note.startswith("Usual for ce: ") for note in table.notes)
