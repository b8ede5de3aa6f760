"""The maps of independent implementations: captum, torch-cam and pytorch-grad-cam."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM as PytorchGradCam
from pytorch_grad_cam import HiResCAM as PytorchHiResCam
from pytorch_grad_cam import LayerCAM as PytorchLayerCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchcam.methods import GradCAM as TorchCam
from torchcam.methods import LayerCAM as TorchLayerCam

import batchcam
from batchcam import layouts
from bench.cell import backbones
from bench.names import BACKBONES
from tests.toys import batch, relative_error, toy, transformer

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


# Other methods and layouts


@pytest.mark.parametrize(("method", "peer"), [("hires_cam", PytorchHiResCam), ("layer_cam", PytorchLayerCam)])
@pytest.mark.parametrize("name", ["relu", "batchnorm", "gelu_norms", "simple_cnn"])
def test_pytorch_grad_cam_on_other_methods(name, method, peer):
    """Its formula on what it recorded itself; its own result is float32, see above."""
    model, layer, images, targets = build(name)
    with peer(model, [layer]) as theirs:
        theirs(images, [ClassifierOutputTarget(int(target)) for target in targets])
        recorded = theirs.activations_and_grads
        A, g = recorded.activations[0].numpy(), recorded.gradients[0].numpy()
        expected = torch.from_numpy(theirs.get_cam_image(None, None, None, A, g, False))
    maps = batchcam.explain(model, layer, images, targets, relu=False, method=method)[1]
    assert relative_error(maps, expected) < 1e-10


@pytest.mark.parametrize("name", ["relu", "batchnorm", "gelu_norms", "simple_cnn"])
def test_torch_cam_on_layer_cam(name):
    model, layer, images, targets = build(name)
    with TorchLayerCam(model, layer) as theirs:
        logits = model(images.requires_grad_())
        (expected,) = theirs(targets.tolist(), logits, normalized=False)
    maps = batchcam.explain(model, layer, images.detach(), targets, method="layer_cam")[1]
    assert relative_error(maps, expected) < 1e-10


@pytest.mark.parametrize("channels_last", [False, True])
def test_pytorch_grad_cam_on_layouts(channels_last):
    model, (images, targets) = transformer(skip=0, channels_last=channels_last), batch()
    layout = layouts.channels_last if channels_last else layouts.tokens(4, 3, skip=0)

    def reshape(output):
        return output.reshape(len(output), 4, 3, 8).permute(0, 3, 1, 2)

    with PytorchHiResCam(model, [model.layer], reshape_transform=reshape) as theirs:
        theirs(images, [ClassifierOutputTarget(int(target)) for target in targets])
        (A,), (g,) = theirs.activations_and_grads.activations, theirs.activations_and_grads.gradients
    expected = torch.einsum("nk,nkhw->nhw", g.mean((2, 3)), A).relu()
    assert relative_error(batchcam.explain(model, model.layer, images, targets, layout=layout)[1], expected) < 1e-10
