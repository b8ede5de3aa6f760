"""From pytest-benchmark's JSON to tidy rows: medians, and ratios paired by round, with their intervals."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import BenchError
from bench.names import CE_STEP, EXPLAIN, EXPLAIN_ALONE, FORWARD, LOOP
from bench.report.frames import Record, records
from bench.report.rendering import count
from bench.statistics import median_interval

GROUP = ["kind", "backbone", "layer", "resolution", "batch", "classes"]
#: Ratios of seconds, each followed by the two ends of its interval.
RATIOS = (
    "floor_ratio",  # a call ÷ the plain forward pass, or a step ÷ the `ce` step
    "map_floor_ratio",  # a map alone ÷ the plain forward pass
    "ours_ratio",  # a call ÷ `explain`
    "map_ours_ratio",  # a map alone ÷ that of `explain`
    "speedup",  # the old loop ÷ a call
)
COLUMNS = [
    "device",
    *GROUP,
    "contender",
    "status",
    "rounds",
    "seconds",
    "map_seconds",
    *(f"{ratio}{end}" for ratio in RATIOS for end in ("", "_low", "_high")),
    "peak_bytes",
    "memory_ratio",
    "error",
    "machine",
]


def read(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The parameters that a device's timings were made with, and a row for every contender, measured or not.

    Raises:
        BenchError: the file is not what the timing suite writes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        machine = content["machine_info"]
        found = [{**b["extra_info"], "data": b["stats"]["data"]} for b in content["benchmarks"]]
        table = pd.DataFrame([*found, *content["not_measured"]])
        table = table.assign(device=machine["device"], machine=_machine(machine))
        groups = [_with_ratios(group) for _, group in table.groupby(GROUP, sort=False)]
        counts = dict.fromkeys(("rounds", "peak_bytes"), "Int64")
        return machine["parameters"], pd.concat(groups).reindex(columns=COLUMNS).astype(counts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"{path} is not what `python -m bench time` writes ({type(error).__name__}: {error}): make it again"
        ) from error


def _machine(info: dict[str, Any]) -> str:
    """The machine in words, as it is told below a table."""
    device = info["gpu"] or info["cpu"].get("brand_raw", info["processor"])
    return f"{device}, {info['cpu_capability']}, {count(info['threads'], 'thread')}, torch {info['versions']['torch']}"


def _with_ratios(group: pd.DataFrame) -> pd.DataFrame:
    """A group's rows with medians and ratios; the data of all contenders have one entry per round, in its order."""
    data = {row["contender"]: row for row in records(group) if row["status"] == "ok"}
    floor = CE_STEP if group["kind"].iloc[0] == "step" else FORWARD

    def of(row: Record) -> Record:
        seconds, alone = row["data"], row["map_seconds"]
        against = {
            "floor_ratio": (seconds, _data(data, floor)),
            "map_floor_ratio": (alone, _data(data, floor)),
            "ours_ratio": (seconds, _data(data, EXPLAIN)),
            "map_ours_ratio": (alone, _data(data, EXPLAIN_ALONE)),
            "speedup": (_data(data, LOOP), seconds),
        }
        made = {"rounds": len(seconds), "seconds": median_interval(seconds).median}
        made["map_seconds"] = median_interval(alone or []).median
        for name, (above, below) in against.items():
            pairs = [a / b for a, b in zip(above, below, strict=True)] if above and below else []
            made |= dict(zip((name, f"{name}_low", f"{name}_high"), median_interval(pairs), strict=True))
        if floor in data:
            made["memory_ratio"] = row["peak_bytes"] / data[floor]["peak_bytes"]
        return made

    made = [{**row, **(of(row) if row["status"] == "ok" else {})} for row in records(group)]
    return pd.DataFrame(made)


def _data(data: dict[str, Record], contender: str) -> list[float]:
    found: list[float] = data[contender]["data"] if contender in data else []
    return found
