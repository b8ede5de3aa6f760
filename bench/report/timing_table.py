"""The timing table: what a map costs in forward passes, and a guided step in cross-entropy steps."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from bench import paper
from bench.names import (
    AUTOGRAD_LOOP,
    BACKBONES,
    CE_STEP,
    EXPLAIN,
    EXPLAIN_ALL,
    EXPLAIN_ALL_ALONE,
    EXPLAIN_ALONE,
    FORWARD,
    GRAD_CAM,
    LOOP,
    OUTPUT_TOLERANCE,
    PEERS,
    STEPS,
    TORCH_CAM,
    shown,
)
from bench.report.frames import Record, records
from bench.report.rendering import NONE, Block, Table
from bench.report.timing_rows import GROUP

_MAPS = (FORWARD, LOOP, AUTOGRAD_LOOP, GRAD_CAM, EXPLAIN, EXPLAIN_ALL)
#: Whose growth is shown.
GROWN = (FORWARD, GRAD_CAM, EXPLAIN, EXPLAIN_ALL)
#: Of the part of a call that makes the map: the column, and the contender whose time it is.
_ALONE = {
    LOOP: LOOP,
    AUTOGRAD_LOOP: AUTOGRAD_LOOP,
    GRAD_CAM: GRAD_CAM,
    EXPLAIN: EXPLAIN_ALONE,
    EXPLAIN_ALL: EXPLAIN_ALL_ALONE,
    TORCH_CAM: TORCH_CAM,
}
_NOTES = [
    "A ratio is the median over the rounds of a group, in each of which everyone runs once, in turns; in brackets the"
    " 95 % interval of that median from order statistics, which needs six rounds. CSV: seconds, bytes and rounds.",
    "Calls differ: captum's and pytorch-grad-cam's run the forward pass themselves, and pytorch-grad-cam's makes a full"
    " backward pass, resizes and normalises; with torch-cam's, the caller's forward pass is counted. A map alone is"
    " given where a call lets it be told apart.",
    "Memory: the most bytes that torch's allocator held above the start of the call.",
    "Everything is channels-last and in float32 (on a GPU, training steps under bfloat16 autocast), with random weights"
    f" and images. Before it is timed, everyone's output is compared with the definition, to {OUTPUT_TOLERANCE:g} of"
    " the largest value (all classes: the targets', and ten of the first image; a step: its loss, and a gradient).",
    f"{NONE}: not among those that are compared there.",
    f"The paper's own timings: {paper.NUMBERS}.",
]


def timing(rows: pd.DataFrame) -> Table:
    """Blocks for maps at inference, the training step and growth, on each device.

    Args:
        rows: results/<profile>/timing.csv, from `bench.report.results.read_timing`.
    """
    blocks, notes = [], []
    for device, here in rows.groupby("device", sort=False):
        timed = here[here["contender"].notna()]
        if timed.empty:
            notes.append(f"{str(device).upper()}: not measured ({here['status'].iloc[0]}).")
            continue
        blocks += [block for block in _blocks(timed, str(device).upper()) if not block.cells.empty]
        notes.append(f"{str(device).upper()}: {timed['machine'].iloc[0]}.")
        notes += _absent(timed)
    return Table("timing", rows, blocks, [*_NOTES, *notes])


def _blocks(rows: pd.DataFrame, device: str) -> list[Block]:
    maps, steps, growth = (rows[rows["kind"] == kind] for kind in ("maps", "step", "growth"))
    peers, everyone = PEERS, [*_MAPS, *PEERS]
    return [
        Block(f"{device}, maps at inference: whole call ÷ plain forward pass", _frame(maps, _MAPS, _floor)),
        Block(f"{device}, other libraries: whole call ÷ plain forward pass", _frame(maps, peers, _floor)),
        Block(f"{device}, other libraries: whole call ÷ explain's", _frame(maps, peers, _ours)),
        Block(f"{device}, maps at inference: map alone ÷ plain forward pass", _frame(maps, _ALONE, _alone)),
        Block(f"{device}, other libraries: map alone ÷ explain's", _frame(maps, [TORCH_CAM], _ours_alone)),
        Block(f"{device}, maps at inference: old loop ÷ whole call", _frame(maps, everyone[2:], _speedup)),
        Block(f"{device}, maps at inference: peak memory ÷ plain forward pass", _frame(maps, everyone, _memory)),
        Block(f"{device}, training step ÷ ce step", _frame(steps, STEPS, _floor)),
        Block(f"{device}, training step: peak memory ÷ ce step", _frame(steps, STEPS, _memory)),
        Block(f"{device}, growth: whole call ÷ plain forward pass", _frame(growth, GROWN, _floor)),
        Block(f"{device}, growth: peak memory ÷ plain forward pass", _frame(growth, GROWN, _memory)),
    ]


def _frame(rows: pd.DataFrame, contenders: Sequence[str] | dict[str, str], cell: Callable[..., str]) -> pd.DataFrame:
    """A row for each group, a column for each contender (where a dictionary says so, measured under another name)."""
    measured = contenders if isinstance(contenders, dict) else {name: name for name in contenders}
    made = []
    for _, group in _in_order(rows):
        by_name = {row["contender"]: row for row in records(group)}
        first = group.iloc[0]
        line = {"backbone": shown(first["backbone"]), "read at": first["layer"], "px": str(first["resolution"])}
        line |= {"batch": str(first["batch"])}
        if first["kind"] == "growth":
            line["classes"] = str(first["classes"])
        line["n"] = str(group["rounds"].max()) if group["rounds"].notna().any() else "0"
        cells = {name: _text(by_name.get(source), cell) for name, source in measured.items()}
        if any(text != NONE for text in cells.values()):
            made.append(line | cells)
    return pd.DataFrame(made)


def _in_order(rows: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    """The groups, by backbone in the order of the suite, resolution, layer, batch and classes."""
    found, suite = list(rows.groupby(GROUP, sort=False)), list(BACKBONES)
    return sorted(found, key=lambda item: (suite.index(item[0][1]), item[0][3], item[0][2], *item[0][4:]))


def _text(row: Record | None, cell: Callable[..., str]) -> str:
    """A cell of the table; without a number the first word of the reason, which is told in full below the table."""
    if row is None:
        return NONE
    if row["status"] != "ok":
        return str(row["status"]).split(":")[0]
    return cell(row)


def _floor(row: Record) -> str:
    if row["contender"] in (FORWARD, CE_STEP):
        return f"{_three_digits(row['seconds'] * 1e3)} ms"
    return _ratio(row, "floor_ratio", "no floor")


def _alone(row: Record) -> str:
    return _ratio(row, "map_floor_ratio", "no floor")


def _speedup(row: Record) -> str:
    return _ratio(row, "speedup", "no loop")


def _ours(row: Record) -> str:
    return _ratio(row, "ours_ratio", "no explain")


def _ours_alone(row: Record) -> str:
    return _ratio(row, "map_ours_ratio", "no explain")


def _memory(row: Record) -> str:
    if row["contender"] in (FORWARD, CE_STEP):
        return f"{_three_digits(row['peak_bytes'] / 2**20)} MiB"
    return "no floor" if math.isnan(row["memory_ratio"]) else f"{row['memory_ratio']:.2f}"


def _three_digits(value: float) -> str:
    """0.453, 12.6 or 2,860: three digits, and no power of ten."""
    return f"{value:.3g}" if value < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


def _ratio(row: Record, name: str, without: str) -> str:
    """1.02 [1.00, 1.05], or from 10 on 12.3; `without` where the other side was not measured."""
    values = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
    if math.isnan(values[0]):
        return without
    middle, low, high = (f"{value:.{2 if abs(value) < 10 else 1}f}" for value in values)
    return middle if math.isnan(values[1]) else f"{middle} [{low}, {high}]"


def _absent(rows: pd.DataFrame) -> list[str]:
    """A note for everyone who was not measured and each reason, with the groups where that is so."""
    notes = []
    for (contender, status), group in rows[rows["status"] != "ok"].groupby(["contender", "status"], sort=False):
        everywhere = len(group) == (rows["contender"] == contender).sum()
        where = "" if everywhere else f" ({'; '.join(_where(row) for row in records(group))})"
        notes.append(f"{contender}: {status}{where}.")
    return notes


def _where(row: Record) -> str:
    """A group in words."""
    size = f"{row['resolution']} px, batch {row['batch']}, {row['classes']} classes"
    return f"{row['kind']}, {shown(row['backbone'])} at {row['layer']}, {size}"
