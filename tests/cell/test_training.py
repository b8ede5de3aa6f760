"""Training: the objective written out, what it does to the maps, and the optimiser's layout of memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from batchcam import distances
from bench.cell import backbones
from bench.cell.data import Split, load
from bench.cell.images import subset
from bench.cell.inputs import Inputs, inputs
from bench.cell.losses import Batch, input_gradient, regularizer_for
from bench.cell.objective import objective
from bench.cell.training import decayed, train
from bench.names import PAPER_LOSSES
from bench.params import Cell
from tests.tiny import tiny

DIGITS = Path("data/digits.safetensors")
CELL = Cell("digits", "simple_cnn", "prototype-ssim", 12)
#: Losses whose regulariser a few steps make smaller.
REGULARIZED = (*PAPER_LOSSES[1:], "consistency-ssim", "hint")

pytestmark = pytest.mark.usefixtures("place")


def quietly(seed: int, step: int) -> None:
    """Show nothing."""


def trained(
    loss: str, prepare: Callable[[nn.Module], Any] | None = None, **changes: Any
) -> tuple[backbones.Backbone, Inputs, list[float]]:
    """A SimpleCNN, prepared and trained with a loss, what it was trained on, and the loss of every step."""
    params = tiny({"batch_size": 64, **changes})
    settings, device = params.trained("simple_cnn", 12), torch.device("cpu")
    data = inputs(DIGITS, CELL._replace(loss="hint"), settings, device)  # which is told of the ink
    torch.manual_seed(0)
    backbone = backbones.build("simple_cnn", CELL.resolution)
    if prepare is not None:
        prepare(backbone.model)
    regularizer = regularizer_for(loss, data.prototypes)
    losses: list[float] = []
    backward = Tensor.backward

    def noted(loss: Tensor) -> None:
        losses.append(loss.item())
        backward(loss)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "backward", noted)
        train(backbone, data, settings, 0, regularizer, params.weight(CELL._replace(loss=loss)), "here", quietly)
    return backbone, data, losses


def regularizer_of(loss: str, backbone: backbones.Backbone, data: Inputs) -> float:
    model, regularizer = backbone.model, regularizer_for(loss, data.prototypes)
    assert isinstance(model, backbones.SimpleCNN)
    assert regularizer is not None
    activations = model.features(data.train_images)
    batch = Batch(activations, model.head(activations), data.train_labels, data.train_images, data.train_ink)
    return regularizer(batch).item()


@pytest.mark.parametrize("loss", REGULARIZED)
def test_every_regulariser_falls_below_what_training_without_it_reaches(loss: str) -> None:
    assert regularizer_for("ce", torch.rand(10, 12, 12)) is None
    without, data, _ = trained("ce", epochs=12)
    backbone, _, losses = trained(loss, epochs=12)
    assert losses[-1] < losses[0]
    # Not by way of what comes after the layer alone: in front of it, too, the weights are others.
    first = [one.model.get_parameter("features.0.weight") for one in (backbone, without)]
    assert not torch.equal(*first)
    assert regularizer_of(loss, backbone, data) < 0.97 * regularizer_of(loss, without, data)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("loss", ["prototype-l1", "prototype-ssim", "batchcam-l1", "batchcam-l2"])
def test_the_objective_is_cross_entropy_plus_weight_times_regulariser(loss: str, weight: float) -> None:
    torch.manual_seed(0)
    model, _ = backbones.build("simple_cnn", 12)
    assert isinstance(model, backbones.SimpleCNN)
    everything = load(DIGITS).train
    chosen = subset(everything, 64)

    def resized(split: Split) -> Tensor:
        return interpolate(split.images[:, None] / 255, (12, 12), mode="bilinear", antialias=True)

    y, pictures = chosen.labels, resized(everything)[:, 0]
    P = torch.stack([pictures[everything.labels == c].mean(0) for c in range(10)])  # of all, not of the chosen
    A = model.features(resized(chosen))
    logits = model.head(A)
    expected = -logits.log_softmax(1)[torch.arange(64), y].mean()
    M = []
    for i in range(64):
        alpha = torch.autograd.grad(logits[i, y[i]], A, retain_graph=True)[0][i].mean((1, 2))
        raw = (alpha[:, None, None] * A[i]).sum(0).relu()
        m = interpolate(raw[None, None], (12, 12), mode="bilinear", align_corners=False)[0, 0]
        M.append((m - m.min()) / (m.max() - m.min()).clamp(min=1e-6))
    maps = torch.stack(M)
    family, distance = loss.split("-")
    pairs = [(maps[i], P[y[i]]) for i in range(64)]
    if family == "batchcam":
        pairs = [(maps[y == c].mean(0), P[c]) for c in range(10)]
    compare = {
        "l1": lambda m, p: (m - p).abs().mean(),
        "l2": lambda m, p: (m - p).square().mean(),
        "ssim": lambda m, p: distances.ssim(m[None], p[None])[0],
    }[distance]
    value = sum(compare(*pair) for pair in pairs) / len(pairs)
    assert value > 0.01  # far above the tolerance
    expected = expected + weight * value

    losses = trained(loss, weight=weight)[2]
    assert losses == [pytest.approx(expected.item(), abs=2e-5)]


def test_the_steps_are_those_of_torchs_adamw_on_the_models_parameters_to_the_last_bit() -> None:
    """The optimiser works on the same memory in another order of dimensions, which is not to change anything."""

    def channels_last(model: nn.Module) -> None:
        model.to(memory_format=torch.channels_last)

    backbone, data, losses = trained("prototype-l1", channels_last, batch_size=16, epochs=2)
    assert not backbone.model.get_parameter("features.3.weight").is_contiguous()
    torch.manual_seed(0)
    other = backbones.build("simple_cnn", CELL.resolution)
    model = other.model
    channels_last(model)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=8)
    order = torch.Generator().manual_seed(0)
    for chosen in [batch for _ in range(2) for batch in torch.randperm(64, generator=order).split(16)]:
        images, labels = data.train_images[chosen], data.train_labels[chosen]
        loss = objective(other, images, labels, regularizer_for("prototype-l1", data.prototypes), 1.0)
        assert loss.item() == losses.pop(0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    for ours, theirs in zip(backbone.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.grad is None


def test_a_parameter_without_a_gradient_is_left_as_it_is() -> None:
    backbone, _, losses = trained("ce", lambda model: model.register_parameter("unused", nn.Parameter(torch.ones(3))))
    assert len(losses) == 1
    assert torch.equal(backbone.model.get_parameter("unused"), torch.ones(3))


def test_a_gradient_of_one_step_is_not_used_in_the_next() -> None:
    params = tiny({"epochs": 1})
    data = inputs(DIGITS, CELL, params.trained("simple_cnn", 12), torch.device("cpu"))
    backbone = backbones.build("simple_cnn", CELL.resolution)
    once = nn.Parameter(torch.ones(()))
    backbone.model.register_parameter("once", once)
    asked: list[Batch] = []

    def regularizer(batch: Batch) -> Tensor:
        asked.append(batch)
        return once if len(asked) == 1 else torch.zeros(())

    train(backbone, data, params.trained("simple_cnn", 12), 0, regularizer, 1.0, "here", quietly)
    assert len(asked) == 4
    first_rate = 3e-3 / 25  # of the one-cycle schedule
    assert 1 - once.item() == pytest.approx(first_rate * (1 + 0.05), rel=0.01)


def test_a_gradient_of_another_layout_than_its_parameter_is_refused() -> None:
    """torch's fused AdamW takes it, and updates the wrong elements."""

    def other_layout(model: nn.Module) -> None:
        model.to(memory_format=torch.channels_last)
        weight = model.get_parameter("features.3.weight")

        def lay_out(parameter: Tensor) -> None:
            assert parameter.grad is not None
            parameter.grad = parameter.grad.contiguous()

        weight.register_post_accumulate_grad_hook(lay_out)

    with pytest.raises(RuntimeError, match="attempting to assign a gradient of size"):
        trained("ce", other_layout)


def test_the_objective_of_the_input_gradient_has_the_images_in_its_graph() -> None:
    """And the step's own images are left as they are."""
    data = inputs(DIGITS, CELL, tiny({}).trained("simple_cnn", 12), torch.device("cpu"))
    backbone = backbones.build("simple_cnn", CELL.resolution)
    images, labels = data.train_images[:16], data.train_labels[:16]
    plain = objective(backbone, images, labels, None, 0.0)
    guided = objective(backbone, images, labels, input_gradient, 2.0)
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(backbone.model(x), labels, reduction="sum"), x)
    assert (guided - plain).item() == pytest.approx(2 * gradient.square().sum().item() / 16, rel=1e-4)
    guided.backward()
    assert not images.requires_grad


def test_more_weight_decay_is_adamws() -> None:
    settings = tiny({}).trained("simple_cnn", 12)
    assert decayed("weight_decay", settings, 0.3).weight_decay == pytest.approx(0.35)
    assert decayed("prototype-ssim", settings, 0.3) is settings
