"""How long cells took, from what their provenance says."""

from pathlib import Path

import pandas as pd

from bench.report.collect import TRAININGS
from bench.report.times import times, write


def trainings() -> pd.DataFrame:
    """Two cells of one network and one of another."""
    found = []
    for backbone, loss, seconds in (
        ("simple_cnn", "ce", [1, 3]),
        ("resnet18", "ce", [100]),
        ("simple_cnn", "rrr", [5]),
    ):
        cell = {"dataset": "digits", "backbone": backbone, "loss": loss, "resolution": 23, "device": "CPU, AVX2"}
        found += [cell | {"seed": i, "train_s": second - 0.5, "test_s": 0.5} for i, second in enumerate(seconds)]
    return pd.DataFrame(found, columns=TRAININGS)


def test_times_are_added_up_by_network() -> None:
    assert times({"quick": trainings()}).to_numpy().tolist() == [
        ["quick", "SimpleCNN", "23", "2", "3", "3 s", "9 s", "CPU, AVX2"],
        ["quick", "ResNet-18", "23", "1", "1", "2 min", "2 min", "CPU, AVX2"],
    ]


def test_a_profile_without_cells_has_no_row(tmp_path: Path) -> None:
    path = write({"quick": trainings(), "evidence": trainings().iloc[:0]}, tmp_path / "times.md")
    lines = path.read_text().splitlines()
    assert len(lines) == 4
    assert "evidence" not in path.read_text()
