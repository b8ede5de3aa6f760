"""How long the cells of a profile will take, from a few measured steps of each kind."""

import time
from collections.abc import Iterable
from pathlib import Path

import torch

from batchcam import explain
from bench.cell.backbones import Backbone, build
from bench.cell.data import NUM_CLASSES, Dataset, load
from bench.cell.device import prepare_device
from bench.cell.evaluation import BATCH, ROAD_IMAGES
from bench.cell.losses import regularizer_for
from bench.cell.objective import objective
from bench.names import CONDITIONS, WEIGHTLESS, has_cue
from bench.params import Params
from bench.run.pipeline import Task

STEPS = 2  # measured, after one that is not
#: A guided step of any loss is near that of this one.
GUIDED = "prototype-ssim"
#: What ROAD takes on one core, measured at 23 px: it grows with the pixels, and the band of its systems with the side.
ROAD_S_PER_IMAGE_AT_23 = 0.01


def seconds(params: Params, tasks: Iterable[Task]) -> dict[Task, float]:
    """About how long each task takes from its first seed to its last, alone on its threads.

    Reads: data/DATASET.safetensors. Measures steps and explanations of random images, once for each kind.
    """
    device = prepare_device(params)
    data = {task.cell.dataset: load(Path("data", f"{task.cell.dataset}.safetensors")) for task in tasks}
    steps: dict[tuple[str, int, bool], float] = {}
    looks: dict[tuple[str, int], float] = {}
    found = {}
    for task in tasks:
        cell, settings = task.cell, params.training[task.cell.backbone]
        guided = cell.loss not in WEIGHTLESS
        kind, place = (cell.backbone, cell.resolution, guided), (cell.backbone, cell.resolution)
        if kind not in steps:
            steps[kind] = _step(build(*place), cell.resolution, settings.batch_size, device, guided=guided)
        if place not in looks:
            looks[place] = _look(build(*place), cell.resolution, device)
        trained, tested = _counts(params, task, data[cell.dataset])
        sweep = params.sweep_of(cell) if task.swept else None
        epochs = settings.epochs if sweep is None else sweep.epochs
        one = steps[kind] * epochs * (trained // settings.batch_size) + looks[place] * tested
        if not task.swept and cell.resolution in params.road[cell.backbone]:
            one += ROAD_S_PER_IMAGE_AT_23 * ROAD_IMAGES * (cell.resolution / 23) ** 3
        found[task] = one * _trainings(params, task)
    return found


def _trainings(params: Params, task: Task) -> int:
    sweep = params.sweep_of(task.cell) if task.swept else None
    if sweep is None:
        return params.seeds(task.cell)
    return sweep.seeds * (1 if task.cell.loss in WEIGHTLESS else len(sweep.weights))


def _counts(params: Params, task: Task, data: Dataset) -> tuple[int, int]:
    """How many images a training sees in an epoch, and how many are looked at when it is tested."""
    settings = params.training[task.cell.backbone]
    trained = settings.train_images or len(data.train.labels)
    tested = len(data.validation.labels) if task.swept else settings.test_images or len(data.test.labels)
    return trained, tested * (1 + len(CONDITIONS) if has_cue(task.cell.dataset) and not task.swept else 1)


def _step(backbone: Backbone, resolution: int, batch: int, device: torch.device, *, guided: bool) -> float:
    """Seconds of a training step."""
    model = backbone.model.to(device).train()
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
    model = backbone.model.to(device).eval()
    images = torch.rand(BATCH // 4, 1, resolution, resolution, device=device)
    explain(model, backbone.layer, images[:2])
    start = _now(device)
    explain(model, backbone.layer, images)
    return (_now(device) - start) / len(images)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
