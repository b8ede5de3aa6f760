"""How long the cells of a profile will take, from a few measured steps of each kind."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import torch

from batchcam import explain
from bench.cell.backbones import Backbone, build
from bench.cell.data import NUM_CLASSES, Dataset
from bench.cell.device import prepare_device
from bench.cell.evaluation import BATCH, ROAD_IMAGES
from bench.cell.losses import regularizer_for
from bench.cell.objective import objective
from bench.errors import BenchError
from bench.names import CONDITIONS, WEIGHTLESS, has_cue
from bench.params import Params
from bench.run.pipeline import Task
from bench.run.provenance import peak_memory

STEPS = 1  # measured, after one that is not
#: A guided step of any loss is near that of this one.
GUIDED = "prototype-ssim"
#: What ROAD takes on one core, measured at 23 px: it grows with the pixels, and the band of its systems with the side.
ROAD_S_PER_IMAGE_AT_23 = 0.01


#: A backbone and a resolution.
Place = tuple[str, int]


class Pace(NamedTuple):
    """Seconds that a backbone takes at a resolution, and the memory."""

    step: float  # of training with the cross-entropy alone
    guided_step: float
    look: float  # at a test image, explaining it
    memory: float | None  # bytes, of its process


def measured(params: Params, tasks: Iterable[Task], executor: Executor) -> dict[Place, Pace]:
    """How fast each backbone and resolution of these tasks is, measured where tasks are to run, on random images."""
    places = dict.fromkeys((task.cell.backbone, task.cell.resolution) for task in tasks)
    waiting = {place: executor.submit(measure, params, *place) for place in places}
    found = {}
    for place, future in waiting.items():
        try:
            found[place] = future.result()
        except BrokenProcessPool:
            where = f"{place[0]} at {place[1]} px"
            raise BenchError(f"the process that tried a step of {where} was killed; too little memory?") from None
    return found


def estimated(
    params: Params, tasks: Iterable[Task], paces: Mapping[Place, Pace], data: Mapping[str, Dataset]
) -> dict[Task, float]:
    """About how many seconds each task takes from its first seed to its last, alone on its threads."""
    found = {}
    for task in tasks:
        cell, settings = task.cell, params.trained(task.cell.backbone, task.cell.resolution)
        step, guided_step, look, _ = paces[cell.backbone, cell.resolution]
        trained, tested = _counts(params, task, data[cell.dataset])
        sweep = params.sweep_of(cell) if task.swept else None
        epochs = settings.epochs if sweep is None else sweep.epochs
        steps = epochs * (trained // settings.batch_size)
        one = steps * (step if cell.loss in WEIGHTLESS else guided_step) + look * tested
        if not task.swept and cell.resolution in params.road[cell.backbone]:
            one += ROAD_S_PER_IMAGE_AT_23 * ROAD_IMAGES * (cell.resolution / 23) ** 3
        found[task] = one * _trainings(params, task)
    return found


def measure(params: Params, backbone: str, resolution: int) -> Pace:
    """How fast a backbone is on the profile's device, with its threads."""
    device = prepare_device(params)
    built, batch = build(backbone, resolution), params.trained(backbone, resolution).batch_size
    built.model.to(device).to(memory_format=torch.channels_last)
    plain, guided = (_step(built, resolution, batch, device, guided=guided) for guided in (False, True))
    return Pace(plain, guided, _look(built, resolution, device), peak_memory())


def _trainings(params: Params, task: Task) -> int:
    sweep = params.sweep_of(task.cell) if task.swept else None
    if sweep is None:
        return params.seeds(task.cell)
    return sweep.seeds * (1 if task.cell.loss in WEIGHTLESS else len(sweep.weights))


def _counts(params: Params, task: Task, data: Dataset) -> tuple[int, int]:
    """How many images a training sees in an epoch, and how many are looked at when it is tested."""
    settings = params.trained(task.cell.backbone, task.cell.resolution)
    trained = settings.train_images or len(data.train.labels)
    tested = len(data.validation.labels) if task.swept else settings.test_images or len(data.test.labels)
    return trained, tested if task.swept else tested_images(task.cell.dataset, tested)


def tested_images(dataset: str, images: int) -> int:
    """How many images are looked at, of so many test images: with cues, under every condition too."""
    return images * (1 + len(CONDITIONS) if has_cue(dataset) else 1)


def _step(backbone: Backbone, resolution: int, batch: int, device: torch.device, *, guided: bool) -> float:
    """Seconds of a training step."""
    model = backbone.model.train()
    images = torch.rand(batch, 1, resolution, resolution, device=device)
    labels = torch.arange(batch, device=device) % NUM_CLASSES
    prototypes = torch.rand(NUM_CLASSES, resolution, resolution, device=device)
    regularizer = regularizer_for(GUIDED, prototypes) if guided else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    for step in range(1 + STEPS):
        if step == 1:
            start = _now(device)
        optimizer.zero_grad()
        objective(backbone, images, labels, regularizer, 1.0).backward()
        optimizer.step()
    return (_now(device) - start) / STEPS


def _look(backbone: Backbone, resolution: int, device: torch.device) -> float:
    """Seconds in which one test image is explained."""
    model = backbone.model.eval()
    images = torch.rand(BATCH // 4, 1, resolution, resolution, device=device)
    explain(model, backbone.layer, images[:2])
    start = _now(device)
    explain(model, backbone.layer, images)
    return (_now(device) - start) / len(images)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
