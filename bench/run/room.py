"""Whether what a cell holds in memory can fit, estimated before anything of it is allocated."""

import os
from pathlib import Path

import torch

from bench.cell.data import Dataset, load
from bench.errors import BenchError
from bench.names import CONDITIONS, DATASETS, has_cue
from bench.params import Cell, Params, Training

FLOAT = 4  # bytes
#: How much memory a container may use; elsewhere there is no such file, or it says "max".
CGROUP = Path("/sys/fs/cgroup/memory.max")


def check_room(params: Params, cell: Cell, *, swept: bool = False) -> None:
    """`check_images` of a dataset that is still to be read."""
    check_images(params, cell, load(Path("data", f"{cell.dataset}.safetensors")), swept=swept)


def check_images(params: Params, cell: Cell, data: Dataset, *, swept: bool) -> None:
    """Raise `BenchError` if the images of a cell, or of its sweep, alone need more memory than there is.

    What a training step needs on top is not estimated: it depends on the network.
    """
    need, have = (
        image_bytes(cell, params.trained(cell.backbone, cell.resolution), data, swept=swept),
        memory(params.device),
    )
    if need > have:
        raise BenchError(
            f"{cell.name}: its images alone need {need / 1e9:,.1f} GB at {cell.resolution} px, but there are"
            f" {have / 1e9:,.1f} GB of memory: lower resolution, train_images or test_images"
        )


def check_batch(params: Params, cell: Cell, data: Dataset) -> None:
    """Raise `BenchError` if a dataset has fewer training images than a batch of the cell."""
    batch = params.trained(cell.backbone, cell.resolution).batch_size
    if batch > len(data.train.labels):
        raise BenchError(f"{cell.name}: batch_size {batch} exceeds the {len(data.train.labels):,} training images")


def image_bytes(cell: Cell, settings: Training, data: Dataset, *, swept: bool = False) -> int:
    """Of the images that are trained and tested on, at the cell's resolution."""
    trained = settings.train_images or len(data.train.labels)
    tested = len(data.validation.labels) if swept else settings.test_images or len(data.test.labels)
    if has_cue(cell.dataset):
        tested *= len(CONDITIONS)
    channels = 3 if DATASETS[cell.dataset].cue == "color" else 1
    return (trained + tested) * channels * cell.resolution**2 * FLOAT


def memory(device: str) -> int:
    """Bytes of the device's memory, whoever uses them."""
    if device == "cuda" and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[1]
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(CGROUP.read_text()))
    except (OSError, ValueError):
        return physical
