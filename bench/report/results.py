"""The collected results, read back, and what tables, figures and verdicts ask of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.errors import BenchError
from bench.names import METRICS, SWEPT_METRICS
from bench.report.collect import BOUNDS, EPOCHS, KEY, SWEPT, TRAININGS
from bench.report.frames import groups
from bench.report.timing_rows import COLUMNS as TIMING
from bench.statistics import Interval, mean_interval

SETTING = ("dataset", "backbone", "resolution")
CELL = (*SETTING, "loss")
#: Text, also where a column is empty.
_TEXT: dict[str, Any] = {"status": str, "backbones": str}
#: Whole numbers of timing.csv; a device without timings leaves them out.
_COUNTS = dict.fromkeys(("resolution", "batch", "classes", "rounds", "peak_bytes"), "Int64")


def read_cells(path: Path) -> pd.DataFrame:
    """cells.csv, which has a row at least; raise `BenchError` if it is missing or is not what `collect` writes."""
    cells = _read(path, [*KEY, *METRICS], _TEXT).fillna({"status": ""})
    if cells.empty:
        raise BenchError(f"{path} lacks rows: {_REMEDY} again")
    return cells


def read_trainings(path: Path) -> pd.DataFrame:
    """trainings.csv; raise `BenchError` if it is missing or is not what `collect` writes."""
    return _read(path, TRAININGS, {**_TEXT, "device": str, "processor": str, "commit": str})


def read_epochs(path: Path) -> pd.DataFrame:
    """epochs.csv; raise `BenchError` if it is missing or is not what `collect` writes."""
    return _read(path, EPOCHS, _TEXT)


def read_bounds(path: Path) -> pd.DataFrame:
    """bounds.csv; raise `BenchError` if it is missing or is not what `collect` writes."""
    return _read(path, BOUNDS, _TEXT).fillna({"backbones": ""})


def read_timing(path: Path) -> pd.DataFrame:
    """timing.csv; raise `BenchError` if it is missing or is not what `collect` writes."""
    return _read(path, TIMING, {**_COUNTS, "status": str, "machine": str})


def read_sweep(path: Path) -> pd.DataFrame:
    """sweep.csv; raise `BenchError` if it is missing or is not what `collect` writes."""
    return _read(path, [*SWEPT, *SWEPT_METRICS], _TEXT).fillna({"status": ""})


_REMEDY = "python -m bench collect makes it"


def _read(path: Path, columns: Sequence[str], types: Mapping[str, Any]) -> pd.DataFrame:
    """A CSV file with at least these columns."""
    try:
        frame = pd.read_csv(path, dtype=dict(types))
    except FileNotFoundError:
        raise BenchError(f"{path} is missing: {_REMEDY}") from None
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be read ({' '.join(str(error).split())}): {_REMEDY} again") from error
    absent = [column for column in columns if column not in frame]
    if absent:
        raise BenchError(f"{path} lacks {', '.join(absent)}: {_REMEDY} again")
    return frame


def by_cell(cells: pd.DataFrame) -> list[tuple[tuple[str, str, int, str], pd.DataFrame]]:
    """The rows of each cell, by dataset, backbone, resolution and loss."""
    return [((dataset, backbone, px, loss), cell) for (dataset, backbone, px, loss), cell in groups(cells, CELL)]


def finished(cells: pd.DataFrame) -> pd.DataFrame:
    """The seeds that have results."""
    return cells[cells["status"] == "ok"]


def absence(cell: pd.DataFrame) -> str:
    """In a word or two, why seeds of a cell have no results: "missing", "failed"; "" if all have."""
    statuses = cell.loc[cell["status"] != "ok", "status"]
    return ", ".join(dict.fromkeys(str(status).split(":")[0].strip() or "no status" for status in statuses))


class Mean(NamedTuple):
    """A metric of a cell: its mean over seeds with the interval, and over how many seeds."""

    interval: Interval
    n: int


def means(cell: pd.DataFrame, metrics: Sequence[str]) -> list[Mean]:
    """Of each metric, over those finished seeds of a cell that have a value."""
    by_metric = finished(cell)[list(metrics)].to_numpy(np.float64).T.tolist()
    values = [[value for value in column if not math.isnan(value)] for column in by_metric]
    return [Mean(mean_interval(found), len(found)) for found in values]


def weight_means(swept: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """Means over seeds by loss and weight of a sweep; NaN for a weight at which a seed failed."""
    by_weight = swept.groupby(["loss", "weight"])
    found = by_weight[list(metrics)]
    return found.mean().where(found.count().eq(by_weight.size(), axis=0))


def has_grid(bounds: pd.DataFrame, backbone: str) -> pd.Series:
    """Of each bound, whether it is the ceiling of this backbone's grid; a floor has no grid."""
    return bounds["backbones"].map(lambda names: backbone in split_names(names)).astype(bool)  # of no row: no bool


def split_names(names: str) -> list[str]:
    """The backbones of a ceiling, from the text that names them."""
    return [name.strip() for name in names.split(",") if name.strip()]
