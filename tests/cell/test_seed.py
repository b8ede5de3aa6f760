"""One seed: what it measures of which images, and how often it asks the model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import batchcam
from batchcam import explain, normalize_maps, resize_maps
from bench.cell import seed as module
from bench.cell import training
from bench.cell.evaluation import correct, evaluate, explain_all, probe
from bench.cell.inputs import Inputs, inputs
from bench.cell.saliency import energy
from bench.cell.seed import Measured, new_backbone, run_seed
from bench.errors import BenchError
from bench.names import OTHER_METHODS
from bench.params import Cell, Params
from tests.tiny import tiny

CELL = Cell("decoy_digits", "simple_cnn", "ce", 12)

pytestmark = pytest.mark.usefixtures("place")


def quietly(seed: int, step: int) -> None:
    """Show nothing."""


def measured(params: Params) -> tuple[Measured, Inputs]:
    shown = inputs(Path("data/decoy_digits.safetensors"), CELL, params.trained("simple_cnn", 12), torch.device("cpu"))
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
    assert {name: len(found.images[name]) for name in by_image} == dict.fromkeys(by_image, probed)
    assert all(torch.equal(found.images[name].nan_to_num(), by_image[name].float().nan_to_num()) for name in by_image)


def unpacked(found: Measured, name: str) -> Tensor:
    return torch.from_numpy(np.unpackbits(found.images[name], count=int(found.images["tested"]))).bool()


def test_accuracies_under_each_condition_and_which_images_they_are_made_of() -> None:
    found, shown = measured(tiny({"epochs": 3, "test_images": 123}))
    model = found.model.eval()
    assert found.images["tested"] == len(shown.test_labels) == 123  # no multiple of eight
    for name, images in shown.conditions.items():
        right = correct(model, images, shown.test_labels)
        assert torch.equal(unpacked(found, f"correct_{name}"), right)
        assert found.metrics[f"{name}_accuracy"] == right.double().mean().item()
    assert torch.equal(unpacked(found, "correct"), unpacked(found, "correct_decoy"))
    assert found.metrics["accuracy"] == found.metrics["decoy_accuracy"]
    assert found.metrics["reliance"] == found.metrics["true_accuracy"] - found.metrics["decoy_accuracy"]


def test_accuracies_are_followed_over_the_epochs_and_training_does_not_notice() -> None:
    params = tiny({"epochs": 3})
    found, shown = measured(params)
    assert [(row["seed"], row["epoch"]) for row in found.epochs] == [(1, 1), (1, 2), (1, 3)]
    assert shown.probe.honest is not None
    for name, images in (("true_accuracy", shown.probe.honest), ("decoy_accuracy", shown.probe.images)):
        expected = correct(found.model.eval(), images, shown.probe.labels).double().mean().item()
        assert found.epochs[-1][name] == expected
    unwatched = new_backbone(CELL, 1, shown)
    training.train(unwatched, shown, params.trained("simple_cnn", 12), 1, None, 0.0, "here", quietly)
    weights = found.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in unwatched.model.state_dict().items())


def test_without_cues_nothing_is_said_of_them() -> None:
    cell = CELL._replace(dataset="digits")
    params = tiny({})
    shown = inputs(Path("data/digits.safetensors"), cell, params.trained("simple_cnn", 12), torch.device("cpu"))
    found = run_seed(params, cell, 1, shown, None, quietly)
    assert found.epochs == []
    cued = ("true_accuracy", "decoy_accuracy", "reversed_accuracy", "clean_accuracy", "reliance", "decoy_flip_rate")
    assert {found.metrics[name] for name in cued} == {None}
    assert [name for name in found.images if name.startswith("correct")] == ["correct"]


@pytest.mark.parametrize("backbone", ["simple_cnn", "perceptron"])
def test_maps_by_other_methods_are_those_of_one_backbone(backbone: str) -> None:
    cell, params = CELL._replace(backbone=backbone), tiny({"epochs": 3})
    shown = inputs(Path("data/decoy_digits.safetensors"), cell, params.trained(backbone, 12), torch.device("cpu"))
    found = run_seed(params, cell, 1, shown, None, quietly)
    for method in OTHER_METHODS:
        columns = [f"{method}_{what}" for what in ("ssim", "epg_ink", "decoy_mass")]
        if backbone != "simple_cnn":
            assert [found.metrics[name] for name in columns] == [None] * 3
            continue
        layer = list(found.model.get_submodule("features").children())[-1]
        raw = explain(found.model.eval(), layer, shown.probe.images, shown.probe.labels, method=method)[1]
        maps = normalize_maps(resize_maps(raw, 12))
        ssim = 1 - batchcam.distances.ssim(maps, shown.prototypes[shown.probe.labels]).mean().item()
        assert found.metrics[columns[0]] == pytest.approx(ssim, abs=1e-5)
        assert shown.probe.patch is not None
        for name, mask in zip(columns[1:], (shown.probe.ink, shown.probe.patch), strict=True):
            assert found.metrics[name] == pytest.approx(energy(maps, mask).nanmean().item(), abs=1e-5)


@pytest.mark.parametrize(("probed", "explained"), [(120, [120, 10]), (50, [120, 50, 10])])
def test_no_image_is_explained_twice(probed: int, explained: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the ten examples, whose last bits depend on their batch, and the maps by other methods."""
    monkeypatch.setattr("bench.cell.inputs.PROBED", probed)
    asked: list[int] = []

    def counted(
        model: Any, layer: Any, images: Tensor, labels: Tensor, method: Any = "grad_cam", genuine: Any = explain_all
    ) -> Any:
        if method == "grad_cam":
            asked.append(len(images))
        return genuine(model, layer, images, labels, method)

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
