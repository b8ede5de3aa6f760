"""What the sections of params.yaml are made of, and two of them: `timing` and what `picked` holds."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bench.names import (
    BACKBONES,
    PAPER_LOSSES,
    WEIGHTLESS,
    BackboneName,
    DeviceName,
    LossName,
    PaperBackbone,
    kind_of,
)


def unique(values: list[Any]) -> list[Any]:
    """The same values; `ValueError` if one appears twice."""
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise ValueError(f"{twice[0]!r} appears twice")
    return values


class Section(BaseModel):
    """A mapping whose keys are all known."""

    # Strict: no number is what merely can be read as one, such as `true` or "6".
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


# The upper bounds are beyond all sense, and below what hangs, overflows or takes the machine down.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Threads = Annotated[int, Field(ge=1, le=1_024)]
Pixels = Annotated[int, Field(ge=1, le=2_048)]  # whether a cell fits into memory: bench/run/room.py
Positive = Annotated[float, Field(gt=0, le=1e9)]
NotNegative = Annotated[float, Field(ge=0, le=1e9)]
Resolutions = Annotated[list[Pixels], Field(max_length=100), AfterValidator(unique)]


def need(section: str, given: Mapping[Any, object], names: Sequence[Any], who: str) -> None:
    """`ValueError` if a section lacks one of the names that something else in the file uses."""
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"{section}.{missing[0]} is missing, but {who} {missing[0]!r}")


def check_resolutions(backbone: BackboneName, resolutions: list[int], where: str) -> None:
    """`ValueError` if one is too small for the backbone."""
    least = BACKBONES[backbone].least_resolution
    for resolution in resolutions:
        if resolution < least:
            raise ValueError(f"{where}{backbone} needs at least {least} px, got {resolution}")


Counts = Annotated[list[Count], Field(min_length=1, max_length=100), AfterValidator(unique)]


class Growth(Section):
    """Along which lines the cost of a map is followed; the first of each list is where the others are varied from."""

    backbone: PaperBackbone
    batch: Counts
    resolution: Annotated[Resolutions, Field(min_length=1)]
    classes: Counts


class Timing(Section):
    """What the stage `time` measures."""

    devices: Annotated[list[DeviceName], AfterValidator(unique)]  # none: nothing is timed, and nothing else is needed
    threads: Threads = 1
    seconds: Annotated[float, Field(gt=0, le=3_600)] = 1  # how long a group is repeated, in between 6 and 30 rounds
    backbone: Annotated[list[PaperBackbone], AfterValidator(unique)] = []
    resolution: Resolutions = []
    batch: dict[DeviceName, Counts] = {}  # of the maps at inference
    step_batch: Annotated[Count, Field(ge=2)] = 2  # of the training step
    growth: Growth | None = None

    def check(self) -> None:
        """`ValueError` if what is to be timed is not all there, or cannot run."""
        absent = [key for key in type(self).model_fields if key not in self.model_fields_set]
        if self.devices and absent:
            raise ValueError(f"timing.{absent[0]} is missing, but timing.devices has {self.devices[0]!r}")
        need("timing.batch", self.batch, self.devices, "timing.devices has")
        for backbone in self.backbone:
            check_resolutions(backbone, self.resolution, "timing.resolution: ")
        if self.growth is not None:
            check_resolutions(self.growth.backbone, self.growth.resolution, "timing.growth.resolution: ")

    def settings(self, device: DeviceName) -> dict[str, Any]:
        """What the timings of a device depend on; dvc.yaml names the same keys."""
        content = self.model_dump(exclude={"devices"})
        return content | {"batch": self.batch[device]}


def _one_of_each_kind(losses: list[str]) -> list[str]:
    for loss in losses:
        if loss not in PAPER_LOSSES or loss in WEIGHTLESS:
            raise ValueError(f"{loss} is not a loss of the paper with a regulariser")
    kinds = [kind_of(loss) for loss in losses]
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"{losses[0]} and {losses[1]} are of one kind: name the best of each")
    return losses


Picked = Annotated[list[LossName], Field(min_length=1, max_length=2), AfterValidator(_one_of_each_kind)]
