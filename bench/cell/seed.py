"""One seed of a cell: build the model, train it, measure it on the test images."""

import math
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.cell import backbones
from bench.cell.data import NUM_CLASSES
from bench.cell.evaluation import Explained, accuracy, class_examples, evaluate, explain_all, probe
from bench.cell.inputs import Inputs
from bench.cell.losses import Regularizer
from bench.cell.training import Tick, train
from bench.errors import BenchError
from bench.params import Cell, Params


class Measured(NamedTuple):
    """What one seed leaves."""

    model: nn.Module
    metrics: dict[str, Any]  # by column of cells.csv
    maps: dict[str, Tensor]  # class means and examples in half precision, and the examples' indices
    images: dict[str, Tensor]  # (S,) float32 each: the metrics of every probed image
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
    train(backbone, inputs, params.training[cell.backbone], seed, regularizer, params.weights[cell.loss], where, tick)
    trained = time.perf_counter()
    test, probed = _explained(backbone, inputs)
    metrics, class_means = evaluate(test, inputs.test_labels, inputs.prototypes)
    examples, indices = class_examples(*backbone, inputs.test_images, inputs.test_labels)
    with_road = cell.resolution in params.road[cell.backbone]
    found, by_image = probe(backbone.model, inputs.probe, probed, with_road=with_road)
    metrics |= _with_and_without_decoys(backbone.model, metrics, inputs) | found
    bad = [name for name, value in metrics.items() if value is not None and not math.isfinite(value)]
    if bad:  # no loss has seen the last step's update
        raise BenchError(f"{where}: {bad[0]} is not finite after the last step; try a lower learning rate")
    maps = {"class_means": class_means.half(), "examples": examples.half(), "example_indices": indices}
    return Measured(
        backbone.model,
        {"seed": seed, **metrics},
        {name: values.cpu().contiguous() for name, values in maps.items()},
        {name: values.float().cpu() for name, values in by_image.items()},
        trained - start,
        time.perf_counter() - trained,
    )


def new_backbone(cell: Cell, seed: int, inputs: Inputs) -> backbones.Backbone:
    """The model of a seed before its first step: on the images' device, channels-last."""
    torch.manual_seed(seed)
    backbone = backbones.build(cell.backbone, cell.resolution, NUM_CLASSES)
    backbone.model.to(inputs.train_images.device).to(memory_format=torch.channels_last)
    return backbone


def _explained(backbone: backbones.Backbone, inputs: Inputs) -> tuple[Explained, Explained]:
    """What the model makes of the test images, and of those that are probed: once where these are the same."""
    test = explain_all(*backbone, inputs.test_images, inputs.test_labels)
    if len(inputs.probe.labels) == len(inputs.test_labels):
        return test, test
    # Not picked out of the others: in batches of other images, the last bits are others.
    return test, explain_all(*backbone, inputs.probe.images, inputs.probe.labels)


def _with_and_without_decoys(model: nn.Module, metrics: dict[str, Any], inputs: Inputs) -> dict[str, float | None]:
    """Accuracy on the test images as they are, with misleading decoys, and without them; None where there are none."""
    if inputs.clean_test_images is None:
        return {"decoy_accuracy": None, "clean_accuracy": None}
    clean = accuracy(model, inputs.clean_test_images, inputs.test_labels)
    return {"decoy_accuracy": metrics["accuracy"], "clean_accuracy": clean}
