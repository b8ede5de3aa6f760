"""A file of the timing suite, in which every ratio is known by hand."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bench.report.frames import Record, having, records
from bench.report.timing_rows import read

#: Seconds of six rounds. The paired ratios to the floor are 2, 2, 2, 2, 2, 8: median 2, interval from 2 to 8.
FLOOR = [1.0, 2, 3, 4, 5, 1]
OURS = [2.0, 4, 6, 8, 10, 8]
LOOP = [20.0, 20, 20, 20, 20, 20]


def benchmark(contender: str, data: list[float], peak: int, kind: str = "maps", **changes: Any) -> dict[str, Any]:
    about: Record = {
        "kind": kind,
        "backbone": "resnet18",
        "layer": "layer4",
        "resolution": 23,
        "batch": 8,
        "classes": 10,
    }
    about |= {"contender": contender, "status": "ok", "error": 1e-6, "peak_bytes": peak, "map_seconds": None}
    return {"extra_info": about | changes, "stats": {"data": data}}


def content() -> dict[str, Any]:
    machine: Record = {"device": "cpu", "gpu": None, "cpu": {"brand_raw": "A CPU"}, "processor": "x86_64", "threads": 1}
    machine |= {"parameters": {"threads": 1}}
    machine |= {"cpu_capability": "AVX2", "versions": {"torch": "2.15.0"}}
    found = [
        benchmark("forward", FLOOR, 100),
        benchmark("explain", OURS, 110),
        benchmark("loop, backward()", LOOP, 400, map_seconds=[v / 2 for v in LOOP]),
        benchmark("torch-cam", [3.0, 3, 3, 3, 3, 3], 300, map_seconds=FLOOR),
        benchmark("ce", FLOOR, 100, "step"),
        benchmark("prototype-l1", OURS, 150, "step"),
    ]
    about = {k: v for k, v in found[0]["extra_info"].items() if k not in ("error", "peak_bytes", "map_seconds")}
    absent = [about | {"contender": "captum", "status": "not measured: captum is not installed"}]
    absent += [about | {"contender": "grad_cam", "status": "wrong: differs by 0.5 of the largest value"}]
    return {"machine_info": machine, "benchmarks": found, "not_measured": absent}


def written(made: dict[str, Any], directory: Path) -> pd.DataFrame:
    """Its rows, once it is written."""
    path = directory / "timing-cpu.json"
    path.write_text(json.dumps(made))
    return read(path)[1]


def row(table: pd.DataFrame, contender: str) -> Record:
    """The one row of a contender."""
    (found,) = records(having(table, contender=contender))
    return found
