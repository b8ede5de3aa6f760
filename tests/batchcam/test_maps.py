"""resize_maps and normalize_maps, by hand and by finite differences."""

import pytest
import torch

import batchcam
from tests.toys import batch, toy


def test_resizing_is_bilinear_between_pixel_centres():
    # New pixel i of 4 lies at (i + ½)/2 − ½ among the 2 old ones: −¼ (taken for 0), ¼, ¾, 1¼ (taken for 1).
    resized = batchcam.resize_maps(torch.tensor([[[0.0, 4], [8, 12]]]), 4)
    assert resized.tolist() == [[[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]]


def test_making_smaller_does_not_smooth():
    # New pixel i of 2 lies at 2i + ½ among the 4 old ones: the mean of two neighbours.
    row = torch.tensor([[[0.0, 4, 0, 2]]])
    assert batchcam.resize_maps(row.expand(1, 2, 4), (2, 2)).tolist() == [[[2, 1], [2, 1]]]


@pytest.mark.parametrize(("size", "expected"), [(3, (3, 3)), ((3, 2), (3, 2)), (torch.Size((2, 5)), (2, 5))])
def test_size_is_height_then_width(size, expected):
    assert batchcam.resize_maps(torch.rand(2, 4, 5), size).shape == (2, *expected)
    assert batchcam.resize_maps(torch.rand(2, 3, 4, 5), size).shape == (2, 3, *expected)
    assert batchcam.resize_maps(torch.rand(0, 4, 5), size).shape == (0, *expected)


def test_resizing_leaves_the_range_and_the_own_size_alone():
    maps = torch.randn(2, 5, 4) * 300
    assert torch.equal(batchcam.resize_maps(maps, (5, 4)), maps)


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        ([[0.0, 1], [2, 4]], [[0, 0.25], [0.5, 1]]),
        ([[-3.0, -2], [-1, 1]], [[0, 0.25], [0.5, 1]]),
        ([[0.0, 0], [0, 0]], [[0, 0], [0, 0]]),
        ([[7.0, 7], [7, 7]], [[0, 0], [0, 0]]),
        # A range under 1e-6 is divided by 1e-6.
        ([[0.0, 5e-7], [0, 0]], [[0, 0.5], [0, 0]]),
        ([[0.0, 1e-6], [2e-6, 4e-6]], [[0, 0.25], [0.5, 1]]),
    ],
)
def test_normalised_maps_by_hand(raw, normalised):
    raw, normalised = torch.tensor(raw, dtype=torch.float64), torch.tensor(normalised, dtype=torch.float64)
    torch.testing.assert_close(batchcam.normalize_maps(raw[None])[0], normalised, rtol=1e-12, atol=0)
    # Each map has its own range, whatever lies beside it.
    beside = torch.stack([raw, torch.full_like(raw, 9)])
    torch.testing.assert_close(batchcam.normalize_maps(beside)[0], normalised, rtol=1e-12, atol=0)
    torch.testing.assert_close(batchcam.normalize_maps(beside[None])[0, 0], normalised, rtol=1e-12, atol=0)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e4])
def test_a_constant_map_becomes_zero_with_a_finite_gradient(value):
    maps = torch.full((1, 3, 3), value, requires_grad=True)
    normalised = batchcam.normalize_maps(maps)
    assert torch.equal(normalised, torch.zeros(1, 3, 3))
    for target in (0, 0.5):
        (gradient,) = torch.autograd.grad((batchcam.normalize_maps(maps) - target).square().sum(), maps)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (7, 7)])
@pytest.mark.parametrize("value", [1e-3, 1.1, 30.1, -30.1, 1e5])
def test_a_constant_map_is_constant_at_every_size(value, grid, dtype):
    """Resizing leaves it constant but for rounding, which used to become a map of up to 1, and to train."""
    for size in (5, 23, 32, 112, (17, 224)):
        raw = torch.full((2, *grid), value, dtype=dtype, requires_grad=True)
        maps = batchcam.normalize_maps(batchcam.resize_maps(raw, size))
        weights = torch.rand_like(maps)
        (gradient,) = torch.autograd.grad((maps * weights).sum(), raw)
        assert maps.abs().max() == 0
        assert gradient.abs().max() == 0


def test_maps_of_constant_activations_are_constant_but_for_the_sum():
    A, alpha = torch.rand(100, 64, 1, 1).expand(-1, -1, 7, 7).flatten(2), torch.randn(100, 64)
    maps = batchcam.normalize_maps((alpha[:, None] @ A).view(100, 7, 7))
    assert (maps.amax((1, 2)) > 0).float().mean() < 0.03


def old_normalize_maps(maps):
    """As it was before constant maps were recognised by their rounding."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-6)


def of_a_trained_network():
    model, (images, targets) = toy("relu", torch.float32), batch(7, torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(20):
        with batchcam.capture(model.layer) as captured:
            logits = model(images)
        maps = batchcam.grad_cam(captured.activations, logits, targets, relu=False)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, targets).backward()
        optimizer.step()
    return batchcam.resize_maps(maps, 23)


@pytest.mark.parametrize(
    "maps",
    [
        lambda: torch.rand(500, 23, 23),
        lambda: torch.randn(500, 7, 7) * 10 ** torch.empty(500, 1, 1).uniform_(-12, 12),
        lambda: (torch.randn(500, 9, 9) * torch.rand(500, 1, 1) - 0.5).relu(),
        lambda: 1 + torch.rand(500, 9, 9) * 1e-4,
        lambda: torch.rand(500, 5, 4) * 1e-6,
        of_a_trained_network,
    ],
    ids=["uniform", "any size", "rectified", "nearly constant", "tiny", "trained"],
)
def test_the_bits_of_other_maps_are_those_of_the_formula(maps):
    ours = maps().detach().requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    constant = (ours.amax((1, 2)) == ours.amin((1, 2)))[:, None, None].detach()
    weights = torch.randn_like(ours)
    results = batchcam.normalize_maps(ours), old_normalize_maps(theirs)
    assert torch.equal(*results)
    for result in results:
        (result.square() * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad.masked_fill(constant, 0))
    assert constant.float().mean() < 0.5


def test_what_is_no_number_stays_visible():
    for value in (torch.nan, torch.inf):
        maps = torch.rand(1, 3, 3)
        maps[0, 1, 1] = value
        assert batchcam.normalize_maps(maps).isnan().any()


def test_tied_extremes_share_their_gradient():
    # f = Σ (M − min)/(max − min) of (0, 1, 3, 3): ∂f/∂max = −7/9, halved between the two; ∂f/∂min = −4/3 + 7/9 = −5/9.
    maps = torch.tensor([[[0.0, 1], [3, 3]]], dtype=torch.float64, requires_grad=True)
    batchcam.normalize_maps(maps).sum().backward()
    by_hand = torch.tensor([[[1 / 3 - 5 / 9, 1 / 3], [1 / 3 - 7 / 18, 1 / 3 - 7 / 18]]], dtype=torch.float64)
    torch.testing.assert_close(maps.grad, by_hand, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "function",
    [
        lambda maps: batchcam.resize_maps(maps, (5, 7)),
        lambda maps: batchcam.resize_maps(maps, 2),
        batchcam.normalize_maps,
        lambda maps: batchcam.normalize_maps(batchcam.resize_maps(maps, (5, 7))),
    ],
    ids=["larger", "smaller", "normalise", "both"],
)
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 2, 3, 4)])
def test_gradients_agree_with_finite_differences(function, shape):
    assert torch.autograd.gradcheck(function, torch.rand(shape, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("function", [lambda maps: batchcam.resize_maps(maps, 6), batchcam.normalize_maps])
def test_results_are_float32_and_float64_stays(function, dtype):
    maps = torch.rand(2, 4, 4).to(dtype)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    result = function(maps)
    assert result.dtype == expected
    assert torch.equal(result, function(maps.to(expected)))


@pytest.mark.parametrize("function", [lambda maps: batchcam.resize_maps(maps, 6), batchcam.normalize_maps])
@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        ([1], TypeError, r"maps must be a floating-point tensor \(N,.,.\) or \(N,C,.,.\), got a list"),
        (
            torch.ones(2, 4, 4).long(),
            TypeError,
            r"maps must be a floating-point tensor .* got int64 of shape \(2, 4, 4\)",
        ),
        (torch.ones(4, 4), ValueError, r"maps must be \(N,.,.\) or \(N,C,.,.\), got float32 of shape \(4, 4\)"),
        (torch.ones(1, 1, 1, 4, 4), ValueError, r"maps must be .* got float32 of shape \(1, 1, 1, 4, 4\)"),
    ],
)
def test_what_is_no_map_is_named(function, maps, error, message):
    with pytest.raises(error, match=message):
        function(maps)


@pytest.mark.parametrize("size", [0, (4, 0), (-1, 4), (4,), torch.Size((3, 4, 4))])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(ValueError, match=r"size must be one side or \(H, W\), of at least one pixel, got"):
        batchcam.resize_maps(torch.rand(1, 2, 2), size)
