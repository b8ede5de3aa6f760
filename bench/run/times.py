"""How long the cells of a profile took, by their provenance: what to expect of running it again."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from bench.display import duration
from bench.files import written_aside
from bench.names import BACKBONES, shown
from bench.params import Params

COLUMNS = ["profile", "network", "px", "cells", "trainings", "one training", "all of them", "device"]


def write(profiles: Iterable[Params], path: Path) -> Path:
    """The table of `times`, in Markdown."""
    with written_aside(path) as aside:
        aside.write_text(times(profiles).to_markdown(index=False, disable_numparse=True) + "\n", "utf-8", newline="\n")
    return path


def times(profiles: Iterable[Params]) -> pd.DataFrame:
    """The columns `COLUMNS`: a row for each profile, network, resolution and device of the cells that are here.

    Times are those of training and testing, added up over seeds, of one process.
    """
    found = [_cell(params, path) for params in profiles for path in sorted(params.runs.glob("*/provenance.json"))]
    by_network: dict[tuple[str, str, int, str], list[list[float]]] = {}
    for key, seconds in found:
        by_network.setdefault(key, []).append(seconds)
    rows, order = [], list(BACKBONES)
    for profile, backbone, px, device in sorted(by_network, key=lambda key: (key[0], order.index(key[1]), key[2:])):
        cells = by_network[profile, backbone, px, device]
        seconds = [second for cell in cells for second in cell]
        each = [str(len(cells)), str(len(seconds)), duration(sum(seconds) / len(seconds)), duration(sum(seconds))]
        rows.append([profile, shown(backbone), str(px), *each, device])
    return pd.DataFrame(rows, columns=COLUMNS)


def _cell(params: Params, path: Path) -> tuple[tuple[str, str, int, str], list[float]]:
    """What a cell is counted among, and the seconds of each of its seeds."""
    made: dict[str, Any] = json.loads(path.read_text("utf-8"))
    cell = made["parameters"]["cell"]
    seconds = [seed["train_s"] + seed["test_s"] for seed in made["seconds"]]
    return (params.profile, cell["backbone"], cell["resolution"], made["device"]), seconds
