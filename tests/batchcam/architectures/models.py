"""The models of the rows, with random weights in which every part of a map shows."""

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn

from .rows import Row

NUM_CLASSES = 10


def build(row: Row) -> tuple[nn.Module, nn.Module]:
    """The model, float64, in the row's mode, and its layer."""
    if row.library == "timm":
        model = timm.create_model(row.model, num_classes=NUM_CLASSES, **row.options)
    else:
        model = torchvision.models.get_model(row.model, weights=None, num_classes=NUM_CLASSES, **row.options)
    return disturb(narrow(model)).double().train(row.mode == "train"), model.get_submodule(row.layer)


def narrow(model: nn.Module, hidden: int = 4096, to: int = 256) -> nn.Module:
    """Give AlexNet's and VGG's classifier fewer hidden units: a gigabyte of weights would show nothing more."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and hidden in (module.in_features, module.out_features):
            inputs, outputs = (to if n == hidden else n for n in (module.in_features, module.out_features))
            model.set_submodule(name, nn.Linear(inputs, outputs))
    return model


def disturb(model: nn.Module) -> nn.Module:
    """Move every bias, scale and statistic from where a fresh model has it.

    Many start with zeros (the last norm of a residual block, layer scale, the head), behind which a map is zero or does
    not show what was left out of it.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim <= 1 or parameter.min() == parameter.max():
                parameter.add_(torch.empty_like(parameter).uniform_(-0.3, 0.3))
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.get_buffer("running_mean").uniform_(-0.3, 0.3)
                module.get_buffer("running_var").uniform_(0.5, 2)
    return model


def other_layers(model: nn.Module, layer: nn.Module, images: Tensor) -> dict[str, nn.Module]:
    """Up to four layers spread over the model, and up to two that return their own input, that put out (N,·,h,w)."""
    runs: dict[str, int] = {}
    outputs: dict[str, bool] = {}
    handles = []
    for name, module in model.named_modules():

        def note(module: nn.Module, args: tuple[object, ...], output: object, name: str = name) -> None:
            runs[name] = runs.get(name, 0) + 1
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                outputs[name] = bool(args) and output is args[0]

        if module is not layer:
            handles.append(module.register_forward_hook(note))
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    modules = dict(model.named_modules())
    chosen = []
    for own_input, most in ((False, 4), (True, 2)):
        names = [name for name, own in outputs.items() if runs[name] == 1 and own == own_input]
        chosen += [names[i] for i in np.unique(np.linspace(0, len(names) - 1, most).astype(int))] if names else []
    return {name: modules[name] for name in chosen}
