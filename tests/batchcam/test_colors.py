"""overlay: matplotlib's colours over the image, by hand and against matplotlib."""

import matplotlib as mpl
import pytest
import torch

import batchcam


def test_the_colours_are_matplotlibs_magma():
    """To .009, what 16 colours leave of its 256."""
    ramp = torch.linspace(0, 1, 256, dtype=torch.float64).view(1, 16, 16)
    colors = batchcam.overlay(torch.zeros(1, 16, 16, dtype=torch.float64), ramp) * 2
    expected = torch.tensor(mpl.colormaps["magma"](range(256))[:, :3], dtype=torch.float64)
    assert (colors[0].flatten(1).T - expected).abs().max() < 0.009
    assert torch.equal(colors[0, :, 0, 0] * 255, torch.tensor([0, 0, 4.0], dtype=torch.float64))
    assert torch.allclose(colors[0, :, -1, -1] * 255, torch.tensor([0xFC, 0xFD, 0xBF], dtype=torch.float64))
    # Perceptually uniform: it grows lighter all the way.
    assert (colors[0].flatten(1).T @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)).diff().min() > 0


def test_image_and_colour_are_mixed_half_and_half():
    images = torch.rand(2, 3, 4, 6)
    zero, ramp = torch.zeros(1, 2, 3), torch.tensor([[[0.0, 1, 1], [1, 1, 3]]])
    mixed = batchcam.overlay(images, torch.cat([zero, ramp]))
    dark = torch.tensor([0, 0, 4 / 255]).view(3, 1, 1)
    assert torch.allclose(mixed[0], (images[0] + dark) / 2)
    own = batchcam.overlay(images * 0, torch.cat([zero, ramp]))
    assert torch.allclose(mixed, images / 2 + own)
    assert torch.allclose(own[1, :, -1, -1] * 2 * 255, torch.tensor([252.0, 253, 191]))


def test_raw_and_normalised_maps_look_alike():
    images, maps = torch.rand(3, 1, 20, 24), torch.rand(3, 5, 6) * 40
    normalised = batchcam.normalize_maps(batchcam.resize_maps(maps, (20, 24)))
    assert torch.allclose(batchcam.overlay(images, maps), batchcam.overlay(images, normalised), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 8, 9), (2, 3, 8, 9), (2, 8, 9), (0, 3, 8, 9)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_result_is_a_picture(shape, dtype):
    maps = torch.randn(shape[0], 3, 4, dtype=torch.float64, requires_grad=True)
    mixed = batchcam.overlay(torch.rand(shape, requires_grad=True).to(dtype), maps)
    assert mixed.shape == (shape[0], 3, 8, 9)
    assert mixed.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert not mixed.requires_grad
    assert ((mixed >= 0) & (mixed <= 1)).all()


def test_a_grey_image_is_one_of_three_equal_channels():
    images, maps = torch.rand(2, 1, 8, 9), torch.rand(2, 3, 4)
    mixed = batchcam.overlay(images, maps)
    assert torch.equal(mixed, batchcam.overlay(images.expand(-1, 3, -1, -1), maps))
    assert torch.equal(mixed, batchcam.overlay(images[:, 0], maps))


def test_what_is_no_number_stays_visible():
    maps = torch.rand(2, 3, 4)
    maps[1, 0, 0] = torch.nan
    mixed = batchcam.overlay(torch.rand(2, 3, 8, 9), maps)
    assert not mixed[0].isnan().any()
    assert mixed[1].isnan().all()


@pytest.mark.parametrize(
    ("images", "maps", "error", "message"),
    [
        ([1], torch.rand(2, 3, 4), TypeError, "images must be a floating-point tensor .* got a list"),
        (torch.rand(8, 9), torch.rand(2, 3, 4), ValueError, r"images must be .* got float32 of shape \(8, 9\)"),
        (torch.rand(2, 3, 8, 9) * 3, torch.rand(2, 3, 4), ValueError, r"images must lie in \[0, 1\], .* before norm"),
        (
            torch.rand(2, 3, 8, 9),
            torch.rand(2, 3),
            ValueError,
            r"maps must be \(N,h,w\), got float32 of shape \(2, 3\)",
        ),
        (torch.rand(2, 4, 8, 9), torch.rand(2, 3, 4), ValueError, r"1 or 3 channels .* images \(2, 4, 8, 9\)"),
        (torch.rand(2, 3, 8, 9), torch.rand(3, 3, 4), ValueError, r"a map for each, got .* maps \(3, 3, 4\)"),
    ],
)
def test_what_cannot_be_laid_over_is_named(images, maps, error, message):
    with pytest.raises(error, match=message):
        batchcam.overlay(images, maps)
