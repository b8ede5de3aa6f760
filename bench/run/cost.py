"""What running a profile costs at a place: time, memory and disk, by earlier cells where there are any."""

import json
from collections.abc import Collection
from concurrent.futures import Executor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from bench.cell.data import Dataset, load
from bench.display import duration
from bench.names import WEIGHTLESS
from bench.params import Params
from bench.run.estimate import Pace, Place, estimated, measured, tested_images
from bench.run.pipeline import Task
from bench.run.room import check_batch, check_images


class Cost(NamedTuple):
    """About what tasks need."""

    seconds: dict[Task, float]
    source: str  # where the seconds come from, in words
    memory: float | None  # bytes, of the largest process; None: no cell here tells
    disk: float | None  # bytes of all cells; None: no cell is here to tell


class _Earlier(NamedTuple):
    """What a cell that is here took."""

    place: Place
    guided: bool
    step: float  # s
    look: float  # s
    memory: float | None  # bytes
    disk: float  # bytes a seed


def cost(params: Params, tasks: Collection[Task], executor: Executor, *, by_earlier: bool) -> Cost:
    """What tasks need: by the provenance of earlier cells of their backbone and resolution, or measured here.

    Reads: data/DATASET.safetensors; for `by_earlier` runs/*/*/provenance.json, of every profile that has the same
    device and number of threads.
    """
    data = {name: load(Path("data", f"{name}.safetensors")) for name in {task.cell.dataset for task in tasks}}
    for task in tasks:
        check_batch(params, task.cell, data[task.cell.dataset])
        check_images(params, task.cell, data[task.cell.dataset], swept=task.swept)
    found = _earlier(params, data)
    known = _paces(found) if by_earlier else {}
    source = "by earlier cells" if known else "as measured here"
    place = params
    if params.device == "cuda" and not torch.cuda.is_available():
        place, source = params.model_copy(update={"device": "cpu"}), f"{source}, on the CPU where there is no GPU"
    paces = measured(place, [task for task in tasks if _place(task) not in known], executor)
    if known and paces:
        source = f"{source}, some measured here"
    paces |= known
    seconds = estimated(params, tasks, paces, data)
    memory = [pace.memory for pace in paces.values() if pace.memory is not None]
    return Cost(seconds, source, max(memory, default=None), _disk(params, tasks, found))


def described(found: Cost, jobs: int | None) -> str:
    """The cost in a sentence, with the time for so many side by side, or of all jobs."""
    total_s = sum(found.seconds.values())
    time = f"{duration(total_s / jobs)} for {jobs}" if jobs else f"{duration(total_s)} of jobs"
    longest = max(found.seconds.values(), default=0)
    memory = "unknown" if found.memory is None else f"{found.memory / 1e9:.1f} GB"
    disk = "unknown until a cell is here" if found.disk is None else f"{found.disk / 1e6:,.1f} MB"
    return f"about {time} ({found.source}), the longest {duration(longest)}; memory of a cell {memory}; disk {disk}"


def _place(task: Task) -> Place:
    return task.cell.backbone, task.cell.resolution


def _earlier(params: Params, data: dict[str, Dataset]) -> list[_Earlier]:
    """The cells of all profiles that are here and were run on such a device."""
    found = []
    for path in sorted(Path("runs").glob("[!.]*/*/provenance.json")):
        try:
            made = json.loads(path.read_text(encoding="utf-8"))
            if (made["parameters"]["device"], made["parameters"]["threads"]) == (params.device, params.threads):
                found.append(_took(path.parent, made, data))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # `plan` says of each cell what is wrong with it
    return found


def _took(directory: Path, made: dict[str, Any], data: dict[str, Dataset]) -> _Earlier:
    """KeyError: its dataset is none of those that are to be run, so that images cannot be counted."""
    settings, cell = made["parameters"]["training"], made["parameters"]["cell"]
    split = data[cell["dataset"]]
    steps = settings["epochs"] * ((settings["train_images"] or len(split.train.labels)) // settings["batch_size"])
    images = tested_images(cell["dataset"], settings["test_images"] or len(split.test.labels))
    seconds = made["seconds"]
    return _Earlier(
        (cell["backbone"], cell["resolution"]),
        cell["loss"] not in WEIGHTLESS,
        sum(one["train_s"] for one in seconds) / len(seconds) / steps,
        sum(one["test_s"] for one in seconds) / len(seconds) / images,
        made.get("memory"),
        sum(file.stat().st_size for file in directory.iterdir()) / len(seconds),
    )


def _paces(found: list[_Earlier]) -> dict[Place, Pace]:
    """The medians of each place that has a guided cell; a plain step takes at most as long as a guided one.

    Of memory the least: a cell's is that of its process, which may have had a larger cell before.
    """
    paces = {}
    for place in dict.fromkeys(one.place for one in found):
        here = [one for one in found if one.place == place]
        guided = [one.step for one in here if one.guided]
        plain = [one.step for one in here if not one.guided] or guided
        memory = [one.memory for one in here if one.memory is not None]
        if guided:
            paces[place] = Pace(
                median(plain), median(guided), median(one.look for one in here), min(memory, default=None)
            )
    return paces


def _disk(params: Params, tasks: Collection[Task], found: list[_Earlier]) -> float | None:
    """Of the cells; a seed's maps grow with the pixels. The weights, where they are kept, count as in earlier cells."""
    if not found:
        return None
    per_pixel = median(one.disk / one.place[1] ** 2 for one in found)
    return sum(per_pixel * task.cell.resolution**2 * params.seeds(task.cell) for task in tasks if not task.swept)
