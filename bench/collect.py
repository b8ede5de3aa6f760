"""All cells of a profile as one tidy table. What is expected comes from the parameters, not from what lies there."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import BenchError
from bench.files import written_aside
from bench.params import Cell, Params

KEY = ["dataset", "backbone", "loss", "resolution", "seed", "status"]
COMPARISONS = ["l1", "l2", "ssim"]
METRICS = [
    "accuracy",
    "worst_class_accuracy",
    *COMPARISONS,
    *(f"{name}_nonzero" for name in COMPARISONS),
    *(f"class_mean_{name}" for name in COMPARISONS),
    *(f"class_mean_{name}_nonzero" for name in COMPARISONS),
    "zero_map_rate",
]


def collect(params: Params) -> tuple[Path, Path]:
    """Write results/<profile>/cells.csv, a row for every expected cell and seed, and results/<profile>/bounds.csv.

    `status` is "ok"; or "missing", "stale" (made with other parameters), "unreadable" or "failed: …", and the metrics
    are empty.
    """
    cells = [row for cell in params.cells() for row in _rows(params, cell)]
    bounds = [pd.read_csv(_existing(params.bounds_file(d)), keep_default_na=False) for d in params.grid.dataset]
    return (
        _write(pd.DataFrame(cells, columns=[*KEY, *METRICS]), params.results / "cells.csv"),
        _write(pd.concat(bounds), params.results / "bounds.csv"),
    )


def _write(table: pd.DataFrame, path: Path) -> Path:
    with written_aside(path) as aside:
        table.to_csv(aside, index=False)
    return path


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BenchError(f"{path} is not there: python -m bench bounds makes it")
    return path


def _rows(params: Params, cell: Cell) -> list[dict[str, Any]]:
    status, by_seed = _read(params, cell)
    rows = []
    for seed in range(params.training[cell.backbone].seeds):
        metrics = by_seed.get(seed, {})
        rows.append({**cell._asdict(), "seed": seed, "status": "ok" if metrics else status, **metrics})
    return rows


def _read(params: Params, cell: Cell) -> tuple[str, dict[int, dict[str, Any]]]:
    """Why a seed is not there, and the metrics of those that are."""
    directory = params.runs / cell.name
    failure = params.failure_file(cell)
    if failure.exists():
        return f"failed: {failure.read_text(encoding='utf-8').strip()}", {}
    if not directory.is_dir():
        return "missing", {}
    try:
        made_with = json.loads((directory / "provenance.json").read_text())["parameters"]
        rows = json.loads((directory / "metrics.json").read_text())
        by_seed = {row["seed"]: {name: row[name] for name in METRICS} for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return "unreadable", {}
    if made_with != params.settings(cell):
        return "stale", {}
    return "missing", by_seed
