"""Accuracy and reconstruction against the definitions written out, one image at a time."""

import math

import pytest
import torch
from torch import Tensor, nn

from batchcam import grad_cam_loop, normalize_maps, resize_maps
from batchcam.distances import l1, l2, ssim
from bench.evaluate import BATCH, evaluate

PX, CLASSES = 12, 3


class Toy(nn.Module):
    """A layer of two channels, pooled and mixed to three logits; dark images have all-zero maps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(1, 2, 3, stride=3), nn.ReLU())
        self.fc = nn.Linear(2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer(x).mean((2, 3)))


@pytest.fixture
def toy() -> tuple[Toy, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    model = Toy()
    with torch.no_grad():
        model.layer[0].bias.zero_()
        model.layer[0].weight.abs_()
        model.fc.weight[2] = -1  # class 2 has negative evidence alone: its maps are all zero
        model.fc.weight[:2] = torch.tensor([[1.0, -0.2], [0.3, 0.9]])
    images = torch.rand(BATCH + 7, 1, PX, PX)  # more than one batch, and not a multiple
    images[5] = 0
    labels = torch.arange(len(images)) % CLASSES
    return model, images, labels, torch.rand(CLASSES, PX, PX)


def test_metrics_are_their_definitions(toy: tuple[Toy, Tensor, Tensor, Tensor]) -> None:
    model, images, labels, P = toy
    metrics, class_means, examples, indices = evaluate(model, model.layer, images, labels, P)

    maps = normalize_maps(resize_maps(grad_cam_loop(model, model.layer, images, labels), PX))
    correct = (model(images).argmax(1) == labels).double()
    live = [i for i in range(len(images)) if maps[i].max() > 0]
    assert 0 < len(live) < len(images)
    per_image = {
        "l1": [l1(m[None], P[y][None]).item() for m, y in zip(maps, labels, strict=True)],
        "l2": [l2(m[None], P[y][None]).item() for m, y in zip(maps, labels, strict=True)],
        "ssim": [1 - ssim(m[None], P[y][None]).item() for m, y in zip(maps, labels, strict=True)],
    }
    expected = {
        "accuracy": correct.mean().item(),
        "worst_class_accuracy": min(correct[labels == c].mean().item() for c in range(CLASSES)),
        "zero_map_rate": 1 - len(live) / len(images),
    }
    for name, values in per_image.items():
        expected[name] = sum(values) / len(values)
        expected[f"{name}_nonzero"] = sum(values[i] for i in live) / len(live)
    for suffix, chosen in (("", range(len(images))), ("_nonzero", live)):
        scores = []
        for c in range(CLASSES):
            of_class = [maps[i] for i in chosen if labels[i] == c]
            if of_class:
                mean = torch.stack(of_class).mean(0)[None]
                scores.append((l1(mean, P[c][None]), l2(mean, P[c][None]), 1 - ssim(mean, P[c][None])))
        for i, name in enumerate(("l1", "l2", "ssim")):
            expected[f"class_mean_{name}{suffix}"] = sum(s[i].item() for s in scores) / len(scores)
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, abs=2e-6), name

    for c in range(CLASSES):
        mean = maps[labels == c].mean(0)
        assert torch.allclose(resize_maps(class_means[None, c].float(), PX)[0], mean, atol=1e-5)
        assert indices[c] == c
        assert torch.allclose(resize_maps(examples[None, c], PX)[0], maps[c], atol=1e-5)


def test_where_every_map_is_zero_the_nonzero_columns_are_none(toy: tuple[Toy, Tensor, Tensor, Tensor]) -> None:
    model, images, labels, P = toy
    metrics = evaluate(model, model.layer, torch.zeros_like(images), labels, P).metrics
    assert metrics["zero_map_rate"] == 1
    empty = {name for name, value in metrics.items() if value is None}
    assert empty == {name for name in metrics if name.endswith("_nonzero")}
    assert metrics["l2"] == pytest.approx((P**2).mean((1, 2))[labels].mean().item(), abs=1e-6)
    assert all(math.isfinite(value) for value in metrics.values() if value is not None)


def test_the_model_is_tested_in_eval_mode_and_keeps_its_gradients_and_buffers() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    evaluate(model, model[1], torch.rand(6, 1, PX, PX), torch.arange(6) % 2, torch.rand(2, PX, PX))
    assert not model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
