"""The maps of independent implementations: captum, torch-cam and pytorch-grad-cam."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM as PytorchGradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchcam.methods import GradCAM as TorchCam
from toys import batch, relative_error, toy

import batchcam
from bench.cell import backbones
from bench.names import BACKBONES

MODELS = ["relu", "batchnorm", "gelu_norms", "simple_cnn", "resnet18", "convnextv2_tiny"]


def build(name, dtype=torch.float64):
    """A model in eval mode, the layer, a batch, and its targets."""
    if name not in BACKBONES:
        model = toy(name, dtype)
        return model, model.layer, *batch(dtype=dtype)
    model, layer = backbones.build(name, 23, num_classes=10)
    images, targets = torch.rand(2, 1, 23, 23, dtype=dtype), torch.tensor([7, 2])
    for module in model.modules():
        # torch-cam and pytorch-grad-cam read the map after an in-place ReLU, which is not the one meant.
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model.to(dtype).eval(), layer, images, targets


@pytest.mark.parametrize("name", MODELS)
def test_captum(name):
    model, layer, images, targets = build(name)
    theirs = LayerGradCam(model, layer)
    for relu in (False, True):
        expected = theirs.attribute(images, target=targets, relu_attributions=relu)[:, 0].detach()
        assert relative_error(batchcam.explain(model, layer, images, targets, relu=relu)[1], expected) < 1e-10


@pytest.mark.parametrize("name", MODELS)
def test_torch_cam(name):
    model, layer, images, targets = build(name)
    with TorchCam(model, layer) as theirs:
        logits = model(images.requires_grad_())
        (expected,) = theirs(targets.tolist(), logits, normalized=False)
    assert relative_error(batchcam.explain(model, layer, images.detach(), targets)[1], expected) < 1e-10


@pytest.mark.parametrize("name", MODELS)
def test_pytorch_grad_cam(name):
    """It normalises each map, resizes it bilinearly and normalises again, with ε = 1e-7 in place of a least range."""

    def min_max(maps):
        maps = maps - maps.amin((1, 2), keepdim=True)
        return maps / (maps.amax((1, 2), keepdim=True) + 1e-7)

    model, layer, images, targets = build(name, torch.float32)
    maps = batchcam.explain(model, layer, images, targets)[1]
    ours = min_max(batchcam.resize_maps(min_max(maps), tuple(images.shape[2:])))
    with PytorchGradCam(model, [layer]) as theirs:
        expected = theirs(images, [ClassifierOutputTarget(int(target)) for target in targets])
    assert expected.max() > 0.9
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-5)
