"""What a cell sees of a dataset: its images at the cell's resolution, their prototypes, and what is measured on."""

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bench.cell import decoys
from bench.cell.data import NUM_CLASSES, Dataset, Split, load
from bench.cell.evaluation import PROBED, Probe
from bench.cell.images import ink, prototypes, resize, subset, without_decoys
from bench.errors import BenchError
from bench.names import MASKED
from bench.params import Cell, Training


class Inputs(NamedTuple):
    """Images (N,1,px,px) float32 in [0, 1] and labels (N,) long, on the device."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    prototypes: Tensor  # (classes,px,px), of the whole training split
    clean_prototypes: Tensor | None  # of the same images without decoys; None where there are none
    clean_test_images: Tensor | None
    train_ink: Tensor | None  # (N,px,px), for a masked loss
    probe: Probe


def inputs(
    source: Path, cell: Cell, settings: Training, device: torch.device, tried: Literal["test", "validation"] = "test"
) -> Inputs:
    """The images of a cell, resized once; `tried` is the split that the model is tested on."""
    dataset = load(source)
    train = _part(cell, dataset, "train", settings.train_images)
    test = _part(cell, dataset, tried, settings.test_images)

    def images(split: Split) -> Tensor:
        return resize(split.images, cell.resolution).to(device, memory_format=torch.channels_last)

    def clean(split: Split) -> Tensor:
        return images(without_decoys(split))

    probed = subset(test, PROBED)
    patch = repainted = None
    if probed.corners is not None:
        patch = resize(decoys.masks(probed.corners), cell.resolution)[:, 0].to(device)
        shown = decoys.patch(probed.images, probed.corners)[:, 0, 0]
        other = decoys.other_grey(shown, torch.Generator().manual_seed(0))
        repainted = images(Split(decoys.paint(probed.images, probed.corners, other), probed.labels))
    decoyed = test.corners is not None
    return Inputs(
        images(train),
        train.labels.to(device),
        images(test),
        test.labels.to(device),
        prototypes(dataset.train, cell.resolution).to(device),
        prototypes(without_decoys(dataset.train), cell.resolution).to(device) if decoyed else None,
        clean(test) if decoyed else None,
        ink(clean(train)) if cell.loss in MASKED else None,
        Probe(images(probed), probed.labels.to(device), ink(clean(probed)), patch, repainted),
    )


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
