"""A cell's maps as pictures, with the images and the prototypes beside them."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray

from batchcam import resize_maps
from bench.cell import cues, data, decoys, images
from bench.errors import BenchError
from bench.params import Cell
from bench.report.example_figures import cue_names
from bench.report.page import unpacked

Pictures = NDArray[np.float32]


class Maps(NamedTuple):
    """What a cell left of its maps, normalised and enlarged to the image: all in [0, 1], classes in their order."""

    classes: tuple[str, ...]
    class_means: Pictures  # (seeds,classes,px,px): the mean map of each class over the test images
    examples: Pictures  # (seeds,classes,px,px): the map of one test image of each class
    images: Pictures  # (classes,px,px,3): those images, as the model sees them
    prototypes: Pictures  # (classes,px,px): the mean training image of each class
    cues: tuple[str, ...]  # the class that the cue of each image names; empty without cues
    patches: Pictures | None  # (classes,3): left, top and side in pixels of the decoy on each image


def read(folder: Path, directory: Path, cell: Cell, test_images: int | None) -> Maps:
    """The maps in a cell's directory.

    Args:
        folder: where the datasets are; the cell's is made where it is missing.
        directory: of the cell, with maps.safetensors.
        cell: whose maps these are.
        test_images: that the cell was tested on; None: all.

    Raises:
        BenchError: one of the files is missing or damaged; a dataset that is missing cannot be made.
    """
    path = directory / "maps.safetensors"
    try:
        found = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    dataset, prototypes = _dataset(folder / f"{cell.dataset}.safetensors", cell.resolution)
    shown = images.subset(dataset.test, test_images)
    split = data.Split(*(None if part is None else part[found["example_indices"]] for part in shown))  # type: ignore[arg-type]
    pictures = images.resize(cues.pictures(split), cell.resolution).expand(-1, 3, -1, -1).movedim(1, -1)
    seeds, classes = found["class_means"].shape[:2]
    means, examples = (
        resize_maps(found[name].flatten(0, 1).float(), cell.resolution).unflatten(0, (seeds, classes)).clamp(0, 1)
        for name in ("class_means", "examples")
    )
    return Maps(
        dataset.class_names, means.numpy(), examples.numpy(), pictures.numpy(), prototypes.numpy(),
        tuple(cue_names(split, dataset.class_names)), _patches(split, cell.resolution),
    )  # fmt: skip


def by_image(directory: Path) -> dict[str, NDArray[np.float64]]:
    """The metrics of single test images in a cell's directory, (seeds,images) each; `BenchError` if missing or damaged."""
    path = directory / "images.safetensors"
    try:
        return unpacked(safetensors.numpy.load_file(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BenchError:
    """What is wrong with a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return BenchError(f"{path} is missing: dvc pull fetches it")
    return BenchError(f"{path} is damaged ({error}): python -m bench cell makes it again")


@lru_cache
def _dataset(path: Path, resolution: int) -> tuple[data.Dataset, torch.Tensor]:
    """A dataset, made where it is missing, and its prototypes."""
    if not path.is_file():
        from bench.prepare.datasets import prepare

        prepare(path.stem, path.parent)
    found = data.load(path)
    return found, images.prototypes(found.train, resolution)


def _patches(split: data.Split, resolution: int) -> Pictures | None:
    """Left, top and side of each decoy, in pixels."""
    if split.corners is None:
        return None
    side, corners = resolution * decoys.SIDE / decoys.IMAGE, split.corners.numpy()
    places = np.stack([corners % 2 * (resolution - side), corners // 2 * (resolution - side)], axis=1)
    return np.column_stack([places, np.full(len(corners), side)]).astype(np.float32)
