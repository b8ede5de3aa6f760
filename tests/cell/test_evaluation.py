"""Accuracy and reconstruction against the definitions written out, one image at a time."""

import math

import pytest
import torch
from torch import Tensor, nn

from batchcam import grad_cam_loop, normalize_maps, resize_maps
from batchcam.distances import l1, l2, ssim
from bench.cell import evaluation as module
from bench.cell.evaluation import BATCH, Probe, class_examples, correct, evaluate, explain_all, probe
from bench.cell.road import road

PX, CLASSES = 12, 3


class Toy(nn.Module):
    """A layer of two channels, pooled and mixed to three logits; dark images have all-zero maps."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, stride=3)
        self.layer = nn.Sequential(self.convolution, nn.ReLU())
        self.fc = nn.Linear(2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.layer(x).mean((2, 3)))
        return logits


@pytest.fixture
def toy() -> tuple[Toy, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    model = Toy()
    with torch.no_grad():
        assert model.convolution.bias is not None
        model.convolution.bias.zero_()
        model.convolution.weight.abs_()
        model.fc.weight[2] = -1  # class 2 has negative evidence alone: its maps are all zero
        model.fc.weight[:2] = torch.tensor([[1.0, -0.2], [0.3, 0.9]])
    images = torch.rand(BATCH + 7, 1, PX, PX)  # more than one batch, and not a multiple
    images[5] = 0
    labels = torch.arange(len(images)) % CLASSES
    return model, images, labels, torch.rand(CLASSES, PX, PX)


def test_metrics_are_their_definitions(toy: tuple[Toy, Tensor, Tensor, Tensor]) -> None:
    model, images, labels, P = toy
    explained = explain_all(model, model.layer, images, labels)
    metrics, class_means = evaluate(explained, labels, P)
    examples, indices = class_examples(model, model.layer, images, labels)

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
    metrics, _ = evaluate(explain_all(model, model.layer, torch.zeros_like(images), labels), labels, P)
    assert metrics["zero_map_rate"] == 1
    empty = {name for name, value in metrics.items() if value is None}
    assert empty == {name for name in metrics if name.endswith("_nonzero")}
    assert metrics["l2"] == pytest.approx((P**2).mean((1, 2))[labels].mean().item(), abs=1e-6)
    assert all(math.isfinite(value) for value in metrics.values() if value is not None)


def test_the_model_is_tested_in_eval_mode_and_keeps_its_gradients_and_buffers() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images, labels = torch.rand(6, 1, PX, PX), torch.arange(6) % 2
    explained = explain_all(model, model[1], images, labels)
    assert not model.training
    assert torch.equal(explained.logits, model(images))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


class Halves(nn.Module):
    """Images 4×4 in two channels, the patch (the upper left 2×2) and the rest, whose means the logits weigh.

    The map of class 0 is the image in the patch, that of class 1 the image elsewhere, and that of class 2 zero.
    """

    parts: Tensor

    def __init__(self, weights: list[list[float]]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 1, bias=False)
        self.layer.weight.data.fill_(1)
        self.layer.register_forward_hook(lambda layer, inputs, output: output * self.parts)
        self.register_buffer("parts", torch.zeros(2, 4, 4))
        self.parts[0, :2, :2] = 1
        self.parts[1] = 1 - self.parts[0]
        self.weights = torch.tensor(weights, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x).mean((2, 3)) @ self.weights.T
        return logits


LABELS = torch.tensor([0, 0, 0, 1, 1, 2])


def probed() -> tuple[Halves, Probe]:
    """White images with ink by hand; the patch covers the part that `Halves` calls so, and is repainted black."""
    images, ink = torch.ones(6, 1, 4, 4), torch.zeros(6, 4, 4)
    ink[0, :2, :2] = 1
    ink[1, :, :2] = 1
    ink[2, :, 2:] = 1
    ink[3, :, 2:] = 1
    ink[4] = ink[5] = 1
    patch = torch.zeros(6, 4, 4)
    patch[:, :2, :2] = 1
    return Halves([[1, 0], [0, 1], [-1, -1]]), Probe(images, LABELS, ink, patch, images * (1 - patch[:, None]), images)


def measured(
    model: Halves, images: Probe, with_road: bool = False
) -> tuple[dict[str, float | None], dict[str, Tensor]]:
    """What is measured of a model that has not been asked before."""
    return probe(model, images, explain_all(model, model.layer, images.images, images.labels), with_road=with_road)


def test_probe_by_hand() -> None:
    """The map of class 2 has no mass, and its image is alone in its class; the mean patch is ¼ and the mean rest ¾."""
    model, images = probed()
    metrics, by_image = measured(model, images)
    nan = math.nan
    expected = {
        "epg_ink": [1, 1, 0, 8 / 12, 1, nan],
        "specificity": [1 - 1 / 2, 1 - 1 / 2, -1, 8 / 12 - 1, 1 - 8 / 12, nan],
        "decoy_flip": [0] * 6,  # the rest is still the greater part
        "decoy_mass": [1, 1, 1, 0, 0, nan],
    }
    assert by_image.keys() == expected.keys()
    for name, values in expected.items():
        assert by_image[name].tolist() == pytest.approx(values, abs=1e-6, nan_ok=True), name
    assert metrics == {
        "decoy_flip_rate": 0,
        "decoy_mass": pytest.approx(3 / 5),
        "epg_ink": pytest.approx((1 + 1 + 8 / 12 + 1) / 5),
        "specificity": pytest.approx(0, abs=1e-6),
        "coherence": pytest.approx(1 - (-1)),
        "road": None,
        "undefined_maps": 1,
        "lone_images": 1,
    }
    assert not model.training


def test_probe_of_more_than_a_batch_keeps_the_images_in_order() -> None:
    model, images = probed()
    model.weights[0, 0] = 5  # with the patch, class 0 is predicted; without, class 1
    many = Probe(*(tensor.repeat(30, *[1] * (tensor.ndim - 1)) for tensor in images if tensor is not None))
    assert len(many.images) > BATCH
    metrics, by_image = measured(model, many)
    assert by_image["decoy_mass"].tolist() == pytest.approx([1, 1, 1, 0, 0, math.nan] * 30, nan_ok=True)
    assert by_image["decoy_flip"].tolist() == [1] * 180
    assert (metrics["decoy_flip_rate"], metrics["undefined_maps"], metrics["lone_images"]) == (1, 30, 0)
    assert correct(model, many.images, many.labels).tolist() == [True, True, True, False, False, False] * 30


@pytest.mark.parametrize(
    ("weights", "rate"), [([[1.0, 0], [-1, 0.3]], 1), ([[0.0, 1], [0, -1]], 0)], ids=["reads", "ignores"]
)
def test_the_flip_rate_is_1_of_a_model_that_reads_only_the_patch_and_0_of_one_that_ignores_it(
    weights: list[list[float]], rate: float
) -> None:
    model, images = probed()
    model.weights = torch.tensor(weights)
    images = images._replace(labels=LABELS % 2)
    assert measured(model, images)[0]["decoy_flip_rate"] == rate


def test_where_no_map_has_mass_the_map_metrics_are_none_and_all_maps_are_counted() -> None:
    model, images = probed()
    metrics, by_image = measured(model, images._replace(labels=torch.full((6,), 2)), with_road=True)
    assert {name for name, value in metrics.items() if value is None} == {
        "decoy_mass",
        "epg_ink",
        "specificity",
        "coherence",
        "road",
    }
    assert (metrics["undefined_maps"], metrics["lone_images"], metrics["decoy_flip_rate"]) == (6, 0, 0)
    assert by_image["epg_ink"].isnan().all()


def test_without_decoys_there_is_nothing_about_them() -> None:
    model, images = probed()
    metrics, by_image = measured(model, images._replace(patch=None, repainted=None))
    assert list(by_image) == ["epg_ink", "specificity"]
    assert metrics["decoy_flip_rate"] is metrics["decoy_mass"] is None
    assert metrics["epg_ink"] == pytest.approx(11 / 15)


def test_road_is_that_of_the_first_images_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROAD_IMAGES", 4)
    model, images = probed()
    images = images._replace(images=torch.rand(6, 1, 4, 4))
    found = [measured(model, images, with_road=True)[0]["road"] for _ in range(2)]
    maps = normalize_maps(resize_maps(grad_cam_loop(model, model.layer, images.images, LABELS), 4))
    generator = torch.Generator().manual_seed(0)
    expected = road(model, images.images[:4], maps[:4], LABELS[:4], generator).mean().item()
    assert expected != 0
    assert found == [expected] * 2
