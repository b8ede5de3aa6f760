"""What a cell sees of a dataset: its images at the cell's resolution, their prototypes, and what is measured on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bench.cell import decoys
from bench.cell.cues import naming_another, pictures, under, without
from bench.cell.data import NUM_CLASSES, Dataset, Split, load
from bench.cell.evaluation import PROBED, Probe
from bench.cell.images import ink, prototypes, resize, subset
from bench.errors import BenchError
from bench.names import CONDITIONS, MASKED
from bench.params import Cell, Training


class Inputs(NamedTuple):
    """Images (N,1 or 3,px,px) float32 in [0, 1] and labels (N,) long, on the device."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    conditions: Mapping[str, Tensor]  # the test images under each of bench.names.CONDITIONS; none without cues
    prototypes: Tensor  # (classes,px,px), of the whole training split
    clean_prototypes: Tensor | None  # of the same images without cues; None where there are none
    train_ink: Tensor | None  # (N,px,px), for a masked loss
    probe: Probe


def inputs(
    source: Path, cell: Cell, settings: Training, device: torch.device, tried: Literal["test", "validation"] = "test"
) -> Inputs:
    """The images of a cell, resized once; `tried` is the split that the model is tested on."""
    dataset = load(source)
    train = _part(cell, dataset, "train", settings.train_images)
    test = _part(cell, dataset, tried, settings.test_images)
    cued = test.shown is not None

    def images(split: Split) -> Tensor:
        return resize(pictures(split), cell.resolution).to(device, memory_format=torch.channels_last)

    test_images = images(test)
    conditions = {name: test_images if name == "decoy" else images(under(test, name)) for name in CONDITIONS if cued}
    return Inputs(
        images(train),
        train.labels.to(device),
        test_images,
        test.labels.to(device),
        conditions,
        prototypes(dataset.train, cell.resolution).to(device),
        prototypes(without(dataset.train), cell.resolution).to(device) if cued else None,
        ink(images(without(train))) if cell.loss in MASKED else None,
        _probe(subset(test, PROBED), images),
    )


def _probe(split: Split, images: Callable[[Split], Tensor]) -> Probe:
    """The images of a split as they are, with what is asked of maps and predictions on them."""
    shown, clean = images(split), images(without(split))
    if split.shown is None:
        return Probe(shown, split.labels.to(shown.device), ink(clean), None, None, None)
    another = images(naming_another(split, torch.Generator().manual_seed(0)))
    patch = None
    if split.corners is not None:
        patch = resize(decoys.masks(split.corners), shown.shape[-1])[:, 0].to(shown.device)
    return Probe(shown, split.labels.to(shown.device), ink(clean), patch, another, images(under(split, "true")))


def _part(cell: Cell, dataset: Dataset, name: Literal["train", "validation", "test"], count: int | None) -> Split:
    """The first `count` images of a split in a fixed random order, every class among them."""
    whole: Split = getattr(dataset, name)
    if count is not None and count > len(whole.labels):
        raise BenchError(f"{cell.name}: {name}_images is {count}, but {cell.dataset} has {len(whole.labels)} of them")
    part = subset(whole, count)
    absent = sorted(set(range(NUM_CLASSES)) - set(part.labels.tolist()))
    if absent:
        names = ", ".join(dataset.class_names[c] for c in absent)
        raise BenchError(
            f"{cell.name}: no image of class {names} among the {len(part.labels)} {name} images; raise {name}_images"
        )
    return part
