"""bench.losses: what each name stands for, and the two published baselines by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from batchcam import BatchCAMLoss, PrototypeLoss, grad_cam, normalize_maps, resize_maps
from bench.cell import backbones
from bench.cell.images import ink
from bench.cell.losses import Batch, Regularizer, hint, input_gradient, regularizer_for, rrr
from bench.names import LOSSES, MASKED, PAPER_LOSSES

PX = 12
BASELINES = pytest.mark.parametrize("baseline", [rrr, hint], ids=["rrr", "hint"])


@pytest.fixture
def prototypes() -> Tensor:
    return torch.rand(10, PX, PX, generator=torch.Generator().manual_seed(1))  # 0 is that of the noise


def known(loss: str, prototypes: Tensor, clean: Tensor | None = None) -> Regularizer:
    """The regulariser of a loss that has one."""
    regularizer = regularizer_for(loss, prototypes, clean)
    assert regularizer is not None
    return regularizer


def step(loss: str = "hint") -> tuple[nn.Module, Batch]:
    """A SimpleCNN and what a regulariser sees of a step with it: half of each image is ink, two images a class."""
    model, _ = backbones.build("simple_cnn", PX)
    assert isinstance(model, backbones.SimpleCNN)
    labels = torch.arange(20) % 10
    images = (torch.rand(20, 1, PX, PX) * (torch.rand(20, 1, PX, PX) > 0.5)).requires_grad_(loss == "input_gradient")
    activations = model.features(images)
    inked = ink(images) if loss in MASKED else None
    return model, Batch(activations, model.head(activations), labels, images, inked)


def maps_of(batch: Batch) -> Tensor:
    raw = grad_cam(batch.activations, batch.logits, batch.labels, create_graph=True)
    return normalize_maps(resize_maps(raw, PX))


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in ("ce", "weight_decay")])
def test_every_loss_is_finite_and_its_gradient_reaches_the_first_layer(loss: str, prototypes: Tensor) -> None:
    model, batch = step(loss)
    value = known(loss, prototypes)(batch)
    assert value.shape == ()
    assert math.isfinite(value.item())
    assert value.item() > (1e-5 if loss == "input_gradient" else 0.01)  # before training no image matters much
    value.backward()
    gradient = model.get_parameter("features.0.weight").grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 1e-7


def test_ce_has_no_regulariser_and_the_papers_losses_are_those_of_the_library(prototypes: Tensor) -> None:
    assert tuple(LOSSES)[:7] == PAPER_LOSSES
    assert regularizer_for("ce", prototypes) is None
    batch = step()[1]
    for family, make in (("prototype", PrototypeLoss), ("batchcam", BatchCAMLoss)):
        for distance in ("l1", "l2", "ssim"):
            found = known(f"{family}-{distance}", prototypes)(batch)
            assert found == make(prototypes, distance)(maps_of(batch), batch.labels)


def centre_blob() -> Tensor:
    """exp(−r²/2σ²), σ a quarter of the side, from the first to the last pixel."""
    axis = [-1 + 2 * i / (PX - 1) for i in range(PX)]
    return torch.tensor([[math.exp(-(x * x + y * y) / (2 * 0.5**2)) for x in axis] for y in axis])


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        ("zero-ssim", lambda P, clean: P),
        ("permuted-ssim", lambda P, clean: P[[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]]),
        ("global_mean-ssim", lambda P, clean: torch.stack([sum(P[c] for c in range(10)) / 10] * 10)),
        ("blob-ssim", lambda P, clean: torch.stack([centre_blob()] * 10)),
        ("noise-ssim", lambda P, clean: torch.rand(P.shape, generator=torch.Generator().manual_seed(0))),
        ("oracle-ssim", lambda P, clean: clean),
    ],
)
def test_a_control_is_the_prototype_loss_with_another_target(
    loss: str, target: Callable[[Tensor, Tensor], Tensor], prototypes: Tensor
) -> None:
    clean, batch = torch.rand(10, PX, PX), step()[1]
    found = known(loss, prototypes, clean)(batch).item()
    expected = PrototypeLoss(target(prototypes, clean), "ssim")(maps_of(batch), batch.labels).item()
    assert found == pytest.approx(expected, abs=1e-6)
    plain = known("prototype-ssim", prototypes)(batch).item()
    assert (abs(found - plain) > 1e-4) == (loss != "zero-ssim")


def test_the_oracle_of_a_dataset_without_decoys_is_the_prototype_loss(prototypes: Tensor) -> None:
    batch = step()[1]
    oracle, plain = (known(f"{name}-ssim", prototypes)(batch) for name in ("oracle", "prototype"))
    assert oracle == plain


def test_noise_is_the_same_in_every_run_and_another_for_every_class(prototypes: Tensor) -> None:
    batch = step()[1]
    first = known("noise-ssim", prototypes)(batch)
    torch.manual_seed(9)
    assert known("noise-ssim", torch.rand(10, PX, PX))(batch) == first
    swapped = batch._replace(labels=batch.labels.flip(0))
    assert known("noise-ssim", prototypes)(swapped) != first


@pytest.mark.parametrize("reading", ["consistency", "batch_image"])
def test_the_other_readings_are_those_of_the_batch_cam_loss(reading: str, prototypes: Tensor) -> None:
    batch = step()[1]
    expected = BatchCAMLoss(None, "ssim", reading=reading)(maps_of(batch), batch.labels, batch.images)
    assert known(f"{reading}-ssim", prototypes)(batch) == expected


def by_hand() -> tuple[Tensor, Tensor]:
    """Activations (2,1,2,2) and logits ±4 times their mean."""
    A = torch.tensor([[[[0.0, 1], [2, 4]]], [[[-3, -1], [0, 1]]]], requires_grad=True) * 1
    return A, A.mean((2, 3)) * torch.tensor([4.0, -4])


def test_rrr_by_hand() -> None:
    """Logits ±4·mean(A), so α is ±1 and the raw map ±A; each image is predicted otherwise than it is labelled."""
    A, logits = by_hand()
    ink = torch.ones(2, 4, 4)
    ink[0, 0, 0] = ink[0, 0, 1] = ink[0, 1, 0] = 0  # three quarters of the first cell are background
    ink[0, :2, 2:] = 0  # all of the second
    ink[0, 3, 2:] = 0  # half of the last
    ink[1, :2, :2] = 0
    ink[1, 2, 0] = 0
    ink[1, 2, 2:] = 0
    batch = Batch(A, logits, torch.tensor([1, 0]), torch.rand(2, 1, 4, 4), ink)
    # A↓ = [[¾, 1], [0, ½]] and [[1, 0], [¼, ½]]; M = [[0, ¼], [½, 1]] and ([[3, 1], [0, −1]] + 1) / 4, without ReLU.
    first = 0.75**2 * 0 + 0.25**2 + 0 + 0.5**2
    second = 1 + 0 + (0.25 * 0.25) ** 2 + 0
    assert rrr(batch).item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_hint_by_hand() -> None:
    """Logits ±4·mean(A); the maps are those of the labels, with ReLU, at the size of the image."""
    A, logits = by_hand()
    ink = torch.tensor([[[0.0, 1], [0, 1]], [[1, 0], [0, 1]]])
    batch = Batch(A, logits, torch.tensor([0, 0]), torch.rand(2, 1, 2, 2), ink)
    # M = [[0, ¼], [½, 1]] and [[0, 0], [0, 1]]; the second image is predicted as 1.
    assert hint(batch).item() == pytest.approx((0.75**2 + 0.5**2 + 1) / 8, abs=1e-6)
    larger = batch._replace(ink=torch.ones(2, 4, 4), images=torch.rand(2, 1, 4, 4))
    assert hint(larger) == (maps_at(larger, 4) - 1).square().mean()


def maps_at(batch: Batch, px: int) -> Tensor:
    return normalize_maps(resize_maps(grad_cam(batch.activations, batch.logits, batch.labels), px))


@BASELINES
def test_the_gradient_of_a_baseline_is_that_of_finite_differences(baseline: Regularizer) -> None:
    """Through α too, which depends on the activations here; float64, central differences."""
    layer, mix = nn.Conv2d(1, 3, 3).double(), nn.Linear(3, 4).double()
    images, labels = torch.rand(5, 1, 8, 8).double(), torch.tensor([0, 1, 2, 3, 0])
    mask = (torch.rand(5, 8, 8) > 0.4).double()

    def value() -> Tensor:
        A = layer(images).tanh()
        return baseline(Batch(A, mix((A + A**3).mean((2, 3)).tanh()), labels, images, mask))

    gradients = torch.autograd.grad(value(), [layer.weight, mix.weight])
    assert value() > 0.01
    for weight, gradient in zip((layer.weight, mix.weight), gradients, strict=True):
        with torch.no_grad():
            place, h = tuple((gradient.abs() == gradient.abs().max()).nonzero()[0]), 1e-6
            ends = []
            for shift in (h, -2 * h):
                weight[place] += shift
                with torch.enable_grad():
                    ends.append(value().item())
            weight[place] += h
        assert gradient[place].abs() > 1e-4
        assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5)


def test_the_targets_of_the_controls_by_hand(prototypes: Tensor) -> None:
    """Each equals the loss whose prototypes it has: for the Batch-CAM loss as for the prototype loss."""
    _, batch = step()
    axis = torch.linspace(0, 2, PX)
    targets = {
        "permuted": prototypes[[*range(1, 10), 0]],
        "global_mean": prototypes.mean(0).repeat(10, 1, 1),
        "corner": torch.exp(-2 * (axis[:, None] ** 2 + axis**2)).repeat(10, 1, 1),
        "inverted": 1 - prototypes,
    }
    maps = maps_of(batch)
    for name, target in targets.items():
        expected = PrototypeLoss(target, "ssim")(maps, batch.labels)
        assert known(f"{name}-ssim", prototypes)(batch).item() == pytest.approx(expected.item(), abs=1e-6), name
    for name in ("permuted", "global_mean"):
        expected = BatchCAMLoss(targets[name], "ssim")(maps, batch.labels)
        found = known(f"batchcam_{name}-ssim", prototypes)(batch)
        assert found.item() == pytest.approx(expected.item(), abs=1e-6), name


def test_the_input_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    images, labels = torch.rand(5, 1, 2, 2).double().requires_grad_(), torch.tensor([0, 1, 2, 0, 1])
    found = input_gradient(Batch(images, model(images), labels, images, None))
    expected, h = 0.0, 1e-5
    for i in range(5):
        for pixel in range(4):
            step = torch.zeros(5, 4).double()
            step[i, pixel] = h
            ends = [cross_entropy(model(images + s * step.view_as(images)), labels, reduction="sum") for s in (1, -1)]
            expected += ((ends[0] - ends[1]).item() / (2 * h)) ** 2 / 5
    assert found.item() == pytest.approx(expected, rel=1e-5)  # the loss is computed in float32
