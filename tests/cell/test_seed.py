"""One seed: what it measures of which images, and how often it asks the model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny

from bench.cell import seed as module
from bench.cell import training
from bench.cell.evaluation import evaluate, explain_all, probe
from bench.cell.inputs import Inputs, inputs
from bench.cell.seed import Measured, new_backbone, run_seed
from bench.errors import BenchError
from bench.params import Cell, Params

CELL = Cell("decoy_digits", "simple_cnn", "ce", 12)

pytestmark = pytest.mark.usefixtures("place")


def quietly(seed: int, step: int) -> None:
    """Show nothing."""


def measured(params: Params) -> tuple[Measured, Inputs]:
    shown = inputs(Path("data/decoy_digits.safetensors"), CELL, params.training["simple_cnn"], torch.device("cpu"))
    return run_seed(params, CELL, 1, shown, None, quietly), shown


@pytest.mark.parametrize("probed", [120, 50])
def test_the_metrics_are_those_of_the_model_on_the_test_images_and_on_the_probed_ones(
    probed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the probed images are all of the test images, and their maps are made once."""
    monkeypatch.setattr("bench.cell.inputs.PROBED", probed)
    found, shown = measured(tiny({"epochs": 3}))
    backbone = new_backbone(CELL, 1, shown)
    backbone.model.load_state_dict(found.model.state_dict())
    test = explain_all(*backbone, shown.test_images, shown.test_labels)
    close = explain_all(*backbone, shown.probe.images, shown.probe.labels)
    expected = evaluate(test, shown.test_labels, shown.prototypes)[0]
    about, by_image = probe(backbone.model, shown.probe, close, with_road=False)
    assert {name: found.metrics[name] for name in expected | about} == expected | about
    assert found.metrics["seed"] == 1
    assert {name: len(values) for name, values in found.images.items()} == dict.fromkeys(by_image, probed)
    assert all(torch.equal(found.images[name].nan_to_num(), by_image[name].float().nan_to_num()) for name in by_image)


@pytest.mark.parametrize(("probed", "explained"), [(120, [120, 10]), (50, [120, 50, 10])])
def test_no_image_is_explained_twice(probed: int, explained: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the ten examples, whose last bits depend on their batch."""
    monkeypatch.setattr("bench.cell.inputs.PROBED", probed)
    asked: list[int] = []

    def counted(model: Any, layer: Any, images: torch.Tensor, labels: torch.Tensor, genuine: Any = explain_all) -> Any:
        asked.append(len(images))
        return genuine(model, layer, images, labels)

    monkeypatch.setattr(module, "explain_all", counted)
    monkeypatch.setattr("bench.cell.evaluation.explain_all", counted)
    measured(tiny({}))
    assert asked == explained


def test_weights_that_are_not_finite_after_the_last_step_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = training.train

    def spoil(backbone: Any, *rest: Any) -> None:
        genuine(backbone, *rest)
        backbone.layer.register_forward_hook(lambda *args: args[-1] * float("nan"))

    monkeypatch.setattr(module, "train", spoil)
    with pytest.raises(BenchError, match=r"seed 1: .* is not finite after the last step"):
        measured(tiny({}))
