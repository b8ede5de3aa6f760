"""The schema of params.yaml: every profile's file is checked by it before anything runs.

An error names the file, the path in it, what is allowed and the nearest match.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from bench.errors import BenchError
from bench.names import WEIGHTLESS, BackboneName, DatasetName, DeviceName, LossName
from bench.reading import read_mapping
from bench.resources import Slurm
from bench.sections import (
    Count,
    NotNegative,
    Picked,
    Positive,
    Resolutions,
    Section,
    Threads,
    Timing,
    check_resolutions,
    need,
    unique,
)
from bench.validation import validated


class Cell(NamedTuple):
    """One trained combination of the grid; all its seeds are inside it."""

    dataset: DatasetName
    backbone: BackboneName
    loss: LossName
    resolution: int

    @property
    def name(self) -> str:
        """The name of its directory, and of its DVC stage after `cell@`."""
        return f"{self.dataset}-{self.backbone}-{self.loss}-{self.resolution}"


class Grid(Section):
    """Every combination of the four lists is a cell; where one is empty, there is none."""

    dataset: Annotated[list[DatasetName], AfterValidator(unique)]
    backbone: Annotated[list[BackboneName], AfterValidator(unique)]
    loss: Annotated[list[LossName], AfterValidator(unique)]
    resolution: Resolutions

    def cells(self) -> list[Cell]:
        """In the order of the lists."""
        return [Cell(*four) for four in product(self.dataset, self.backbone, self.loss, self.resolution)]

    def __contains__(self, cell: Cell) -> bool:
        """Whether it is one of `cells`, without making them all."""
        lists: tuple[Sequence[object], ...] = (self.dataset, self.backbone, self.loss, self.resolution)
        return all(value in values for value, values in zip(cell, lists, strict=True))


class Cells(Grid):
    """Cells to train and test."""

    seeds: dict[DatasetName, dict[BackboneName, Count]]  # how many of each


class Sweep(Grid):
    """Which cells are trained with several weights and tried on the validation split; the same budget for each loss."""

    weights: Annotated[list[Positive], Field(max_length=100), AfterValidator(unique)]
    seeds: Count
    epochs: Count


class Training(Section):
    """How a backbone is trained and tested at a resolution, the same for every loss. None: all images of the split."""

    train_images: Count | None
    test_images: Count | None
    epochs: Count
    batch_size: Annotated[Count, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NotNegative

    @model_validator(mode="after")
    def _batch_fits(self) -> "Training":
        if self.train_images is not None and self.train_images < self.batch_size:
            raise ValueError(f"batch_size {self.batch_size} exceeds train_images {self.train_images}")
        return self


#: The parts of the parameters that name cells, and the stage of each in dvc.yaml.
_SECTIONS = {"grid": "cell", "controls": "control", "decoys": "decoy", "doses": "dose", "networks": "network"}
#: The same of those that try weights.
_SWEEPS = {"sweep": "sweep", "control_sweep": "control_sweep"}


_Size = Annotated[str, Field(pattern=r"^px[1-9][0-9]{0,3}$")]  # not a number: DVC finds keys by their text


class Params(Section):
    """One profile."""

    profile: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]
    root: str  # the repository's root, as seen from the file's folder: dvc.yaml's working directory
    params_file: str  # this file, as seen from the root
    device: DeviceName
    threads: Threads  # of each cell; another number gives other bits
    save_weights: bool
    grid: Cells  # what the paper's tables are made of
    controls: Cells
    decoys: Cells
    doses: Cells
    networks: Cells
    road: dict[BackboneName, Resolutions]  # resolutions at which it is measured
    training: dict[BackboneName, dict[_Size, Training]]
    weights: dict[DatasetName, dict[LossName, NotNegative]]  # of each regulariser; ce has none: 0
    picked: dict[DatasetName, Picked]  # where the profile tries no weights itself: the best of each kind, better first
    sweep: Sweep
    control_sweep: Sweep
    timing: Timing
    slurm: Slurm | None = None

    @model_validator(mode="after")
    def _jobs_are_possible(self) -> "Params":
        if self.slurm is not None and self.device == "cuda" and self.slurm.gpus == 0:
            raise ValueError("slurm.gpus must be at least 1: device is 'cuda'")
        if self.slurm is not None and self.slurm.cpus is not None and self.slurm.cpus < self.threads:
            raise ValueError(f"slurm.cpus {self.slurm.cpus} must be at least threads, {self.threads}")
        return self

    @model_validator(mode="after")
    def _cells_are_possible(self) -> "Params":
        cells = self.cells()
        if not cells:
            raise ValueError(f"there is no cell: {', '.join(_SECTIONS)} all have an empty list")
        for names, named in ((_SECTIONS, cells), (_SWEEPS, self.swept())):
            twice = [cell for cell, count in Counter(named).items() if count > 1]
            if twice:
                raise ValueError(f"the cell {twice[0].name} is in two of {', '.join(names)}")
        for name, section in self.sections().items():
            for cell in section.cells():
                need("road", self.road, [cell.backbone], f"{name}.backbone has")
                need("weights", self.weights, [cell.dataset], f"{name}.dataset has")
                need(f"weights.{cell.dataset}", self.weights[cell.dataset], [cell.loss], f"{name}.loss has")
                need(f"{name}.seeds", section.seeds, [cell.dataset], f"{name}.dataset has")
                seeds = section.seeds[cell.dataset]
                need(f"{name}.seeds.{cell.dataset}", seeds, [cell.backbone], f"{name}.backbone has")
        return self

    @model_validator(mode="after")
    def _weights_are_possible(self) -> "Params":
        for dataset, weights in self.weights.items():
            for loss in WEIGHTLESS:
                if weights.get(loss, 0) != 0:
                    raise ValueError(f"weights.{dataset}.{loss} must be 0: {loss} has none")
        for cell in self.swept():
            if cell.dataset in self.picked:
                raise ValueError(f"picked.{cell.dataset}: the sweeps of this profile pick, leave it out")
        for name, sweep in self.sweeps().items():
            if sweep.cells() and not sweep.weights:
                raise ValueError(f"{name}.weights is empty, but {name} has cells: name the weights to try")
        return self

    @model_validator(mode="after")
    def _resolutions_are_possible(self) -> "Params":
        for name, section in [*self.sections().items(), *self.sweeps().items()]:
            for backbone in section.backbone:
                check_resolutions(backbone, section.resolution, f"{name}.resolution: ")
            for cell in section.cells():
                need("training", self.training, [cell.backbone], f"{name}.backbone has")
                sizes, needed = self.training[cell.backbone], [f"px{cell.resolution}"]
                need(f"training.{cell.backbone}", sizes, needed, f"{name}.resolution needs")
        return self

    @model_validator(mode="after")
    def _timing_is_possible(self) -> "Params":
        self.timing.check()
        return self

    def address(self, cell: Cell) -> str:
        """The DVC stage that makes a cell, as seen from the root."""
        return self._address(cell, _SECTIONS, self.sections())

    def sweep_address(self, cell: Cell) -> str:
        """The DVC stage that makes the sweep of a cell, as seen from the root."""
        return self._address(cell, _SWEEPS, self.sweeps())

    def _address(self, cell: Cell, stages: Mapping[str, str], sections: Mapping[str, Grid]) -> str:
        stage = next(stages[name] for name, section in sections.items() if cell in section)
        folder = str(Path(self.params_file).parent)
        return f"{'' if folder == '.' else f'{folder}/dvc.yaml:'}{stage}@{cell.name}"

    def sections(self) -> dict[str, Cells]:
        """The parts of the parameters that name cells; each is a stage in dvc.yaml."""
        return {name: getattr(self, name) for name in _SECTIONS}

    def sweeps(self) -> dict[str, Sweep]:
        """The parts that name cells to be tried with several weights; each is a stage in dvc.yaml."""
        return {name: getattr(self, name) for name in _SWEEPS}

    def swept(self) -> list[Cell]:
        """Every cell that is tried with several weights."""
        return [cell for sweep in self.sweeps().values() for cell in sweep.cells()]

    def sweep_of(self, cell: Cell) -> Sweep | None:
        """The weights and the budget that a cell is tried with; None where it is not."""
        return next((sweep for sweep in self.sweeps().values() if cell in sweep), None)

    def seeds(self, cell: Cell) -> int:
        """How many seeds a cell has."""
        section = next(section for section in self.sections().values() if cell in section)
        return section.seeds[cell.dataset][cell.backbone]

    def trained(self, backbone: str, resolution: int) -> Training:
        """How a backbone is trained at a resolution."""
        return self.training[backbone][f"px{resolution}"]

    def weight(self, cell: Cell) -> float:
        """The weight of a cell's regulariser."""
        return self.weights[cell.dataset][cell.loss]

    def cells(self) -> list[Cell]:
        """Every cell, in the order of the parameters."""
        return [cell for section in self.sections().values() for cell in section.cells()]

    def for_cell(
        self,
        dataset: str,
        backbone: str,
        loss: str,
        resolution: int,
        seeds: int | None = None,
        device: str | None = None,
    ) -> "Params":
        """The same profile with one cell, perhaps other seeds or another device; `BenchError` if it is impossible."""
        content = self.model_dump()
        cell = Cell(dataset, backbone, loss, resolution)
        if seeds is None:
            seeds = self.seeds(cell) if cell in self.cells() else 1
        content |= {name: {key: [] for key in Grid.model_fields} | {"seeds": {}} for name in _SECTIONS}
        content["grid"] = {"dataset": [dataset], "backbone": [backbone], "loss": [loss], "resolution": [resolution]}
        content["grid"]["seeds"] = {dataset: {backbone: seeds}}
        content["device"] = device or self.device
        if trained := content["training"].get(backbone):  # a resolution that the profile does not have: as its nearest
            nearest = min(trained, key=lambda px: abs(int(px[2:]) - resolution))
            trained[f"px{resolution}"] = trained[nearest]
        try:
            return validated(Params, content, "the cell")
        except BenchError as error:
            sentence = re.sub(r"grid\.(\w+)(\.0)?:", r"\1:", str(error))
            raise BenchError(re.sub(r"but grid\.\w+ ", "but it ", sentence)) from None

    def settings(self, cell: Cell) -> dict[str, Any]:
        """The parameters that a cell's numbers depend on; dvc.yaml names the same keys."""
        return {
            "cell": cell._asdict(),
            "device": self.device,
            "threads": self.threads,
            "save_weights": self.save_weights,
            "training": self.trained(cell.backbone, cell.resolution).model_dump(),
            "seeds": self.seeds(cell),
            "weight": self.weight(cell),
            "road": self.road[cell.backbone],
        }

    def sweep_settings(self, cell: Cell) -> dict[str, Any]:
        """The parameters that a sweep of a cell depends on; dvc.yaml names the same keys."""
        sweep = next(sweep for sweep in self.sweeps().values() if cell in sweep)
        settings = {"cell": cell._asdict(), "device": self.device, "threads": self.threads}
        settings["training"] = self.trained(cell.backbone, cell.resolution).model_dump()
        return settings | {"weights": sweep.weights, "seeds": sweep.seeds, "epochs": sweep.epochs}

    @property
    def runs(self) -> Path:
        """Where the cells' directories are, from the root."""
        return Path("runs", self.profile)

    def bounds_file(self, dataset: str) -> Path:
        """Where a dataset's floors and ceilings are kept for `collect`."""
        return self.runs / f"bounds-{dataset}.csv"

    def timing_file(self, device: str) -> Path:
        """Where a device's timings are kept for `collect`."""
        return self.runs / f"timing-{device}.json"

    def sweep_file(self, cell: Cell) -> Path:
        """Where the sweep of a cell is kept for `collect`."""
        return self.runs / f"sweep-{cell.name}.json"

    def failure_file(self, cell: Cell) -> Path:
        """Where a cell that failed leaves its sentence, until it runs through."""
        return Path("runs", ".failed", self.profile, f"{cell.name}.txt")

    @property
    def results(self) -> Path:
        """Where tables and figures go, from the root."""
        return Path("results", self.profile)


def load(path: Path, root: Path = Path()) -> Params:
    """Read and check a params.yaml of the repository at `root`; raise `BenchError` with a line for each mistake."""
    params = validated(Params, read_mapping(path), str(path))
    _check_place(params, path, root)
    return params


def check_all() -> list[Params]:
    """Every profile of the repository, as DVC, which reads them all, makes commands and paths of what they say.

    Raises:
        BenchError: with a line for each thing that is wrong in any of them.
    """
    found, wrong = [], []
    for path in [*Path().glob("params.yaml"), *sorted(Path().glob("profiles/*/params.yaml"))]:
        try:
            found.append(load(path))
        except BenchError as error:
            wrong.append(str(error))
    if wrong:
        raise BenchError("\n".join(wrong))
    return found


def _check_place(params: Params, path: Path, root: Path) -> None:
    """What a file says of its own place must be so: DVC runs commands there, and removes and writes what is below."""
    folder = path.absolute().parent
    if path.name == "params.yaml" and folder.resolve() == root.resolve():
        place = {"root": ".", "params_file": "params.yaml"}
        if (root / "profiles" / params.profile).exists():
            raise BenchError(f"{path}: profile is {params.profile!r}, which is the one in profiles/{params.profile}")
    elif path.name == "params.yaml" and folder.parent.resolve() == (root / "profiles").resolve():
        place = {"root": "../..", "params_file": f"profiles/{folder.name}/params.yaml", "profile": folder.name}
    else:
        raise BenchError(f"{path}: a profile is params.yaml or profiles/NAME/params.yaml, seen from the current folder")
    for key, own in place.items():
        if getattr(params, key) != own:
            raise BenchError(f"{path}: {key} must be {own!r}, as the file is there, got {getattr(params, key)!r}")
