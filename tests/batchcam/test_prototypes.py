"""Class prototypes: the pixel mean of each class, at once or over batches."""

import pytest
import torch

import batchcam


def test_prototypes_by_hand():
    images = torch.tensor([[[0.0, 1]], [[1, 0.5]], [[0.5, 0]], [[0.25, 1]]])
    labels = torch.tensor([2, 0, 2, 1])
    assert batchcam.class_prototypes(images, labels, 3).tolist() == [[[1, 0.5]], [[0.25, 1]], [[0.25, 0.5]]]


def test_channels_are_averaged():
    image = torch.tensor([[[[0.0, 1]], [[0.5, 1]], [[1, 0.25]]]])
    assert batchcam.class_prototypes(image, torch.tensor([0]), 1).tolist() == [[[0.5, 0.75]]]
    one_channel = torch.rand(5, 1, 4, 3)
    labels = torch.tensor([0, 1, 0, 1, 1])
    assert torch.equal(
        batchcam.class_prototypes(one_channel, labels, 2), batchcam.class_prototypes(one_channel[:, 0], labels, 2)
    )


@pytest.mark.parametrize("sizes", [[40], [13, 20, 7], [1] * 40, [0, 39, 1]])
def test_accumulating_over_batches_equals_all_at_once(sizes):
    images, labels = torch.rand(40, 2, 5, 4), torch.arange(40) % 3
    sums, counts = torch.zeros(3, 5, 4, dtype=torch.float64), torch.zeros(3, dtype=torch.long)
    for some_images, some_labels in zip(images.split(sizes), labels.split(sizes), strict=True):
        more_sums, more_counts = batchcam.class_sums(some_images, some_labels, 3)
        sums, counts = sums + more_sums, counts + more_counts
    assert counts.tolist() == [14, 13, 13]
    expected = torch.stack([images[labels == c].double().mean((0, 1)) for c in range(3)])
    torch.testing.assert_close(batchcam.prototypes_from_sums(sums, counts), expected, rtol=1e-12, atol=0)
    assert torch.equal(
        batchcam.prototypes_from_sums(sums, counts).float(), batchcam.class_prototypes(images, labels, 3)
    )


def test_many_images_add_up_without_rounding():
    """In float32, the sum of 60,000 values loses about 1e-5 of the mean."""
    images = torch.full((60_000, 1, 1), 0.1)
    prototype = batchcam.class_prototypes(images, torch.zeros(60_000).long(), 1)
    assert prototype.item() == images[0].item()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_prototypes_are_float32_and_float64_stays(dtype):
    images, labels = torch.rand(6, 3, 4).to(dtype), torch.arange(6) % 2
    prototypes = batchcam.class_prototypes(images, labels, 2)
    assert prototypes.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = torch.stack([images[labels == c].double().mean(0) for c in (0, 1)])
    torch.testing.assert_close(prototypes.double(), expected, rtol=1e-7, atol=1e-9)


def test_images_of_zeros_and_ones_are_allowed():
    images = torch.stack([torch.zeros(2, 2), torch.ones(2, 2)])
    assert torch.equal(batchcam.class_prototypes(images, torch.tensor([0, 1]), 2), images)


GOOD = {"images": torch.rand(4, 1, 3, 3), "labels": torch.tensor([0, 1, 2, 0]), "num_classes": 3}


@pytest.mark.parametrize("function", [batchcam.class_prototypes, batchcam.class_sums])
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"images": [1]}, TypeError, r"images must be a floating-point tensor .* got a list"),
        ({"images": torch.ones(4, 3, 3).byte()}, TypeError, r"images must be .* got uint8 of shape \(4, 3, 3\)"),
        ({"images": torch.rand(4, 9)}, ValueError, r"images must be \(N,C,H,W\) or \(N,H,W\), got .* \(4, 9\)"),
        ({"images": torch.rand(4, 1, 1, 3, 3)}, ValueError, r"images must be .* got .* \(4, 1, 1, 3, 3\)"),
        ({"images": torch.rand(4, 3, 3) + 1}, ValueError, r"images must lie in \[0, 1\], got .*before normalisation"),
        ({"images": torch.rand(4, 3, 3) - 1}, ValueError, r"images must lie in \[0, 1\], got -"),
        ({"images": torch.full((4, 3, 3), torch.nan)}, ValueError, r"images must lie in \[0, 1\], got nan"),
        ({"labels": torch.tensor([0, 1])}, ValueError, r"labels must have the shape \(4,\).*got \(2,\)"),
        ({"labels": torch.zeros(4)}, TypeError, r"labels must be a long .* got float32"),
        ({"labels": [0, 1, 2, 0]}, TypeError, r"labels must be a long .* got a list"),
        ({"labels": torch.tensor([0, 1, 3, 0])}, ValueError, r"labels must be in 0\.\.2, got 3"),
        ({"labels": torch.tensor([0, 1, -1, 0])}, ValueError, r"labels must be in 0\.\.2, got -1"),
    ],
)
def test_what_is_wrong_with_an_argument_is_named(function, changed, error, message):
    with pytest.raises(error, match=message):
        function(**(GOOD | changed))


def test_a_class_without_images_is_named():
    with pytest.raises(ValueError, match=r"no images of class 3, 5: "):
        batchcam.class_prototypes(torch.rand(4, 3, 3), torch.tensor([0, 1, 2, 4]), 6)
    with pytest.raises(ValueError, match=r"no images of class 1: "):
        batchcam.prototypes_from_sums(*batchcam.class_sums(torch.rand(2, 3, 3), torch.tensor([0, 0]), 2))
    with pytest.raises(ValueError, match=r"no images of class 0, 1: "):
        batchcam.class_prototypes(torch.rand(0, 3, 3), torch.zeros(0).long(), 2)
