"""What a profile measured, for the notebooks and any other analysis: `bench.results.load("quick")`.

Tables are tidy pandas data frames, with the names and units of the CSV files; maps and images are numpy arrays in
[0, 1]. Tables need no torch. It works from any folder of the clone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import params
from bench.errors import BenchError
from bench.names import DATASETS, METRICS
from bench.params import Cell, Params
from bench.report.frames import groups, having, in_order
from bench.report.ledger import Profile, ledger, read_claims
from bench.report.results import (
    SETTING,
    absence,
    finished,
    read_bounds,
    read_cells,
    read_epochs,
    read_sweep,
    read_timing,
)

if TYPE_CHECKING:
    from bench.results.maps import Maps

ROOT = Path(__file__).parents[2]


class Results(NamedTuple):
    """The results of one profile; docs/glossary.md explains the words.

    `cells` has a row for each seed of each cell, `epochs` for each epoch on images with cues, `bounds` for each floor
    and ceiling, `timing` for each contender, `sweep` for each weight and seed that was tried, `claims` for each test.
    """

    params: Params
    cells: pd.DataFrame
    epochs: pd.DataFrame
    bounds: pd.DataFrame
    timing: pd.DataFrame
    sweep: pd.DataFrame
    claims: pd.DataFrame

    def lacks(self) -> dict[str, str]:
        """What this profile has no results of, a sentence each, by `cells`, `cues`, `timing`, `growth` and `sweep`."""
        found = {}
        name, expected = self.params.profile, list(groups(self.cells, Cell._fields))
        reasons = pd.Series([absence(cell) for _, cell in expected])
        reasons = reasons[reasons != ""]
        if len(reasons):
            counts = ", ".join(f"{count} {reason}" for reason, count in reasons.value_counts().items())
            found["cells"] = (
                f"Of the {len(expected)} cells of the profile {name}, {len(reasons)} are not whole: {counts}."
            )
        if not finished(self.cells)["dataset"].map(lambda dataset: bool(DATASETS[dataset].cue)).any():
            found["cues"] = f"The profile {name} has no results on images with cues."
        measured = self.timing[self.timing["status"] == "ok"]
        absent = [device for device in self.params.timing.devices if device not in set(measured["device"])]
        if not self.params.timing.devices:
            found["timing"] = f"The profile {name} times nothing."
        elif absent:
            found["timing"] = f"The profile {name} has no timings on {' and '.join(absent)}."
        if not (measured["kind"] == "growth").any():
            found["growth"] = f"The profile {name} does not follow the cost of a map over resolutions and classes."
        if finished(self.sweep).empty:
            found["sweep"] = f"The profile {name} has no results of other weights than its own."
        return found

    def settings(self) -> pd.DataFrame:
        """Each dataset × backbone × resolution with results: how many losses and seeds it has, and trainings in all.

        The index is (dataset, backbone, resolution), the one with the most trainings first.
        """
        rows = {
            setting: {"losses": here["loss"].nunique(), "seeds": here["seed"].nunique(), "trainings": len(here)}
            for setting, here in groups(finished(self.cells), SETTING)
        }
        index = pd.MultiIndex.from_tuples(list(rows), names=SETTING) if rows else pd.MultiIndex.from_product(
            [[]] * 3, names=SETTING
        )
        frame = pd.DataFrame(list(rows.values()), index=index, columns=["losses", "seeds", "trainings"])
        return frame.sort_values("trainings", ascending=False, kind="stable")

    def against(self, other: str = "ce") -> pd.DataFrame:
        """Each loss's metrics − those of `other`, seed by seed: same initialisation, order of the images and split.

        The index is (dataset, backbone, resolution, loss, seed); a seed that one of the two lacks is left out.

        Raises:
            BenchError: the profile has no loss of that name.
        """
        losses = in_order(self.cells, "loss")
        if other not in losses:
            raise BenchError(f"the profile {self.params.profile} has no loss {other!r}; it has {', '.join(losses)}")
        names = [*SETTING, "seed"]
        by_loss = {loss: having(finished(self.cells), loss=loss).set_index(names)[list(METRICS)] for loss in losses}
        base = by_loss.pop(other).astype(np.float64)
        gains = {}
        for loss, here in by_loss.items():
            both = here.index.intersection(base.index)
            gains[loss] = here.loc[both].astype(np.float64) - base.loc[both]
        found = pd.concat(gains, names=["loss"])
        found = found.reorder_levels([*SETTING, "loss", "seed"])
        return found.iloc[np.argsort(found.groupby(list(SETTING), sort=False).ngroup(), kind="stable")]

    def ledger(self) -> pd.DataFrame:
        """One answer for each question, of this profile alone; results/README.md has that over all profiles."""
        return ledger([Profile(self.params, self.claims, self.cells, pd.DataFrame())])

    def tables(self) -> dict[str, str]:
        """The tables for readers by their names, in Markdown."""
        return {path.stem: path.read_text("utf-8") for path in sorted((ROOT / self.params.results / "tables").glob("*.md"))}

    def maps(self, dataset: str, backbone: str, loss: str, resolution: int) -> "Maps":
        """The maps of a cell by seed, with the images and prototypes beside them. A dataset that is not there is made.

        Raises:
            BenchError: the cell is none of the profile, or has no results; they are not pulled, or damaged.
        """
        from bench.results.maps import read

        cell = Cell(dataset, backbone, loss, resolution)
        tested = self.params.trained(backbone, resolution).test_images
        return read(ROOT / "data", self._directory(cell), cell, tested)

    def by_image(self, dataset: str, backbone: str, loss: str, resolution: int) -> dict[str, NDArray[np.float64]]:
        """What single test images have, (seeds,images) each, NaN where it is not defined: `epg_ink`, `specificity`, …

        `correct` and, under each condition of the cue, `correct_…` are 0 or 1 for every test image; the others belong
        to the first thousand of a fixed random order.

        Raises:
            BenchError: as `maps`.
        """
        from bench.results.maps import by_image

        return by_image(self._directory(Cell(dataset, backbone, loss, resolution)))

    def _directory(self, cell: Cell) -> Path:
        """Where the results of a cell are."""
        rows = having(self.cells, **cell._asdict())
        if rows.empty:
            raise BenchError(
                f"the profile {self.params.profile} has no cell {cell.name}; `settings()` lists what it has"
            )
        if finished(rows).empty:
            raise BenchError(f"{cell.name} of the profile {self.params.profile} has no results: {absence(rows)}")
        directory = ROOT / self.params.runs / cell.name
        if not directory.is_dir():
            raise BenchError(f"{self.params.runs / cell.name} is not there: dvc pull fetches it")
        return directory


def load(profile: str = "quick") -> Results:
    """The results of a profile: `quick`, or the name of a folder in profiles/.

    Raises:
        BenchError: there is no such profile, or it has no results; a file is not what the pipeline writes.
    """
    names = {"quick": ROOT / "params.yaml"}
    names |= {path.parent.name: path for path in sorted(ROOT.glob("profiles/*/params.yaml"))}
    if profile not in names:
        raise BenchError(f"there is no profile {profile!r}; there are {', '.join(names)}")
    checked = params.load(names[profile], ROOT)
    folder = ROOT / checked.results
    if not (folder / "claims.csv").is_file():
        raise BenchError(f"the profile {profile} has no results yet: make repro PROFILE={profile}")
    return Results(
        checked,
        read_cells(folder / "cells.csv"),
        read_epochs(folder / "epochs.csv"),
        read_bounds(folder / "bounds.csv"),
        read_timing(folder / "timing.csv"),
        read_sweep(folder / "sweep.csv"),
        read_claims(folder / "claims.csv"),
    )
