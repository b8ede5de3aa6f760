"""The saliency metrics against cases worked out by hand, and against their definitions written out pair by pair."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor

from bench.cell.saliency import coherence, energy, flipped, specificity
from tests.toys import NUM_CLASSES, SIZE

H, W = SIZE
N = 12
#: Classes of 5, 4, 2 and 1 images; class 3 is without.
LABELS = torch.tensor([0, 1, 0, 2, 4, 1, 0, 2, 1, 0, 0, 1])
LONE = 4
NAN = math.nan


def draw_maps() -> Tensor:
    """Maps (N,H,W) in [0, 1], zero on about half of their pixels; map 2 is zero everywhere."""
    maps = (2 * torch.rand(N, H, W) - 1).clamp(min=0)
    maps[2] = 0
    return maps


def draw_ink() -> Tensor:
    """Masks (N,H,W), mostly of 0 and 1."""
    return (3 * torch.rand(N, H, W) - 1).clamp(0, 1)


def slow_energy(M: Tensor, mask: Tensor) -> float:
    inside = total = 0.0
    for row, mask_row in zip(M.tolist(), mask.tolist(), strict=True):
        for m, share in zip(row, mask_row, strict=True):
            inside += m * share
            total += m
    return inside / total if total else NAN


def assert_close(actual: Tensor, expected: list[float], tolerance: float = 1e-12) -> None:
    assert actual.dtype == torch.float64
    assert actual.shape == (len(expected),)
    assert actual.tolist() == pytest.approx(expected, abs=tolerance, nan_ok=True)


# energy


def test_energy_by_hand() -> None:
    maps = torch.tensor([[[1.0, 0.5], [0.0, 0.5]], [[0.0, 1.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
    masks = torch.tensor([[[0.0, 1.0], [1.0, 0.5]], [[0.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]])
    assert_close(energy(maps, masks), [(0.5 + 0.25) / 2, 1, 0])


def test_energy_is_its_definition() -> None:
    maps, masks = draw_maps(), draw_ink()
    result = energy(maps, masks)
    assert_close(result, [slow_energy(M, mask) for M, mask in zip(maps, masks, strict=True)])
    assert result.isnan().nonzero().tolist() == [[2]]
    # How bright a map is does not matter, nor what else is in the batch.
    assert_close(energy(maps[[5]] * 0.25, masks[[5]]), [result[5].item()])


def test_energy_of_a_uniform_map_is_the_share_of_the_mask() -> None:
    masks = draw_ink()
    assert_close(energy(torch.full((N, H, W), 0.25), masks), masks.double().mean((1, 2)).tolist())


def test_energy_adds_up_in_float64() -> None:
    """Single precision would be off by 1e-8 and more."""
    maps, masks = torch.full((1, 500, 500), 1e-4), torch.ones(1, 500, 500)
    maps[0, 0, 0], masks[0, 0, 0] = 1, 0
    rest = (500**2 - 1) * maps[0, 0, 1].item()
    assert_close(energy(maps, masks), [rest / (1 + rest)])


# specificity


def test_specificity_by_hand() -> None:
    """Three images of a class and two of another, of three pixels each."""
    maps = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 1.0], [0, 0, 1.0], [1.0, 0, 0]])[:, None]
    ink = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 1.0], [0, 0, 1.0], [0, 1.0, 1.0]])[:, None]
    labels = torch.tensor([1, 1, 1, 0, 0])
    expected = [
        1 - (0 + 0) / 2,
        1 / 2 - (1 / 2 + 1 / 2) / 2,
        1 - (0 + 1 / 3) / 2,
        1 - 1,
        0 - 0,
    ]
    assert_close(specificity(maps, ink, labels), expected)


def test_specificity_is_its_definition() -> None:
    maps, ink = draw_maps(), draw_ink()
    expected = []
    for i in range(N):
        others = [slow_energy(maps[i], ink[j]) for j in range(N) if j != i and LABELS[j] == LABELS[i]]
        expected.append(slow_energy(maps[i], ink[i]) - sum(others) / len(others) if others else NAN)
    result = specificity(maps, ink, LABELS)
    assert_close(result, expected)
    assert result.isnan().nonzero().flatten().tolist() == [2, LONE]
    assert_close(specificity(maps, ink, LABELS * 1000), expected)  # labels are names, not indices


def test_a_class_template_has_specificity_zero() -> None:
    """On average over its class; the image's own ink as map has more."""
    templates, ink, labels = torch.rand(NUM_CLASSES, H, W), draw_ink(), LABELS
    scores = specificity(templates[labels], ink, labels)
    for c in (0, 1, 2):
        assert scores[labels == c].mean().item() == pytest.approx(0, abs=1e-12)
        assert scores[labels == c].abs().max() > 0.01
    assert specificity(ink, ink, labels).nanmean() > 0.1


@pytest.mark.parametrize("lone", [0, 1])
def test_an_image_alone_in_its_class_has_no_specificity(lone: int) -> None:
    """Nor infinite one, where sums of different order differ in their last digit."""
    maps, ink = torch.rand(40, 50, 50), torch.rand(40, 50, 50)
    scores = specificity(maps, ink, torch.arange(40) if lone else torch.arange(40).clamp(max=38))
    assert scores.isnan().sum() == (40 if lone else 38)
    assert not scores.isinf().any()


# coherence


def slow_coherence(maps: Tensor, labels: Tensor) -> float:
    same: list[float] = []
    different: list[float] = []
    for i in range(len(maps)):
        for j in range(i):
            a, b = maps[i].flatten().double().numpy(), maps[j].flatten().double().numpy()
            if a.std() > 0 and b.std() > 0:
                (same if labels[i] == labels[j] else different).append(pearsonr(a, b).statistic)
    return float(np.mean(same) - np.mean(different)) if same and different else NAN


def test_coherence_by_hand() -> None:
    """r is 1, −1 or 0 between these four maps of class 0, 0, 0 and 1."""
    maps = torch.tensor([[1.0, 0, 1, 0], [0.75, 0.25, 0.75, 0.25], [0, 1.0, 0, 1.0], [1.0, 1.0, 0, 0]])[:, None]
    assert coherence(maps, torch.tensor([0, 0, 0, 1])) == pytest.approx((1 - 1 - 1) / 3)
    assert coherence(maps, torch.tensor([0, 0, 1, 2])) == pytest.approx(1 - (-1 - 1 + 0 + 0 + 0) / 5)


def test_coherence_is_its_definition() -> None:
    maps = draw_maps().double() + torch.rand(NUM_CLASSES, H, W)[LABELS]
    maps[8] = 0.7
    maps[2] = 0
    varied = [0, 1, 3, 4, 5, 6, 7, 9, 10, 11]  # of the classes 4, 3, 2 and 1 maps
    expected = slow_coherence(maps[varied], LABELS[varied])
    assert coherence(maps, LABELS) == pytest.approx(expected, abs=1e-12)
    assert coherence(maps, LABELS * 1000) == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected < 0.9


def test_coherence_of_templates_and_of_noise() -> None:
    templates = torch.tensor([[1.0, 0, 0, 1.0], [1.0, 1.0, 0, 0]])[:, None]  # uncorrelated
    labels = torch.tensor([0, 1, 0, 1, 1])
    assert coherence(templates[labels], labels) == pytest.approx(1)
    assert coherence(1 - templates[labels], labels) == pytest.approx(1)
    assert coherence(torch.tensor([[1.0, 0], [0, 1.0]])[labels][:, None], labels) == pytest.approx(2)
    assert coherence(torch.rand(60, 20, 20), torch.arange(60) % 3) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("constant", "labels"),
    [
        ([], [0, 0, 0, 0]),  # one class
        ([], [0, 1, 2, 3]),  # no two of a class
        ([0], [0, 0, 1, 2]),  # two of a class, one of them constant
        ([2, 3], [0, 0, 1, 1]),  # two classes, one of them constant
        ([0, 1, 2, 3], [0, 0, 1, 1]),
    ],
)
def test_without_pairs_of_one_kind_coherence_is_nan(constant: list[int], labels: list[int]) -> None:
    maps = torch.rand(4, 23, 23, dtype=torch.float64)
    maps[constant] = 0.7  # the mean of so many comes out as not quite .7
    assert math.isnan(coherence(maps, torch.tensor(labels)))


# flipped


def test_flipped() -> None:
    before = torch.tensor([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [-1.0, -3.0, -2.0], [0.0, 0.0, 5.0]])
    after = torch.tensor([[3.0, 2.0, 0.0], [1.0, 9.0, 8.0], [-9.0, -8.0, -10.0], [0.0, 0.0, 0.1]])
    assert_close(flipped(before, after), [1, 0, 1, 0])
    assert_close(flipped(after, before), [1, 0, 1, 0])


# arguments


def test_nothing_in_nothing_out() -> None:
    maps, labels = torch.rand(0, H, W), LABELS[:0]
    assert energy(maps, maps).shape == (0,)
    assert specificity(maps, maps, labels).shape == (0,)
    assert math.isnan(coherence(maps, labels))
    assert flipped(torch.rand(0, 3), torch.rand(0, 3)).shape == (0,)


def test_wrong_arguments_are_named() -> None:
    maps = torch.rand(N, H, W)
    with pytest.raises(ValueError, match=r"maps and masks must have one shape, got \(12, 9, 7\) and \(12, 7, 9\)"):
        energy(maps, maps.mT)
    with pytest.raises(TypeError, match="masks must be a floating-point tensor"):
        energy(maps, maps > 0)
    with pytest.raises(ValueError, match=r"maps must be \(N,H,W\), got float32 of shape \(12, 1, 9, 7\)"):
        energy(maps[:, None], maps[:, None])
    with pytest.raises(ValueError, match="maps and ink must have one shape"):
        specificity(maps, maps[:1], LABELS)
    with pytest.raises(ValueError, match=r"labels must have the shape \(12,\)"):
        specificity(maps, maps, LABELS[:3])
    with pytest.raises(ValueError, match=r"labels must have the shape \(12,\)"):
        coherence(maps, LABELS[:1])
    with pytest.raises(TypeError, match="maps must be a floating-point tensor"):
        coherence(maps > 0, LABELS)
    with pytest.raises(ValueError, match="before and after must have one shape"):
        flipped(torch.rand(4, 3), torch.rand(4, 2))
    with pytest.raises(ValueError, match=r"before must be \(N,C\)"):
        flipped(torch.rand(4), torch.rand(4))
