"""From the raw map to the loss, everything runs in float32 and outside autocast."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

import batchcam
from batchcam.losses import READINGS

LABELS = torch.tensor([2, 0, 2, 1])
DISTANCES = ("l1", "l2", "ssim")


def make(reading, distance, prototypes):
    if reading == "prototype":
        return batchcam.PrototypeLoss(prototypes, distance)
    return batchcam.BatchCAMLoss(prototypes, distance, reading)


def post_processed_loss(reading, distance, raw, prototypes, images):
    maps = batchcam.normalize_maps(batchcam.resize_maps(raw, 23))
    options = {"images": images} if reading == "batch_image" else {}
    return make(reading, distance, prototypes)(maps, LABELS, **options)


def inputs():
    # Maps close to their prototypes: there SSIM is a difference of nearly equal numbers.
    raw = torch.rand(4, 6, 6)
    prototypes = batchcam.normalize_maps(batchcam.resize_maps(raw, 23))[[1, 3, 0]] * 0.97 + 0.01
    return raw, prototypes, prototypes[LABELS]


@pytest.mark.parametrize("raw_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("reading", ["prototype", *READINGS])
def test_losses_under_autocast_are_those_outside(reading, distance, raw_dtype):
    raw, prototypes, images = inputs()
    raw = raw.to(raw_dtype).requires_grad_()
    outside = post_processed_loss(reading, distance, raw, prototypes, images)
    with torch.autocast("cpu", torch.bfloat16):
        inside = post_processed_loss(reading, distance, raw, prototypes, images)
    # Outside the block, as torch recommends: there a backward pass is not autocast either.
    (inside_gradient,) = torch.autograd.grad(inside, raw)
    (outside_gradient,) = torch.autograd.grad(outside, raw)
    assert inside.dtype == torch.float32
    assert inside.item() == pytest.approx(outside.item(), abs=1e-5)
    assert (inside_gradient - outside_gradient).abs().max() <= 1e-5 * outside_gradient.abs().max()


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_under_autocast_are_those_outside(distance):
    raw, _, images = inputs()
    maps = batchcam.normalize_maps(batchcam.resize_maps(raw, 23))
    function = getattr(batchcam.distances, distance)
    outside = function(maps, images)
    with torch.autocast("cpu", torch.bfloat16):
        inside = function(maps, images)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, rtol=0, atol=1e-5)
    assert outside[0] > 0


class AutocastWatch(TorchFunctionMode):
    """Notes of every computation that it sees whether autocast was enabled."""

    COMPUTES = frozenset(
        [
            "interpolate",
            "amin",
            "amax",
            "sub",
            "clamp",
            "div",
            "abs",
            "square",
            "mean",
            "matmul",
            "einsum",
            "conv2d",
            "relu",
        ]
    )

    def __init__(self):
        super().__init__()
        self.seen = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "").strip("_")
        if name in self.COMPUTES:
            self.seen[name] = self.seen.get(name, False) or torch.is_autocast_enabled("cpu")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("compute", "names"),
    [
        (lambda m: batchcam.resize_maps(m, 5), {"interpolate"}),
        (batchcam.normalize_maps, {"amin", "amax", "sub", "clamp", "div"}),
        (lambda m: batchcam.distances.l1(m, m), {"sub", "abs", "mean"}),
        (lambda m: batchcam.distances.l2(m, m), {"sub", "square", "mean"}),
        (lambda m: batchcam.distances.ssim(m, m), {"conv2d"}),
        (lambda m: batchcam.PrototypeLoss(m)(m, LABELS), {"matmul", "square", "sub"}),
        (lambda m: batchcam.BatchCAMLoss(m)(m, LABELS), {"matmul", "abs"}),
        (lambda m: batchcam.BatchCAMLoss(reading="consistency")(m, LABELS), {"matmul", "abs"}),
        (lambda m: batchcam.BatchCAMLoss(reading="batch_image")(m, LABELS, images=m[:, None]), {"matmul", "abs"}),
    ],
    ids=["resize", "normalize", "l1", "l2", "ssim", "prototype-ssim", "class_mean", "consistency", "batch_image"],
)
def test_nothing_is_computed_in_autocast(compute, names):
    """On other devices autocast casts other operations than on a CPU: none may be left to it."""
    with torch.autocast("cpu", torch.bfloat16), AutocastWatch() as watch:
        compute(torch.rand(4, 12, 12))
        assert torch.is_autocast_enabled("cpu")
    assert names <= watch.seen.keys()
    assert [name for name, in_autocast in watch.seen.items() if in_autocast] == []
