"""The two regularisers against plain Python loops; classes, gradients, precision."""

from typing import cast

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

import batchcam
from batchcam.losses import READINGS

DISTANCES = ("l1", "l2", "ssim")
#: Class 3 of 5 is absent, class 4 has one sample.
LABELS = torch.tensor([2, 0, 2, 4, 1, 2, 0])
SIDES = (13, 12)


def plain_distance(name, a, b):
    if name == "ssim":
        return 1 - structural_similarity(
            a.numpy(), b.numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    differences = [abs(x - y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)]
    return sum(d if name == "l1" else d * d for d in differences) / len(differences)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def plain_loss(reading, distance, maps, labels, prototypes, images):
    """The definitions, sample by sample and class by class."""
    labels = labels.tolist()

    def of_class(planes, c):
        return mean(plane for plane, label in zip(planes, labels, strict=True) if label == c)

    if reading == "prototype":
        return mean(plain_distance(distance, m, prototypes[c]) for m, c in zip(maps, labels, strict=True))
    if reading == "class_mean":
        return mean(plain_distance(distance, of_class(maps, c), prototypes[c]) for c in set(labels))
    others = maps if reading == "consistency" else images
    return mean(plain_distance(distance, m, of_class(others, c)) for m, c in zip(maps, labels, strict=True))


def make(reading, distance, prototypes):
    if reading == "prototype":
        return batchcam.PrototypeLoss(prototypes, distance)
    return batchcam.BatchCAMLoss(prototypes if READINGS[reading] else None, distance, reading)


def inputs(dtype=torch.float64):
    n = len(LABELS)
    return (torch.rand(count, *SIDES, dtype=dtype) for count in (n, n, 5))


def call(loss, maps, labels, images):
    reading = getattr(loss, "reading", None)
    return loss(maps, labels, images=images) if reading == "batch_image" else loss(maps, labels)


EVERY = [(reading, distance) for reading in ("prototype", *READINGS) for distance in DISTANCES]


@pytest.mark.parametrize(("reading", "distance"), EVERY)
def test_losses_equal_a_plain_loop(reading, distance):
    maps, images, prototypes = inputs()
    value = call(make(reading, distance, prototypes), maps, LABELS, images)
    expected = plain_loss(reading, distance, maps, LABELS, prototypes, images)
    assert value.shape == ()
    assert float(value) == pytest.approx(expected, abs=1e-12)


def test_losses_by_hand():
    maps = torch.tensor([[[0.0, 0.5]], [[1, 0.5]], [[0, 0]]])
    images = torch.tensor([[[1.0, 1]], [[0, 0]], [[0, 1]]])
    prototypes = torch.tensor([[[0.5, 0]], [[1, 1]], [[0.25, 0]]])
    labels = torch.tensor([0, 0, 2])
    assert batchcam.PrototypeLoss(prototypes, "l1")(maps, labels).item() == pytest.approx((0.5 + 0.5 + 0.125) / 3)
    # Mean maps: (0.5, 0.5) of class 0, (0, 0) of class 2; class 1 is absent. Mean images: (0.5, 0.5) and (0, 1).
    by_reading = {
        "class_mean": (0.25 + 0.125) / 2,
        "consistency": (0.25 + 0.25 + 0) / 3,
        "batch_image": (0.25 + 0.25 + 0.5) / 3,
    }
    for reading, expected in by_reading.items():
        loss = batchcam.BatchCAMLoss(prototypes, "l1", reading)
        assert loss(maps, labels, images=images).item() == pytest.approx(expected), reading


def test_defaults():
    prototypes = torch.rand(2, *SIDES)
    assert batchcam.PrototypeLoss(prototypes).distance == "ssim"
    default = batchcam.BatchCAMLoss(prototypes)
    assert (default.distance, default.reading) == ("l1", "class_mean")


@pytest.mark.parametrize(("reading", "distance"), EVERY)
def test_gradients_agree_with_finite_differences(reading, distance):
    maps, images, prototypes = inputs()
    loss = make(reading, distance, prototypes)
    assert torch.autograd.gradcheck(lambda m: call(loss, m, LABELS, images), maps.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_batch_mean_is_not_detached(distance):
    """Moving a map moves the mean that it is compared with: gradients pass through both."""
    labels = torch.tensor([0, 0, 0, 1, 1])
    maps = torch.rand(5, *SIDES, dtype=torch.float64, requires_grad=True)
    value = batchcam.BatchCAMLoss(distance=distance, reading="consistency")(maps, labels)
    means = torch.stack([maps[:3].mean(0)] * 3 + [maps[3:].mean(0)] * 2)
    D = getattr(batchcam.distances, distance)
    (gradient,) = torch.autograd.grad(value, maps)
    (attached,) = torch.autograd.grad(D(maps, means).mean(), maps, retain_graph=True)
    (detached,) = torch.autograd.grad(D(maps, means.detach()).mean(), maps)
    # The window of pytorch-msssim, behind distances.ssim, is rounded to float32.
    tolerance = 1e-5 if distance == "ssim" else 1e-12
    torch.testing.assert_close(gradient, attached, rtol=0, atol=tolerance * float(attached.abs().max()))
    # Around the mean, squared deviations sum to zero: for l2, and l2 alone, the mean's share cancels.
    differs = (gradient - detached).abs().max() > 0.01 * detached.abs().max()
    assert differs == (distance != "l2")


@pytest.mark.parametrize(("reading", "distance"), EVERY)
def test_only_the_classes_of_the_batch_count(reading, distance):
    """Prototypes of absent classes change nothing, and neither does how the classes are numbered."""
    maps, images, prototypes = inputs()
    value = call(make(reading, distance, prototypes), maps, LABELS, images)
    altered = prototypes.clone()
    altered[3] = 0
    assert torch.equal(value, call(make(reading, distance, altered), maps, LABELS, images))
    renumbered = prototypes.roll(1, dims=0)
    torch.testing.assert_close(value, call(make(reading, distance, renumbered), maps, (LABELS + 1) % 5, images))


@pytest.mark.parametrize("distance", DISTANCES)
def test_losses_are_zero_where_maps_match(distance):
    _, _, prototypes = inputs()
    same = prototypes[LABELS]
    assert batchcam.PrototypeLoss(prototypes, distance)(same, LABELS).abs() < 1e-12
    for reading in READINGS:
        assert batchcam.BatchCAMLoss(prototypes, distance, reading)(same, LABELS, images=same).abs() < 1e-12


def test_channels_of_the_images_are_averaged():
    maps, images, _ = inputs()
    colours = torch.stack([images * 0.5, images * 0.75, images], dim=1)
    loss = batchcam.BatchCAMLoss(distance="l2", reading="batch_image")
    torch.testing.assert_close(loss(maps, LABELS, images=colours), loss(maps, LABELS, images=images * 0.75))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("reading", "distance"), EVERY)
def test_losses_are_float32_and_float64_stays(reading, distance, dtype):
    maps, images, prototypes = inputs(torch.float32)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    loss = make(reading, distance, prototypes)
    value = call(loss, maps.to(dtype), LABELS, images)
    assert value.dtype == expected
    assert torch.equal(value, call(loss, maps.to(dtype).to(expected), LABELS, images))


def test_prototypes_are_a_buffer_and_nothing_is_learned():
    prototypes = torch.rand(2, *SIDES)
    for loss in (batchcam.PrototypeLoss(prototypes), batchcam.BatchCAMLoss(prototypes)):
        assert torch.equal(loss.state_dict()["prototypes"], prototypes)
        assert list(loss.parameters()) == []
        assert loss.double().get_buffer("prototypes").dtype == torch.float64
    assert isinstance(batchcam.BatchCAMLoss(reading="consistency"), nn.Module)


@pytest.mark.parametrize("make", [batchcam.PrototypeLoss, batchcam.BatchCAMLoss])
def test_prototypes_are_the_losses_own(make):
    """What was expanded could not be loaded into, and what the caller changes later would change the target."""
    blob = torch.rand(4, 4)
    loss = make(blob.expand(3, 4, 4))
    state = {"prototypes": torch.rand(3, 4, 4)}
    loss.load_state_dict(state)
    assert loss.prototypes.equal(state["prototypes"])
    given = torch.nn.Parameter(torch.rand(3, 4, 4))
    loss = make(given)
    before = loss.prototypes.clone()
    with torch.no_grad():
        given.zero_()
    assert loss.prototypes.equal(before)
    assert not loss.prototypes.requires_grad
    assert not [*loss.parameters()]


def test_the_loss_says_what_it_is():
    assert repr(batchcam.PrototypeLoss(torch.rand(2, 3, 3), "l1")) == "PrototypeLoss(distance='l1')"
    assert (
        repr(batchcam.BatchCAMLoss(distance="l2", reading="consistency"))
        == "BatchCAMLoss(distance='l2', reading='consistency')"
    )


# Bad arguments


PROTOTYPES = torch.rand(5, *SIDES)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: batchcam.PrototypeLoss(PROTOTYPES, "sim"),
            ValueError,
            "unknown distance 'sim': .*l1, l2, ssim; did you mean 'ssim'",
        ),
        (
            lambda: batchcam.PrototypeLoss(PROTOTYPES, "?"),
            ValueError,
            r"unknown distance '\?': choose one of l1, l2, ssim$",
        ),
        (lambda: batchcam.PrototypeLoss(PROTOTYPES[0]), ValueError, r"prototypes must be \(C,H,W\), got .* \(13, 12\)"),
        (lambda: batchcam.PrototypeLoss(cast(Tensor, [1])), TypeError, r"prototypes must be .* got a list"),
        (lambda: batchcam.BatchCAMLoss(PROTOTYPES, "l3"), ValueError, "unknown distance 'l3'"),
        (
            lambda: batchcam.BatchCAMLoss(PROTOTYPES, reading="mean"),
            ValueError,
            "unknown reading 'mean': .*class_mean, consistency, batch_image",
        ),
        (lambda: batchcam.BatchCAMLoss(), ValueError, r"'class_mean' compares with prototypes: pass them, \(C,H,W\)"),
        (
            lambda: batchcam.BatchCAMLoss(PROTOTYPES[None]),
            ValueError,
            r"prototypes must be \(C,H,W\), got .* \(1, 5, 13, 12\)",
        ),
        (
            lambda: batchcam.BatchCAMLoss(PROTOTYPES.long(), reading="consistency"),
            TypeError,
            "prototypes must be .* got int64",
        ),
        *(
            (
                lambda make=make, prototypes=prototypes: make(prototypes),
                ValueError,
                r"prototypes must lie in \[0, 1\], got .*; take images in 0\.\.1, before normalisation",
            )
            for make in (batchcam.PrototypeLoss, batchcam.BatchCAMLoss)
            for prototypes in (PROTOTYPES * 255, PROTOTYPES - 0.5, PROTOTYPES * torch.nan)
        ),
    ],
)
def test_a_loss_that_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


LOSSES = [("prototype", "l1"), *((reading, "l1") for reading in READINGS)]


@pytest.mark.parametrize(("reading", "distance"), LOSSES)
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"maps": [1]}, TypeError, r"maps must be .* \(N,H,W\), got a list"),
        ({"maps": torch.ones(7, *SIDES).long()}, TypeError, "maps must be .* got int64"),
        ({"maps": torch.rand(7, 1, *SIDES)}, ValueError, r"maps must be \(N,H,W\), got .* \(7, 1, 13, 12\)"),
        ({"maps": torch.rand(0, *SIDES), "labels": LABELS[:0]}, ValueError, "at least one map, got an empty batch"),
        (
            {"maps": torch.rand(7, *SIDES) * 30},
            ValueError,
            r"maps must lie in \[0, 1\], got .*; normalize_maps brings them there",
        ),
        ({"labels": LABELS[:3]}, ValueError, r"labels must have the shape \(7,\).*got \(3,\)"),
        ({"labels": LABELS.int()}, TypeError, "labels must be a long .* got int32"),
        ({"labels": LABELS.tolist()}, TypeError, "labels must be a long .* got a list"),
        ({"labels": LABELS - 1}, ValueError, r"labels must be (in 0\.\.4|at least 0), got -1"),
    ],
)
def test_what_is_wrong_with_a_batch_is_named(reading, distance, changed, error, message):
    arguments = {"maps": torch.rand(7, *SIDES), "labels": LABELS, "images": torch.rand(7, *SIDES)} | changed
    with pytest.raises(error, match=message):
        call(make(reading, distance, PROTOTYPES), **arguments)


@pytest.mark.parametrize("loss", [batchcam.PrototypeLoss(PROTOTYPES, "l1"), batchcam.BatchCAMLoss(PROTOTYPES)])
def test_what_does_not_fit_the_prototypes_is_named(loss):
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.4, got 5"):
        loss(torch.rand(7, *SIDES), LABELS + 1)
    with pytest.raises(ValueError, match=r"maps \(7, 3, 3\) and prototypes \(5, 13, 12\) differ in height or width"):
        loss(torch.rand(7, 3, 3), LABELS)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (None, ValueError, r"'batch_image' needs the images of the maps, \(N,H,W\) or \(N,channels,H,W\)"),
        (torch.rand(3, *SIDES), ValueError, r"images \(3, 13, 12\) and maps \(7, 13, 12\) differ in N"),
        (torch.rand(7, 3), ValueError, r"images must be \(N,H,W\) or .*, got float32 of shape \(7, 3\)"),
        (
            torch.ones(7, *SIDES).byte(),
            TypeError,
            r"images must be a floating-point tensor .* uint8 of shape \(7, 13, 12\)",
        ),
        (torch.rand(7, *SIDES) - 0.5, ValueError, r"images must lie in \[0, 1\], .* before normalisation"),
        (torch.rand(7, 3, 5, 5), ValueError, r"maps \(7, 13, 12\) and images \(7, 3, 5, 5\) differ in height or width"),
    ],
)
def test_images_that_do_not_fit_are_named(images, error, message):
    with pytest.raises(error, match=message):
        batchcam.BatchCAMLoss(reading="batch_image")(torch.rand(7, *SIDES), LABELS, images=images)


@pytest.mark.parametrize(("reading", "distance"), EVERY)
def test_what_rounding_leaves_outside_of_0_and_1_is_taken(reading, distance):
    """Images that were normalised, kept in bfloat16 and brought back reach −.002."""
    maps, images, prototypes = (values.clone() for values in inputs(torch.float32))
    for values in (maps, images, prototypes):
        values[0, 0, :2] = torch.tensor([-0.004, 1.004])
    assert call(make(reading, distance, prototypes), maps, LABELS, images).isfinite()


@pytest.mark.parametrize("beyond", [-0.02, 1.02])
def test_what_is_more_than_a_rounding_outside_is_not(beyond):
    maps, images, prototypes = (values.clone() for values in inputs(torch.float32))
    for values in (maps, images, prototypes):
        values[-1, -1, -1] = beyond
    _, good_images, good_prototypes = inputs(torch.float32)
    with pytest.raises(ValueError, match=r"prototypes must lie in \[0, 1\]"):
        batchcam.PrototypeLoss(prototypes)
    with pytest.raises(ValueError, match=r"maps must lie in \[0, 1\]"):
        batchcam.PrototypeLoss(good_prototypes)(maps, LABELS)
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\]"):
        batchcam.BatchCAMLoss(reading="batch_image")(good_images, LABELS, images=images)


def test_where_values_cannot_be_looked_at_they_are_not():
    """Under torch.func, and on the meta device, where models are made before they have memory."""
    maps, _, prototypes = inputs(torch.float32)
    loss = batchcam.PrototypeLoss(prototypes, "l1")
    many = torch.func.vmap(lambda m: loss(m, LABELS))(torch.stack([maps, 1 - maps]))
    torch.testing.assert_close(many, torch.stack([loss(maps, LABELS), loss(1 - maps, LABELS)]))
    assert batchcam.PrototypeLoss(torch.zeros(4, 16, 16, device="meta")).prototypes.is_meta


@pytest.mark.parametrize(("reading", "distance"), EVERY)
def test_maps_that_are_not_a_number_give_a_loss_that_is_not_one(reading, distance):
    """An overflow under mixed precision: GradScaler skips such a step."""
    maps, images, prototypes = inputs(torch.float32)
    maps[0, 3, 4] = torch.nan
    assert call(make(reading, distance, prototypes), maps, LABELS, images).isnan()


@pytest.mark.parametrize("reading", ["prototype", *READINGS])
def test_maps_smaller_than_the_window_of_ssim_are_refused(reading):
    small = torch.rand(7, 10, 30)
    with pytest.raises(ValueError, match=r"at least 11×11 pixels"):
        call(make(reading, "ssim", torch.rand(5, 10, 30)), small, LABELS, small)
