"""Decoys: where they are, what they say, and that nothing else of an image changes."""

import pytest
import torch

from bench.cell import decoys
from bench.cell.images import resize

#: Rows and columns of the patch in each corner: top left, top right, bottom left, bottom right.
NEAR, FAR = slice(0, 4), slice(24, 28)
CORNERS = [(NEAR, NEAR), (NEAR, FAR), (FAR, NEAR), (FAR, FAR)]


def test_greys_by_hand() -> None:
    greys = decoys.grey(torch.arange(10))
    assert greys.tolist() == [255, 230, 205, 180, 155, 130, 105, 80, 55, 30]
    assert greys.dtype == torch.uint8
    assert decoys.named(greys).tolist() == list(range(10))


def test_a_patch_is_in_its_corner_and_nowhere_else() -> None:
    images, corners = torch.randint(256, (4, 28, 28), dtype=torch.uint8), torch.arange(4, dtype=torch.uint8)
    before, values = images.clone(), torch.tensor([255, 7, 0, 30], dtype=torch.uint8)
    painted = decoys.paint(images, corners, values)
    assert torch.equal(images, before)
    for i, place in enumerate(CORNERS):
        expected = images[i].clone()
        expected[place] = values[i]
        assert torch.equal(painted[i], expected)


def test_masks_are_the_patch_and_keep_its_share_when_resized() -> None:
    masks = decoys.masks(torch.arange(4, dtype=torch.uint8))
    for mask, place in zip(masks, CORNERS, strict=True):
        assert mask[place].eq(255).all()
        assert (mask > 0).sum() == 16
    assert pytest.approx(0.0204, abs=5e-5) == 16 / 28**2
    resized = resize(masks, 23)
    assert resized.shape == (4, 1, 23, 23)
    # Antialiasing weighs the pixels of the border a little otherwise.
    assert resized.mean((1, 2, 3)).tolist() == pytest.approx([16 / 28**2] * 4, abs=0.0007)
    assert resized.amax((1, 2, 3)).tolist() == pytest.approx([1] * 4, abs=1e-6)
