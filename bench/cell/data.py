"""A prepared dataset as `bench.prepare` writes it: one safetensors file of uint8 images and labels, in three splits."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from torch import Tensor

from batchcam.checks import describe
from bench.errors import BenchError

NUM_CLASSES = 10
PARTS = ("train", "validation", "test")


class Split(NamedTuple):
    """One part of a dataset: `images` uint8 (N,28,28), `labels` long (N,).

    With cues also `shown` uint8 (N,), the grey of each decoy or the colour of each image, by its index; and with decoys
    `corners` uint8 (N,), where each is. The images are those without cues.
    """

    images: Tensor
    labels: Tensor
    shown: Tensor | None = None
    corners: Tensor | None = None


class Dataset(NamedTuple):
    """What `load` reads: three splits and the name of each class."""

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]


def load(path: Path) -> Dataset:
    """Read what `prepare` wrote; raise `BenchError` if it is missing or damaged."""
    option = "" if path.parent == Path("data") else f" --directory {path.parent}"
    remedy = f"python -m bench prepare {path.stem}{option}"
    if not path.is_file():
        raise BenchError(f"{path} is missing: {remedy} makes it")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            train, validation, test = (_read_split(file, part) for part in PARTS)
            return Dataset(train, validation, test, tuple(about["class_names"]))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BenchError(f"{path} is damaged ({error}): {remedy} makes it again") from error


def _read_split(file: Any, part: str) -> Split:
    """One split out of an open safetensors file; `ValueError` if it is not what `prepare` writes."""
    images, labels = file.get_tensor(f"{part}_images"), file.get_tensor(f"{part}_labels")
    if images.dtype != torch.uint8 or images.shape != (len(images), 28, 28) or not len(images):
        raise ValueError(f"{part}_images must be uint8 (N,28,28), got {describe(images)}")
    if labels.dtype != torch.uint8 or labels.shape != (len(images),) or labels.max() >= NUM_CLASSES:
        raise ValueError(f"{part}_labels must be uint8 ({len(images)},) below {NUM_CLASSES}, got {describe(labels)}")
    cues = [_read_cue(file, f"{part}_{name}", len(images), most) for name, most in (("shown", 255), ("corners", 3))]
    return Split(images, labels.long(), *cues)


def _read_cue(file: Any, name: str, count: int, most: int) -> Tensor | None:
    if name not in file.keys():  # noqa: SIM118 (a safetensors file is no dictionary)
        kind = name.rpartition("_")[2]
        if any(key.endswith(f"_{kind}") for key in file.keys()):  # noqa: SIM118
            raise ValueError(f"{name} is missing, but other parts have it")
        return None
    found: Tensor = file.get_tensor(name)
    if found.dtype != torch.uint8 or found.shape != (count,) or found.max() > most:
        raise ValueError(f"{name} must be uint8 ({count},) up to {most}, got {describe(found)}")
    return found
