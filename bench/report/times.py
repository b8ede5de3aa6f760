"""How long the trainings of a profile took: what to expect of running it again."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from bench.display import duration
from bench.files import written_aside
from bench.names import shown
from bench.report.frames import groups

COLUMNS = ["profile", "network", "px", "cells", "trainings", "one training", "all of them", "device"]


def write(by_profile: Mapping[str, pd.DataFrame], path: Path) -> Path:
    """The table of `times`, in Markdown."""
    with written_aside(path) as aside:
        table = times(by_profile).to_markdown(index=False, disable_numparse=True)
        aside.write_text(f"{table}\n", "utf-8", newline="\n")
    return path


def times(by_profile: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The columns `COLUMNS`: a row for each profile, network, resolution and device.

    Args:
        by_profile: trainings.csv of each profile. Times are those of training and testing, added up, of one process.
    """
    rows = []
    for profile, trainings in by_profile.items():
        taken = trainings.assign(seconds=trainings["train_s"] + trainings["test_s"])
        for (backbone, px, device), here in groups(taken, ["backbone", "resolution", "device"]):
            cells = here.drop_duplicates(["dataset", "loss"])
            each = [duration(here["seconds"].mean()), duration(here["seconds"].sum())]
            rows.append([profile, shown(backbone), str(px), str(len(cells)), str(len(here)), *each, device])
    return pd.DataFrame(rows, columns=COLUMNS)
