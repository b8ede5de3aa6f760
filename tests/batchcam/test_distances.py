"""l1, l2 and ssim: by hand, against scikit-image, and by finite differences."""

import pytest
import torch
from skimage.metrics import structural_similarity

import batchcam
from batchcam import distances

EVERY = list(distances.DISTANCES.values())


def pair(n=3, height=14, width=12, dtype=torch.float64):
    return torch.rand(n, height, width, dtype=dtype), torch.rand(n, height, width, dtype=dtype)


def scikit_image(a, b):
    """1 − SSIM. scikit-image averages over the positions at which the 11-pixel window fits into the image."""
    return torch.tensor(
        [
            1
            - structural_similarity(
                x.numpy(), y.numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            for x, y in zip(a, b, strict=True)
        ]
    )


def test_the_names_that_the_losses_take():
    assert {"l1": distances.l1, "l2": distances.l2, "ssim": distances.ssim} == distances.DISTANCES
    assert batchcam.distances is distances


def test_l1_and_l2_by_hand():
    a = torch.tensor([[[0.0, 1], [0.5, 0]], [[1, 1], [1, 1]]])
    b = torch.tensor([[[0.5, 0], [0.5, 0]], [[1, 1], [1, 0]]])
    assert distances.l1(a, b).tolist() == [1.5 / 4, 1 / 4]
    assert distances.l2(a, b).tolist() == [1.25 / 4, 1 / 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(11, 11), (11, 30), (23, 23), (28, 17)])
def test_ssim_is_that_of_scikit_image(size, dtype):
    a, b = pair(4, size[0], size[1], dtype)
    # Unrelated, nearly equal, opposite (SSIM < 0) and on a black background, as maps and prototypes are.
    b[1] = (a[1] + 0.05 * b[1]).clamp(0, 1)
    b[2] = 1 - a[2]
    a[3, :, :4] = b[3, :, :4] = 0
    expected = scikit_image(a, b)
    assert expected.max() > 1 > 0.1 > expected.min()
    torch.testing.assert_close(distances.ssim(a, b).double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("distance", EVERY)
def test_equal_maps_have_distance_zero_and_others_more(distance):
    a, b = pair()
    assert distance(a, a).abs().max() < 1e-12
    assert distance(a, b).min() > 0.05
    zero = torch.zeros_like(a)
    assert distance(zero, zero).abs().max() < 1e-12


@pytest.mark.parametrize("distance", EVERY)
def test_a_batch_equals_its_pairs_one_by_one_and_is_symmetric(distance):
    a, b = pair()
    singles = torch.cat([distance(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    assert distance(a, b).shape == (3,)
    torch.testing.assert_close(distance(a, b), singles, rtol=1e-12, atol=0)
    torch.testing.assert_close(distance(a, b), distance(b, a), rtol=1e-12, atol=0)


@pytest.mark.parametrize("distance", EVERY)
def test_gradients_agree_with_finite_differences(distance):
    a, b = pair(1, 11, 12)
    assert torch.autograd.gradcheck(distance, (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("distance", EVERY)
def test_distances_are_float32_and_float64_stays(distance, dtype):
    a, b = pair(dtype=dtype)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert distance(a, b).dtype == expected
    assert torch.equal(distance(a, b), distance(a.to(expected), b.to(expected)))


@pytest.mark.parametrize("distance", EVERY)
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"a": [1]}, TypeError, r"a must be a floating-point tensor \(N,H,W\), got a list"),
        ({"b": torch.ones(3, 14, 12).long()}, TypeError, r"b must be .* got int64 of shape \(3, 14, 12\)"),
        ({"a": torch.ones(14, 12)}, ValueError, r"a must be \(N,H,W\), got float32 of shape \(14, 12\)"),
        ({"b": torch.ones(3, 1, 14, 12)}, ValueError, r"b must be \(N,H,W\), got float32 of shape \(3, 1, 14, 12\)"),
        ({"b": torch.ones(1, 14, 12)}, ValueError, r"one shape, got \(3, 14, 12\) and \(1, 14, 12\)"),
    ],
)
def test_what_is_no_pair_of_maps_is_named(distance, changed, error, message):
    a, b = pair()
    with pytest.raises(error, match=message):
        distance(**({"a": a, "b": b} | changed))


@pytest.mark.parametrize("size", [(10, 30), (30, 10), (7, 7)])
def test_ssim_refuses_a_side_shorter_than_its_window(size):
    with pytest.raises(ValueError, match=rf"at least 11×11 pixels, got \(2, {size[0]}, {size[1]}\)"):
        distances.ssim(*pair(2, *size))
