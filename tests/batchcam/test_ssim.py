"""The SSIM of the losses against scikit-image and pytorch-msssim."""

import pytest
import pytorch_msssim
import torch
from skimage.metrics import structural_similarity

from batchcam import ssim

SIZES = [(11, 11), (11, 30), (23, 23), (28, 17), (112, 112)]
INDEX = torch.tensor([2, 0, 2, 3])


def maps_and_references(size, dtype):
    """Unrelated, nearly equal, opposite (SSIM < 0) and on a black background, as maps and prototypes are."""
    maps, references = torch.rand(4, *size, dtype=dtype), torch.rand(5, *size, dtype=dtype)
    maps[1] = (references[0] + 0.05 * maps[1]).clamp(0, 1)
    maps[2] = 1 - references[2]
    maps[3, :, :4] = references[3, :, :4] = 0
    return maps, references


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_that_of_scikit_image(size, dtype, tolerance):
    maps, references = maps_and_references(size, dtype)
    expected = [
        structural_similarity(
            m.numpy(), r.numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for m, r in zip(maps.double(), references[INDEX].double(), strict=True)
    ]
    similarity = ssim.similarity(maps, references, INDEX)
    assert similarity.dtype == dtype
    assert min(expected) < -0.1 < 0.9 < max(expected)
    torch.testing.assert_close(similarity.double(), torch.tensor(expected), rtol=0, atol=tolerance)


@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_are_those_of_pytorch_msssim(size):
    maps, references = (t.requires_grad_() for t in maps_and_references(size, torch.float32))
    similarity = ssim.similarity(maps, references, INDEX)
    expected = pytorch_msssim.ssim(maps[:, None], references[INDEX][:, None], data_range=1.0, size_average=False)
    torch.testing.assert_close(similarity, expected, rtol=0, atol=2e-6)
    ours, theirs = (torch.autograd.grad(s.sum(), [maps, references]) for s in (similarity, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_with_few_references_and_with_many_it_is_the_same(count):
    maps, references = torch.rand(3, 12, 13, dtype=torch.float64), torch.rand(9, 12, 13, dtype=torch.float64)
    index = torch.tensor([1, 0, 1])
    expected = torch.cat(
        [ssim.similarity(maps[i : i + 1], references[c : c + 1], index[1:2]) for i, c in enumerate(index)]
    )
    torch.testing.assert_close(ssim.similarity(maps, references[:count], index), expected, rtol=0, atol=1e-12)
