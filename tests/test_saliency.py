"""The saliency metrics against cases worked out by hand, and against their definitions written out pair by pair."""

import math

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from scipy.stats import pearsonr
from torch import Tensor, nn
from toys import NUM_CLASSES, SIZE, Apply, toy

from bench.saliency import coherence, energy, flipped, impute, road, specificity

H, W = SIZE
N = 12
#: Classes of 5, 4, 2 and 1 images; class 3 is without.
LABELS = torch.tensor([0, 1, 0, 2, 4, 1, 0, 2, 1, 0, 0, 1])
LONE = 4
NAN = math.nan

#: The authors' imputation hands tensors to numpy functions, which numpy 2 warns about.
THEIRS = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")


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


# ROAD


class Watched(nn.Module):
    """A model that remembers what it was shown."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.calls: list[Tensor] = []
        self.with_gradients = False

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(x.clone())
        self.with_gradients |= torch.is_grad_enabled()
        logits: Tensor = self.model(x)
        return logits

    @property
    def versions(self) -> Tensor:
        """(images, least or most relevant first, share, C,H,W)."""
        shown = torch.cat(self.calls)
        return shown.view(-1, 2, 9, *shown.shape[1:])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def brighter_than(threshold: float, where: Tensor | None = None) -> nn.Module:
    """Class 0 where the sum of the image, or of a part of it, exceeds a threshold, else class 1."""

    def logits(x: Tensor) -> Tensor:
        total = (x if where is None else x * where).sum((1, 2, 3))
        return torch.stack([total, torch.full_like(total, threshold)], dim=1)

    return Apply(logits)


def theirs(image: Tensor, removed: Tensor) -> Tensor:
    """The authors' imputation, without noise."""
    filled: Tensor = NoisyLinearImputer(noise=0)(image, (~removed).float())
    return filled


def test_imputation_by_hand() -> None:
    image = torch.tensor([[[1.0, 2, 4], [8, 0, 16], [32, 64, 128]]], dtype=torch.float64)
    for (row, column), expected in {
        (1, 1): (2 + 8 + 16 + 64) / 6 + (1 + 4 + 32 + 128) / 12,
        (0, 0): (2 * 2 + 2 * 8 + 0) / 5,  # 1/6, 1/6 and 1/12 are there
        (1, 2): (2 * 4 + 2 * 0 + 2 * 128 + 2 + 64) / 8,
    }.items():
        removed = torch.zeros(3, 3, dtype=torch.bool)
        removed[row, column] = True
        filled = impute(image, removed)
        assert filled.dtype == torch.float64
        assert filled[0, row, column].item() == pytest.approx(expected, rel=1e-12)
        assert torch.equal(filled[:, ~removed], image[:, ~removed])
        assert image[0, 1, 1] == 0  # the argument is left alone
    # A gap in one row is bridged by a straight line, at the rim it is filled with the last value.
    strip = torch.tensor([[[7.0, 0, 0, 1, 9, 9]], [[0.0, 5, 5, 6, 5, 5]]])
    removed = torch.tensor([[False, True, True, False, True, True]])
    bridged = torch.tensor([[[7.0, 5, 3, 1, 1, 1]], [[0.0, 2, 4, 6, 6, 6]]], dtype=torch.float64)
    assert torch.allclose(impute(strip, removed), bridged, rtol=0, atol=1e-12)
    assert torch.allclose(impute(strip.mT, removed.mT), bridged.mT, rtol=0, atol=1e-12)


@THEIRS
@pytest.mark.parametrize("size", [SIZE, (7, 9), (3, 2), (1, 10), (10, 1), (30, 31)])
@pytest.mark.parametrize("channels", [1, 3])
def test_imputation_is_that_of_the_authors(size: tuple[int, int], channels: int) -> None:
    image = torch.rand(channels, *size)
    before = image.clone()
    for share in (0.1, 0.5, 0.9):
        removed = torch.rand(size).flatten().argsort().view(size) < share * image[0].numel() - 1
        if removed.sum() > 1:  # theirs takes no fewer
            assert torch.allclose(impute(image, removed).float(), theirs(image, removed), rtol=0, atol=1e-6)
    block = torch.zeros(size, dtype=torch.bool)
    block[: (size[0] + 1) // 2] = True
    if size[0] > 1:  # half of the image, in one piece
        assert torch.allclose(impute(image, block).float(), theirs(image, block), rtol=0, atol=1e-6)
    assert torch.equal(image, before)


def test_imputation_of_nothing_and_of_everything() -> None:
    image = torch.rand(2, H, W)
    assert torch.equal(impute(image, torch.zeros(H, W, dtype=torch.bool)), image.double())
    with pytest.raises(ValueError, match=r"every pixel of image \(2, 9, 7\) is removed"):
        impute(image, torch.ones(H, W, dtype=torch.bool))


@pytest.mark.parametrize(("threshold", "expected"), [(2.5, 1 - 4 / 9), (7.5, 5 / 9 - 0), (12, 0), (-1, 0)])
def test_road_by_hand(threshold: float, expected: float) -> None:
    """Five white pixels and five black ones; the map falls from the first to the last.

    Without 1 … 4 of the most relevant the gap is filled with white, and the sum stays 5; without 5 … 9 it is 0. Without
    1 … 4 of the least relevant the sum stays 5; without 5 … 9 all is white, and the sum 10.
    """
    image = torch.tensor([1.0] * 5 + [0.0] * 5).view(1, 1, 1, 10)
    relevance = torch.linspace(1, 0, 10).view(1, 1, 10)
    model = brighter_than(threshold)
    label, other = torch.tensor([0]), torch.tensor([1])
    assert_close(road(model, image, relevance, label, generator()), [expected])
    assert_close(road(model, image, 1 - relevance, label, generator()), [-expected])
    assert_close(road(model, image, relevance, other, generator()), [-expected])


@THEIRS
@pytest.mark.parametrize("channels", [1, 3])
def test_road_is_its_definition(channels: int) -> None:
    """The pixels that are removed, what they are replaced by, and the score, one image and share at a time."""
    images, maps = torch.rand(N, channels, H, W), torch.rand(N, H, W)
    maps[2] = 0
    labels = LABELS.clone()
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels * H * W, NUM_CLASSES))
    watched = Watched(model)
    scores = road(watched, images, maps, labels, generator(), chunk=5)
    versions = watched.versions
    assert [len(call) for call in watched.calls] == [5 * 18, 5 * 18, 18]
    assert versions.dtype == images.dtype

    expected, noise, shown = [], [], iter(versions)
    for i in range(N):
        if i == 2:
            expected.append(NAN)
            continue
        pixels = sorted((maps[i, row, column].item(), row, column) for row in range(H) for column in range(W))
        correct = []
        for order, nine in zip((pixels, pixels[::-1]), next(shown), strict=True):
            for tenths, version in zip(range(1, 10), nine, strict=True):
                removed = torch.zeros(H, W, dtype=torch.bool)
                for _, r, c in order[: math.floor(tenths * H * W / 10)]:
                    removed[r, c] = True
                filled = theirs(images[i], removed)
                assert torch.equal((version != images[i]).all(0), removed)
                assert torch.equal((version != images[i]).any(0), removed)
                noise.append((version - filled)[:, removed].flatten())
                correct.append(float(model(version[None]).argmax() == labels[i]))
        expected.append(sum(correct[:9]) / 9 - sum(correct[9:]) / 9)
    assert_close(scores, expected)
    assert len({score for score in expected if score == score}) > 2

    drawn = torch.cat(noise)
    assert drawn.std().item() == pytest.approx(0.01, rel=0.05)
    assert drawn.abs().max() < 6 * 0.01
    assert drawn.mean().item() == pytest.approx(0, abs=5 * 0.01 / math.sqrt(len(drawn)))
    assert drawn.div(0.01).pow(4).mean().item() == pytest.approx(3, abs=0.5)  # Gaussian
    # Every version and channel has noise of its own.
    values, count = torch.cat(noise[:9]).unique(return_counts=True)
    assert len(values) > 0.99 * count.sum()


def test_road_does_not_depend_on_the_chunk() -> None:
    images, maps = torch.rand(N, 1, H, W), draw_maps()
    shown = []
    for chunk in (1, 4, 100):
        watched = Watched(toy(dtype=torch.float32))
        road(watched, images, maps, LABELS, generator(), chunk=chunk)
        shown.append(watched.versions)
    assert torch.equal(shown[0], shown[1])
    assert torch.equal(shown[0], shown[2])


def test_road_breaks_ties_at_random() -> None:
    """In a map of equal values, each pixel is removed as often as any other."""
    n = 60
    images = torch.rand(1, 1, 4, 5).expand(n, -1, -1, -1)
    watched = Watched(brighter_than(0))
    road(watched, images, torch.ones(n, 4, 5), torch.zeros(n, dtype=torch.long), generator())
    removed = (watched.versions != images[:, None, None])[:, :, :, 0].double()
    for order in range(2):
        for t in range(9):
            rate = removed[:, order, t].mean(0)
            assert rate.mean().item() == pytest.approx((t + 1) / 10)
            assert (rate - (t + 1) / 10).abs().max() < 5 * 0.5 / math.sqrt(n)
    # The same holds among the zeros of a map with one pixel that is not.
    spot = torch.zeros(n, 4, 5)
    spot[:, 1, 2] = 1
    watched = Watched(brighter_than(0))
    road(watched, images, spot, torch.zeros(n, dtype=torch.long), generator())
    removed = (watched.versions != images[:, None, None])[:, :, :, 0].double()
    assert not removed[:, 0, :, 1, 2].any()
    assert removed[:, 1, :, 1, 2].all()
    rate = removed[:, :, 1].mean(0).flatten(1)
    zeros = (spot[0] == 0).flatten()
    assert (rate[0, zeros] - 4 / 19).abs().max() < 5 * 0.5 / math.sqrt(n)
    assert (rate[1, zeros] - 3 / 19).abs().max() < 5 * 0.5 / math.sqrt(n)


def test_road_favours_the_map_that_is_right() -> None:
    """The model looks at a bright region on dark ground; the map that shows it scores high, its opposite low."""
    where = torch.zeros(H, W)
    where[2:5, 1:4] = 1
    images = (0.9 * where + 0.1 * torch.rand(8, H, W))[:, None]
    model, labels = brighter_than(4, where), torch.zeros(8, dtype=torch.long)
    right = road(model, images, where.expand(8, -1, -1), labels, generator())
    wrong = road(model, images, (1 - where).expand(8, -1, -1), labels, generator())
    unrelated = road(model, images, torch.ones(8, H, W), labels, generator())
    assert right.min() > 0.5
    assert wrong.max() < -0.5
    assert unrelated.mean().abs() < 0.25
    assert (unrelated.abs() <= 1).all()


def test_road_leaves_the_model_in_eval_mode_and_its_gradients_alone() -> None:
    model = Watched(nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(H * W, 5)))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    images, maps = torch.rand(N, 1, H, W), draw_maps()
    results = [road(model.train(), images, maps, LABELS, generator()) for _ in range(2)]
    assert not model.training
    assert not model.with_gradients
    assert_close(results[0], results[1].tolist())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    other = road(model, images, maps, LABELS, generator(1))
    assert not torch.equal(other.nan_to_num(), results[0].nan_to_num())


def test_without_live_maps_the_model_is_not_asked() -> None:
    watched = Watched(toy(dtype=torch.float32))
    assert_close(road(watched, torch.rand(3, 1, H, W), torch.zeros(3, H, W), LABELS[:3], generator()), [NAN] * 3)
    assert not watched.calls


def test_an_image_of_a_few_pixels_has_shares_that_remove_nothing() -> None:
    image = torch.tensor([[[[1.0, 0.0]]]])  # ⌊t · 2 / 10⌋ is 0 up to t = 4, then 1
    watched = Watched(brighter_than(0.5))
    assert_close(road(watched, image, image[0], torch.tensor([0]), generator()), [5 / 9])
    assert torch.equal(watched.versions[0, :, :4], image[0].expand(2, 4, -1, -1, -1))


# arguments


def test_nothing_in_nothing_out() -> None:
    maps, labels = torch.rand(0, H, W), LABELS[:0]
    assert energy(maps, maps).shape == (0,)
    assert specificity(maps, maps, labels).shape == (0,)
    assert math.isnan(coherence(maps, labels))
    assert flipped(torch.rand(0, 3), torch.rand(0, 3)).shape == (0,)
    assert road(toy(), torch.rand(0, 1, H, W), maps, labels, generator()).shape == (0,)


def test_wrong_arguments_are_named() -> None:
    maps, images, g, model = torch.rand(N, H, W), torch.rand(N, 1, H, W), generator(), toy()
    with pytest.raises(ValueError, match=r"maps and masks must have one shape, got \(12, 9, 7\) and \(12, 7, 9\)"):
        energy(maps, maps.mT)
    with pytest.raises(TypeError, match="masks must be a floating-point tensor"):
        energy(maps, maps > 0)
    with pytest.raises(ValueError, match=r"maps must be \(N,H,W\), got float32 of shape \(12, 1, 9, 7\)"):
        energy(images, images)
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
    with pytest.raises(ValueError, match="maps must be one per image"):
        road(model, images, maps[:3], LABELS, g)
    with pytest.raises(ValueError, match="differ in height or width"):
        road(model, images, maps.mT, LABELS, g)
    with pytest.raises(ValueError, match=r"images must be \(N,C,H,W\)"):
        road(model, maps, maps, LABELS, g)
    with pytest.raises(TypeError, match="labels must be a long"):
        road(model, images, maps, LABELS.float(), g)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        road(model, images, maps, LABELS, g, chunk=0)
