"""From the timing suite's JSON to medians and paired ratios."""

import math
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import BenchError
from bench.report import timing_rows as rows
from bench.report.timing_rows import COLUMNS
from tests.report.timings import content, row, written


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return written(content(), tmp_path)


def test_ratios_are_medians_of_pairs_with_the_interval_of_order_statistics(table: pd.DataFrame) -> None:
    assert list(table) == COLUMNS
    ours = row(table, "explain")
    assert (ours["floor_ratio"], ours["floor_ratio_low"], ours["floor_ratio_high"]) == (2, 2, 8)
    assert (ours["seconds"], ours["rounds"], ours["memory_ratio"]) == (7, 6, 1.1)
    assert (ours["ours_ratio"], ours["speedup_low"], ours["speedup_high"]) == (1, 2, 10)
    # 20 ÷ ours: 10, 5, 10/3, 2.5, 2, 2.5
    assert ours["speedup"] == pytest.approx((2.5 + 10 / 3) / 2)
    loop = row(table, "loop, backward()")
    assert (loop["map_seconds"], loop["memory_ratio"]) == (10, 4)
    # 10 ÷ the floor: 10, 5, 10/3, 2.5, 2, 10, whose median is between 10/3 and 5.
    assert loop["map_floor_ratio"] == pytest.approx((10 / 3 + 5) / 2)
    step = row(table, "prototype-l1")
    assert (step["floor_ratio"], step["memory_ratio"]) == (2, 1.5)
    assert math.isnan(step["ours_ratio"])
    assert math.isnan(step["speedup"])
    assert set(table["machine"]) == {"A CPU, AVX2, 1 thread, torch 2.15.0"}


def test_who_was_not_measured_is_a_row_with_the_reason(table: pd.DataFrame) -> None:
    absent = row(table, "captum")
    assert absent["status"] == "not measured: captum is not installed"
    assert pd.isna(absent["rounds"])
    assert math.isnan(absent["floor_ratio"])


@pytest.mark.parametrize("damage", ["{", "[]", '{"machine_info": {}}'])
def test_a_file_that_is_none_of_the_suite_is_one_sentence(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "timing-cpu.json"
    path.write_text(damage)
    with pytest.raises(BenchError, match=r"timing-cpu.json is not what `python -m bench time` writes .*make it again"):
        rows.read(path)
