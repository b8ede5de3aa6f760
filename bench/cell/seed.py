"""One seed of a cell: build the model, train it, measure it on the test images."""

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.cell import backbones
from bench.cell.data import NUM_CLASSES
from bench.cell.evaluation import (
    Explained,
    class_examples,
    correct,
    evaluate,
    explain_all,
    other_maps,
    probe,
)
from bench.cell.inputs import Inputs
from bench.cell.losses import Regularizer
from bench.cell.training import Tick, decayed, train
from bench.errors import BenchError
from bench.names import ABLATED, CONDITIONS, FOLLOWED, METRICS
from bench.params import Cell, Params


class Measured(NamedTuple):
    """What one seed leaves."""

    model: nn.Module
    metrics: dict[str, Any]  # by column of cells.csv
    epochs: list[dict[str, Any]]  # with cues: after each epoch `epoch` and `FOLLOWED`, on the probed images
    maps: dict[str, Tensor]  # class means and examples in half precision, and the examples' indices
    images: dict[str, Tensor]  # (S,) float32 each: the metrics of every probed image; and see `_packed`
    train_s: float
    test_s: float


def run_seed(
    params: Params, cell: Cell, seed: int, inputs: Inputs, regularizer: Regularizer | None, tick: Tick
) -> Measured:
    """Train and test one seed.

    Raises:
        BenchError: a loss, or what is measured at the end, is not finite.
    """
    start = time.perf_counter()
    where = f"{cell.name}, seed {seed}"
    backbone = new_backbone(cell, seed, inputs)
    weight = params.weight(cell)
    settings = decayed(cell.loss, params.trained(cell.backbone, cell.resolution), weight)
    epochs: list[dict[str, Any]] = []

    def look(epoch: int) -> None:
        assert inputs.probe.honest is not None
        shown = (inputs.probe.honest, inputs.probe.images)  # in the order of FOLLOWED
        shares = [_share(correct(backbone.model, images, inputs.probe.labels)) for images in shown]
        epochs.append({"seed": seed, "epoch": epoch, **dict(zip(FOLLOWED, shares, strict=True))})

    train(backbone, inputs, settings, seed, regularizer, weight, where, tick, look if inputs.conditions else None)
    trained = time.perf_counter()
    test, probed = _explained(backbone, inputs)
    metrics, class_means = evaluate(test, inputs.test_labels, inputs.prototypes)
    examples, indices = class_examples(*backbone, inputs.test_images, inputs.test_labels)
    with_road = cell.resolution in params.road[cell.backbone]
    found, by_image = probe(backbone.model, inputs.probe, probed, with_road=with_road)
    right = _right(backbone.model, inputs, test.logits)
    metrics |= _by_condition(right) | found
    if cell.backbone == ABLATED:
        metrics |= other_maps(*backbone, inputs.probe, inputs.prototypes)
    bad = [name for name, value in metrics.items() if value is not None and not math.isfinite(value)]
    if bad:  # no loss has seen the last step's update
        raise BenchError(f"{where}: {bad[0]} is not finite after the last step; try a lower learning rate")
    maps = {"class_means": class_means.half(), "examples": examples.half(), "example_indices": indices}
    return Measured(
        backbone.model,
        {"seed": seed, **dict.fromkeys(METRICS), **metrics},  # None: not measured here
        epochs,
        {name: values.cpu().contiguous() for name, values in maps.items()},
        {name: values.float().cpu() for name, values in by_image.items()} | _packed(right),
        trained - start,
        time.perf_counter() - trained,
    )


def new_backbone(cell: Cell, seed: int, inputs: Inputs) -> backbones.Backbone:
    """The model of a seed before its first step: on the images' device, channels-last."""
    torch.manual_seed(seed)
    backbone = backbones.build(cell.backbone, cell.resolution, NUM_CLASSES, inputs.train_images.shape[1])
    backbone.model.to(inputs.train_images.device).to(memory_format=torch.channels_last)
    return backbone


def _explained(backbone: backbones.Backbone, inputs: Inputs) -> tuple[Explained, Explained]:
    """What the model makes of the test images, and of those that are probed: once where these are the same."""
    test = explain_all(*backbone, inputs.test_images, inputs.test_labels)
    if len(inputs.probe.labels) == len(inputs.test_labels):
        return test, test
    # Not picked out of the others: in batches of other images, the last bits are others.
    return test, explain_all(*backbone, inputs.probe.images, inputs.probe.labels)


def _right(model: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
    """Which test images are classified correctly, (N,) bool: as they are (""), and with cues under each condition."""
    found = {"": logits.argmax(1) == inputs.test_labels}
    for name, images in inputs.conditions.items():
        as_they_are = images is inputs.test_images
        found[name] = found[""] if as_they_are else correct(model, images, inputs.test_labels)
    return found


def _by_condition(right: Mapping[str, Tensor]) -> dict[str, float | None]:
    """The accuracies under each condition, and the reliance on the cue: that with the true one − that with a random."""
    found = {f"{name}_accuracy": _share(right[name]) if name in right else None for name in CONDITIONS}
    true, random = found["true_accuracy"], found["decoy_accuracy"]
    return {**found, "reliance": None if true is None or random is None else true - random}


def _packed(right: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`correct` and, with cues, `correct_<condition>`: a bit for each test image, of which there are `tested`."""
    bits = {f"correct_{name}".removesuffix("_"): torch.from_numpy(np.packbits(r.cpu())) for name, r in right.items()}
    return {**bits, "tested": torch.tensor(len(right[""]))}


def _share(right: Tensor) -> float:
    return right.double().mean().item()
