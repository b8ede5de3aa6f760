"""The results of a profile, as claims ask for them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.names import CONDITIONS, DATASETS, PAPER_BACKBONES, has_cue
from bench.report.claims.rules import Rules
from bench.report.frames import Record, records
from bench.report.rendering import count
from bench.report.results import absence, by_cell, finished
from bench.statistics import Numbers

#: The metrics whose values for single images are tested, as images.safetensors names them.
_BY_IMAGE = {
    **{"decoy_mass": "decoy_mass", "decoy_flip_rate": "decoy_flip", "specificity": "specificity", "epg_ink": "epg_ink"},
    **{"accuracy": "correct", "reliance": "reliance"},
    **{f"{condition}_accuracy": f"correct_{condition}" for condition in CONDITIONS},
}
#: What leaves a seed's mean of these metrics without some images, by the column that counts them.
_LEFT_OUT = {"undefined_maps": "maps without a value", "lone_images": "images alone in their class"}
_LACKING = {
    "decoy_mass": ["undefined_maps"],
    "epg_ink": ["undefined_maps"],
    "coherence": ["undefined_maps"],
    "specificity": ["undefined_maps", "lone_images"],
}
#: One group of timings.
_TIMED = ["device", "backbone", "layer", "resolution", "batch"]


class Where(Enum):
    """The datasets on which a claim is tested, in words."""

    CLEAN = "clean dataset"
    DECOYED = "decoy dataset"
    EITHER = "dataset"
    COLORED = "dataset with colours"

    def includes(self, dataset: str) -> bool:
        """Whether it is tested on this dataset."""
        about = DATASETS[dataset]
        decoyed = about.cue == "decoy" and about.truth == 1
        match self:
            case Where.CLEAN:
                return not has_cue(dataset)
            case Where.DECOYED:
                return decoyed
            case Where.COLORED:
                return about.cue == "color"
            case Where.EITHER:
                return decoyed or not has_cue(dataset)


class Setting(NamedTuple):
    """Where a claim is tested; "" or None where it is all of them."""

    dataset: str = ""
    backbone: str = ""
    resolution: int | None = None


#: Setting and loss → metric → (seeds, images)
Images = Mapping[tuple[Setting, str], Mapping[str, Numbers]]


class Timed(NamedTuple):
    """One group of timings: where, what else it was measured with in words, and its rows by contender."""

    setting: Setting
    words: str
    by_contender: Mapping[str, Record]


class Evidence:
    """What a profile measured.

    Args:
        cells: cells.csv, from `bench.report.results.read_cells`; a metric that it lacks was not measured.
        bounds: bounds.csv, from `read_bounds` there.
        timing: timing.csv, from `read_timing` there.
        images: the metrics of single images; rows are the seeds from 0 on, and columns the same images in all cells of
            a dataset and resolution.
        rules: what was declared beforehand.
        picked: the loss of the family that the validation split picked, by setting; none where no weights were tried.
        trainings: trainings.csv, from `read_trainings` there.
    """

    def __init__(
        self,
        cells: pd.DataFrame,
        bounds: pd.DataFrame,
        timing: pd.DataFrame,
        images: Images,
        rules: Rules,
        picked: Mapping[Setting, str] | None = None,
        trainings: pd.DataFrame | None = None,
    ) -> None:
        self.bounds, self.rules, self.picked = bounds, rules, picked or {}
        self._timing, self._images = timing, images
        self._absent = {(Setting(*key[:3]), key[3]): absence(cell) for key, cell in by_cell(cells)}
        self._cells = {
            (Setting(*key[:3]), key[3]): cell.set_index("seed").to_dict() for key, cell in by_cell(finished(cells))
        }
        known = () if trainings is None else by_cell(trainings.dropna(subset="device"))
        self._devices = {(Setting(*key[:3]), key[3]): cell.set_index("seed")["device"].to_dict() for key, cell in known}

    def settings(self, where: Where) -> list[Setting]:
        """Where the profile has the baseline and some of the family.

        The paper says nothing of maps that are read elsewhere, and so such backbones are not judged.
        """
        baseline, family = self.rules.baseline, self.rules.family
        found = dict.fromkeys(s for s, loss in self._absent if loss in family and (s, baseline) in self._absent)
        return [s for s in found if s.backbone in PAPER_BACKBONES and where.includes(s.dataset)]

    def expects(self, setting: Setting, loss: str) -> bool:
        """Whether the profile has a cell, with results or without."""
        return (setting, loss) in self._absent

    def has(self, setting: Setting, loss: str) -> bool:
        """Whether some seed of a cell has results."""
        return (setting, loss) in self._cells

    def tried(self, setting: Setting, losses: Iterable[str]) -> bool:
        """Whether each of these cells has been run, if in vain."""
        absent = [self._absent.get((setting, loss), "missing") for loss in losses if not self.has(setting, loss)]
        return "missing" not in absent

    def missing(self, setting: Setting, losses: Iterable[str]) -> str:
        """Which of these cells have no results, and why; "" if all have some."""
        by_reason: dict[str, list[str]] = {}
        for loss in losses:
            if not self.has(setting, loss):
                by_reason.setdefault(self._absent.get((setting, loss), "not in this profile"), []).append(loss)
        n = sum(map(len, by_reason.values()))
        reasons = "; ".join(f"{reason}: {', '.join(found)}" for reason, found in by_reason.items())
        return f"{count(n, 'cell')} without results ({reasons})" if n else ""

    def by_seed(self, setting: Setting, loss: str, metric: str) -> dict[Any, float]:
        """A metric of the finished seeds, NaN where it is not defined or not measured."""
        columns = self._cells[setting, loss]
        found = columns.get(metric) or dict.fromkeys(columns["status"])
        return {seed: math.nan if value is None else float(value) for seed, value in found.items()}

    def by_image(self, setting: Setting, losses: Sequence[str], metric: str) -> list[Numbers]:
        """The (seeds, images) of each of these losses; none at all where one of them lacks it."""
        name = _BY_IMAGE.get(metric, "")
        by_metric = [self._images.get((setting, loss), {}) for loss in losses]
        if not all(name in found for found in by_metric):
            return []
        return [np.asarray(found[name], dtype=np.float64) for found in by_metric]

    def left_out(self, setting: Setting, losses: Sequence[str], metric: str) -> list[str]:
        """How many images the means of a metric go without, summed over these cells' seeds."""
        found = []
        for column in _LACKING.get(metric, []):
            by_loss = [self.by_seed(setting, loss, column) for loss in losses]
            n = int(np.nansum([value for by_seed in by_loss for value in by_seed.values()]))
            if n:
                trainings = count(sum(map(len, by_loss)), "training")
                found.append(f"{n} {_LEFT_OUT[column]} are left out, over {trainings}")
        return found

    def unlike(self, setting: Setting, losses: Sequence[str]) -> list[str]:
        """How many seeds were trained on one kind of device with a loss and on another with its reference."""
        by_loss = [self._devices.get((setting, loss), {}) for loss in losses]
        pairs = [{found[seed] for found in by_loss} for seed in set.intersection(*map(set, by_loss))]
        apart = sum(len(kinds) > 1 for kinds in pairs)
        return [f"{apart} of {count(len(pairs), 'pair')} trained on different kinds of processor"] if apart else []

    def untimed(self) -> list[str]:
        """The devices that have no timings, with the reason."""
        absent = self._timing[self._timing["contender"].isna()]
        return [f"{row['device'].upper()}: {row['status']}" for row in records(absent)]

    def timed(self, kind: str) -> Iterator[Timed]:
        """The groups of timings of a kind."""
        for _, group in self._timing[self._timing["kind"] == kind].groupby(_TIMED, sort=False):
            rows = records(group)
            first = rows[0]
            words = f"{first['device'].upper()}, read at {first['layer']}, batch {first['batch']}; median over rounds"
            setting = Setting("", first["backbone"], first["resolution"])
            yield Timed(setting, words, {row["contender"]: row for row in rows})
