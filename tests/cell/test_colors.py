"""Colours: which they are, and that they change nothing of an image but its colour."""

import torch

from bench.cell import colors


def test_there_are_ten_different_hues_and_white() -> None:
    assert colors.PALETTE.shape == (11, 3)
    assert len({tuple(color) for color in colors.PALETTE.tolist()}) == 11
    assert colors.PALETTE[colors.WHITE].tolist() == [255, 255, 255]
    hues = colors.PALETTE[:10].float()
    assert hues.amax(1).eq(255).all()  # fully bright
    assert hues.amin(1).eq(0).all()  # and saturated


def test_an_image_is_painted_by_hand() -> None:
    images = torch.zeros(2, 28, 28, dtype=torch.uint8)
    images[0, 3, 5], images[1, 7, 2] = 100, 255
    painted = colors.paint(images, torch.tensor([1, colors.WHITE], dtype=torch.uint8))  # 1: (255, 153, 0)
    assert painted.dtype == torch.uint8
    assert painted[0, :, 3, 5].tolist() == [100, 60, 0]
    assert painted[1, :, 7, 2].tolist() == [255, 255, 255]
    assert int(painted.sum()) == 160 + 3 * 255


def test_white_is_the_grey_image_in_three_channels() -> None:
    images = torch.randint(256, (3, 28, 28), dtype=torch.uint8)
    painted = colors.paint(images, torch.full((3,), colors.WHITE))
    assert torch.equal(painted, images[:, None].expand(-1, 3, -1, -1))
