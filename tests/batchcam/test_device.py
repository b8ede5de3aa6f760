"""The method on the GPU where there is one, held against the CPU; without a GPU the same checks run on the CPU."""

import copy
import gc

import pytest
import torch
import torch.nn.functional as F

import batchcam
from bench.cell import backbones
from bench.cell.device import prepare_device
from tests.tiny import tiny
from tests.toys import batch, toy

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _deterministic():
    prepare_device(tiny({"device": DEVICE.type}))
    yield
    torch.use_deterministic_algorithms(False)


def guided(model, layer, images, labels, distance="ssim"):
    """The loss of a training step with maps."""
    with batchcam.capture(layer) as captured:
        logits = model(images)
    maps = batchcam.grad_cam(captured.activations, logits, labels, create_graph=True)
    maps = batchcam.normalize_maps(batchcam.resize_maps(maps, images.shape[2:]))
    generator = torch.Generator().manual_seed(3)
    prototypes = torch.rand(logits.shape[1], *images.shape[2:], generator=generator).to(maps)
    return F.cross_entropy(logits, labels) + batchcam.PrototypeLoss(prototypes, distance)(maps, labels)


@pytest.mark.parametrize("targets", ["labels", "all"])
@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam"])
def test_maps_are_those_of_the_cpu(method, targets):
    model = toy("batchnorm").eval()
    images, labels = batch()

    def explained(device):
        model.to(device)
        asked = labels.to(device) if targets == "labels" else targets
        return batchcam.explain(model, model.layer, images.to(device), asked, method=method)

    wanted, found = explained(torch.device("cpu")), explained(DEVICE)
    for one, other in zip(found, wanted, strict=True):
        assert one.device.type == DEVICE.type
        torch.testing.assert_close(one.cpu(), other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("distance", ["l1", "l2", "ssim"])
def test_gradients_of_a_guided_step_are_those_of_the_cpu(distance):
    here = toy("batchnorm").train()
    there = copy.deepcopy(here).to(DEVICE)
    images, labels = batch()
    images = F.interpolate(images, (12, 12))
    guided(here, here.layer, images, labels, distance).backward()
    guided(there, there.layer, images.to(DEVICE), labels.to(DEVICE), distance).backward()
    for one, other in zip(there.parameters(), here.parameters(), strict=True):
        torch.testing.assert_close(one.grad.cpu(), other.grad, rtol=1e-6, atol=1e-9)  # SSIM computes in float32


@pytest.mark.parametrize("name", ["simple_cnn", "resnet18"])
def test_a_guided_step_gives_the_same_bits_twice_and_in_channels_last(name):
    built = backbones.build(name, 23)
    images, labels = torch.rand(8, 1, 23, 23).to(DEVICE), (torch.arange(8) % 10).to(DEVICE)

    def gradients(memory_format):
        model = copy.deepcopy(built.model).to(DEVICE).to(memory_format=memory_format)
        layer = dict(zip(built.model.modules(), model.modules(), strict=True))[built.layer]
        guided(model, layer, images, labels).backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    first, second = gradients(torch.channels_last), gradients(torch.channels_last)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    for one, other in zip(first, gradients(torch.contiguous_format), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3 * float(other.abs().max()) + 1e-7)


def test_under_autocast_maps_are_float32_and_near_those_outside():
    model = toy("batchnorm", torch.float32).to(DEVICE).eval()
    images, labels = (tensor.to(DEVICE) for tensor in batch(dtype=torch.float32))
    _, outside = batchcam.explain(model, model.layer, images, labels)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        _, inside = batchcam.explain(model, model.layer, images, labels)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, rtol=0, atol=0.05 * float(outside.max()))


def allocated():
    """Bytes of the living tensors."""
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()
    living = (thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))
    return sum(tensor.nbytes for tensor in living)


def test_memory_stays_flat():
    model = toy("batchnorm", torch.float32).to(DEVICE).train()
    images, labels = (tensor.to(DEVICE) for tensor in batch(dtype=torch.float32))
    images = F.interpolate(images, (12, 12))

    def step():
        guided(model, model.layer, images, labels, "l1").backward()
        model.zero_grad()
        batchcam.explain(model, model.layer, images, labels)

    step()
    before = allocated()
    for _ in range(20):
        step()
    assert allocated() == before
