"""What `collect` wrote is read back, or it is said what is wrong."""

from pathlib import Path

import pandas as pd
import pytest

from bench.errors import BenchError
from bench.report import tables
from bench.report.rendering import markdown
from bench.report.results import read_bounds, read_cells, read_sweep, read_timing
from tests.report.collected import EVIDENCE, bounds, chosen, four_losses, swept


@pytest.fixture
def cells() -> pd.DataFrame:
    return four_losses()


def test_what_was_written_is_read(cells: pd.DataFrame, tmp_path: Path) -> None:
    cells.to_csv(tmp_path / "cells.csv", index=False)
    bounds().to_csv(tmp_path / "bounds.csv", index=False)
    read = read_cells(tmp_path / "cells.csv"), read_bounds(tmp_path / "bounds.csv")
    assert markdown(tables.reconstruction(*read)) == markdown(tables.reconstruction(cells, bounds()))


def test_a_missing_or_wrong_file_is_one_sentence(cells: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    with pytest.raises(BenchError, match="is missing: python -m bench collect"):
        read_cells(path)
    cells.drop(columns=["ssim", "seed"]).to_csv(path, index=False)
    with pytest.raises(BenchError, match="lacks seed, ssim"):
        read_cells(path)
    cells.iloc[:0].to_csv(path, index=False)
    with pytest.raises(BenchError, match="lacks rows"):
        read_cells(path)
    path.write_text("")
    with pytest.raises(BenchError, match="cannot be read"):
        read_cells(path)


def test_a_sweep_is_read_even_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    swept().to_csv(path, index=False)
    assert markdown(tables.sweep(read_sweep(path), chosen(), EVIDENCE)) == markdown(
        tables.sweep(swept(), chosen(), EVIDENCE)
    )
    swept().iloc[:0].to_csv(path, index=False)
    assert read_sweep(path).empty
    swept().drop(columns=["weight", "epg_ink"]).to_csv(path, index=False)
    with pytest.raises(BenchError, match=r"sweep\.csv lacks weight, epg_ink: python -m bench collect makes it again"):
        read_sweep(path)


def test_a_timing_table_that_is_missing_or_damaged_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "timing.csv"
    with pytest.raises(BenchError, match=r"timing.csv is missing: python -m bench collect makes it"):
        read_timing(path)
    path.write_text("device\ncpu\n")
    with pytest.raises(BenchError, match=r"timing.csv lacks kind, .*: python -m bench collect makes it again"):
        read_timing(path)
    path.write_text("")
    with pytest.raises(BenchError, match=r"timing.csv cannot be read"):
        read_timing(path)
