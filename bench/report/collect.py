"""All cells of a profile as one tidy table. What is expected comes from the parameters, not from what lies there."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import BenchError
from bench.files import written_aside
from bench.names import COMPARISONS, FOLLOWED, METRICS, SWEPT_METRICS, DeviceName
from bench.params import Cell, Params
from bench.report.frames import having
from bench.report.timing_rows import COLUMNS as TIMING
from bench.report.timing_rows import read

KEY = ["dataset", "backbone", "loss", "resolution", "seed", "status"]
BOUNDS = ["dataset", "resolution", "kind", "name", "backbones", *COMPARISONS]
EPOCHS = ["dataset", "backbone", "loss", "resolution", "seed", "epoch", *FOLLOWED]
#: What metrics/ has of each cell, for `dvc metrics`: few columns that fit a terminal.
HEADLINE = ("accuracy", "ssim", "epg_ink", "specificity", "reliance", "decoy_mass")
#: What the provenance of each training says.
TRAININGS = ["dataset", "backbone", "loss", "resolution", "seed", "train_s", "test_s", "device", "processor", "commit"]
SWEPT = ["dataset", "backbone", "resolution", "loss", "weight", "seed", "status"]


def collect(params: Params) -> tuple[Path, ...]:
    """Write cells.csv, trainings.csv, epochs.csv, bounds.csv, timing.csv, sweep.csv and metrics/ to results/<profile>.

    cells.csv has a row for every expected cell and seed. `status` is "ok"; or "missing", "stale" (made with other
    parameters), "unreadable" or "failed: …", and the metrics are empty. trainings.csv
    says of every finished seed how long it took, where, and at which commit; epochs.csv has a row for every epoch of
    those on images with cues. timing.csv has one for every contender on every
    device of the parameters, or one that says that a device has not been timed; sweep.csv one for every weight and
    seed, with `status` as in cells.csv. metrics/SETTING/LOSS.json has the means of `HEADLINE` over the seeds of a cell.
    """
    cells = [row for cell in params.cells() for row in _rows(params, cell)]
    trainings = [row for cell in params.cells() for row in _trainings(params, cell)]
    epochs = [row for cell in params.cells() for row in _epochs(params, cell)]
    bounds = [_bounds(params.bounds_file(d)) for d in params.grid.dataset]
    timing = [_timing(params, device) for device in params.timing.devices]
    swept = [row for cell in params.swept() for row in _sweep(params, cell)]
    return (
        _write(pd.DataFrame(cells, columns=[*KEY, *METRICS]), params.results / "cells.csv"),
        _write(pd.DataFrame(epochs, columns=EPOCHS), params.results / "epochs.csv"),
        _write(pd.concat([pd.DataFrame(columns=BOUNDS), *bounds]), params.results / "bounds.csv"),
        _write(pd.concat([pd.DataFrame(columns=TIMING), *timing]), params.results / "timing.csv"),
        _write(pd.DataFrame(swept, columns=[*SWEPT, *SWEPT_METRICS]), params.results / "sweep.csv"),
        _write(pd.DataFrame(trainings, columns=TRAININGS), params.results / "trainings.csv"),
        _headlines(params, pd.DataFrame(cells, columns=[*KEY, *METRICS])),
    )


def _write(table: pd.DataFrame, path: Path) -> Path:
    with written_aside(path) as aside:
        table.to_csv(aside, index=False)
    return path


def _headlines(params: Params, cells: pd.DataFrame) -> Path:
    """A file for every cell, so that `dvc metrics show` has a row for each; one without results says so."""
    folder = params.results / "metrics"
    with written_aside(folder) as aside:
        for cell in params.cells():
            seeds = having(cells, **cell._asdict())
            done = seeds[seeds["status"] == "ok"]
            waiting = seeds.loc[seeds["status"] != "ok", "status"]
            found: dict[str, Any] = {"status": "ok" if waiting.empty else str(waiting.iloc[0]), "seeds": len(done)}
            found |= {name: float(done[name].mean()) for name in HEADLINE if done[name].notna().any()}
            path = aside / f"{cell.dataset}-{cell.backbone}-{cell.resolution}" / f"{cell.loss}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found, indent=1) + "\n", "utf-8", newline="\n")
    return folder


def _bounds(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise BenchError(f"{path} is missing: python -m bench bounds makes it")
    return pd.read_csv(path, dtype=str, keep_default_na=False)  # text: no float is read, none is rounded


def _timing(params: Params, device: DeviceName) -> pd.DataFrame:
    """A row for every contender on a device, or one that says why there is none."""
    path = params.timing_file(device)
    if not path.is_file():
        return pd.DataFrame([{"device": device, "status": "missing"}])
    made_with, found = read(path)
    if made_with != params.timing.settings(device):
        return pd.DataFrame([{"device": device, "status": "stale"}])
    return found


def _sweep(params: Params, cell: Cell) -> list[dict[str, Any]]:
    """A row for every weight and seed of a sweep, or one that says why there is none."""
    path, key = params.sweep_file(cell), cell._asdict()
    if not path.is_file():
        return [{**key, "status": "missing"}]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["parameters"] != params.sweep_settings(cell):
            return [{**key, "status": "stale"}]
        return [{**key, **row} for row in content["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        return [{**key, "status": "unreadable"}]


def sweep_state(params: Params, cell: Cell) -> str:
    """ "ok" where a sweep has been made, else what is wrong, in the words of `status`."""
    rows = _sweep(params, cell)
    return "ok" if "seed" in rows[0] else str(rows[0]["status"])


def state(params: Params, cell: Cell) -> str:
    """ "ok" where all seeds of a cell are there, else what is wrong, in the words of `status`."""
    status, by_seed = _read(params, cell)
    return "ok" if len(by_seed) >= params.seeds(cell) else status


def _rows(params: Params, cell: Cell) -> list[dict[str, Any]]:
    status, by_seed = _read(params, cell)
    rows = []
    for seed in range(params.seeds(cell)):
        metrics = by_seed.get(seed, {})
        rows.append({**cell._asdict(), "seed": seed, "status": "ok" if metrics else status, **metrics})
    return rows


def _trainings(params: Params, cell: Cell) -> list[dict[str, Any]]:
    """A row for every seed that cells.csv has."""
    _, by_seed = _read(params, cell)
    if not by_seed:
        return []
    made = json.loads((params.runs / cell.name / "provenance.json").read_text(encoding="utf-8"))
    about = {name: made.get(name) for name in ("device", "processor", "commit")}
    return [{**cell._asdict(), **seconds, **about} for seconds in made["seconds"] if seconds["seed"] in by_seed]


def _epochs(params: Params, cell: Cell) -> list[dict[str, Any]]:
    """A row for every epoch of the seeds that cells.csv has."""
    path, (_, by_seed) = params.runs / cell.name / "epochs.json", _read(params, cell)
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [{**cell._asdict(), **row} for row in rows if row["seed"] in by_seed]


def _read(params: Params, cell: Cell) -> tuple[str, dict[int, dict[str, Any]]]:
    """Why a seed is not there, and the metrics of those that are."""
    status, by_seed = _read_directory(params.runs / cell.name, params.settings(cell))
    failure = params.failure_file(cell)
    # A cell that DVC brings back from its cache does not remove the sentence of a failure under other parameters.
    if not by_seed and failure.exists():
        return f"failed: {failure.read_text(encoding='utf-8').strip()}", {}
    return status, by_seed


def _read_directory(directory: Path, settings: dict[str, Any]) -> tuple[str, dict[int, dict[str, Any]]]:
    if not directory.is_dir():
        return "missing", {}
    try:
        made_with = json.loads((directory / "provenance.json").read_text())["parameters"]
        rows = json.loads((directory / "metrics.json").read_text())
        by_seed = {row["seed"]: {name: row[name] for name in METRICS} for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return "unreadable", {}
    return ("missing", by_seed) if made_with == settings else ("stale", {})
