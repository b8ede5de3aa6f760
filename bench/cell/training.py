"""Train one model. A seed fixes the initialisation and the order of the images, whatever the loss."""

from collections.abc import Callable

import torch

from bench.cell import backbones
from bench.cell.inputs import Inputs
from bench.cell.losses import Regularizer
from bench.cell.objective import objective
from bench.errors import BenchError
from bench.params import Training

#: Told after every step which seed is under way and how many steps of it are done.
Tick = Callable[[int, int], None]
#: Told after every epoch, counted from 1, with the model in eval mode.
Look = Callable[[int], None]

#: How many losses are kept before they are looked at: to read each at once would make a GPU wait for every step.
LOOK_EVERY = 10


def train(
    backbone: backbones.Backbone,
    inputs: Inputs,
    settings: Training,
    seed: int,
    regularizer: Regularizer | None,
    weight: float,
    where: str,
    tick: Tick,
    look: Look | None = None,
) -> None:
    """Train a model in place on `objective`, with AdamW and a one-cycle schedule.

    Raises:
        BenchError: the loss is NaN or infinite; the sentence names `where` and the step.
    """
    model, device = backbone.model, inputs.train_images.device
    batches = batches_in(inputs, settings, where)
    steps = settings.epochs * batches
    parameters = list(model.parameters())
    flat = [_in_memory_order(parameter.detach()) for parameter in parameters]
    optimizer = torch.optim.AdamW(flat, settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
    order = torch.Generator().manual_seed(seed)
    model.train()
    unread: list[torch.Tensor] = []
    for step in range(steps):
        if step % batches == 0:  # a last incomplete batch is left out: BatchNorm on one image has no variance
            epoch = torch.randperm(len(inputs.train_labels), generator=order)[: batches * settings.batch_size]
            epoch = epoch.view(batches, settings.batch_size).to(device)
        chosen = epoch[step % batches]
        images, labels = inputs.train_images[chosen], inputs.train_labels[chosen]
        inked = None if inputs.train_ink is None else inputs.train_ink[chosen]
        loss = objective(backbone, images, labels, regularizer, weight, inked)
        unread.append(loss.detach())
        if len(unread) == LOOK_EVERY or step == steps - 1:
            _check_finite(unread, step, steps, where)
            unread.clear()
        loss.backward()
        for parameter, same in zip(parameters, flat, strict=True):
            if parameter.grad is not None:
                same.grad, parameter.grad = _in_memory_order(parameter.grad), None
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if look is not None and (step + 1) % batches == 0:
            model.eval()
            look((step + 1) // batches)
            model.train()
        tick(seed, step + 1)


def decayed(loss: str, settings: Training, weight: float) -> Training:
    """The settings of a training with this loss: `weight_decay` adds its weight to AdamW's."""
    if loss != "weight_decay":
        return settings
    return settings.model_copy(update={"weight_decay": settings.weight_decay + weight})


def _in_memory_order(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as a contiguous tensor: (O,H,W,I) where the tensor is (O,I,H,W) channels-last.

    torch's fused AdamW first copies every channels-last gradient: 5 to 10 % of a step of ResNet-18 at 23 px, batch 8.
    On a CPU (2.15) it also updates the wrong elements, silently, where a parameter and its gradient are laid out
    differently; here their shapes would differ, which torch refuses.
    """
    return tensor if tensor.is_contiguous() else tensor.permute(0, 2, 3, 1)


def batches_in(inputs: Inputs, settings: Training, where: str) -> int:
    """Steps in an epoch; `BenchError` where there are fewer images than one batch."""
    batches = len(inputs.train_labels) // settings.batch_size
    if batches == 0:
        raise BenchError(
            f"{where}: batch_size {settings.batch_size} exceeds the {len(inputs.train_labels)} training images"
        )
    return batches


def _check_finite(losses: list[torch.Tensor], last: int, steps: int, where: str) -> None:
    """Raise if one of the losses up to step `last` is not finite."""
    values = torch.stack(losses)
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        first = int(bad[0])
        step = last - len(losses) + 1 + first
        raise BenchError(
            f"{where}: the loss became {values[first].item()} at step {step} of {steps}; a lower learning rate may help"
        )
