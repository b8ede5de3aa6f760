"""ROAD against cases worked out by hand, its definition written out, its authors' imputation, and a dense solver."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import Tensor, nn

from bench.cell.data import load
from bench.cell.images import resize
from bench.cell.road import impute, road
from tests.toys import NUM_CLASSES, SIZE, Apply, toy

H, W = SIZE
N = 12
LABELS = torch.tensor([0, 1, 0, 2, 4, 1, 0, 2, 1, 0, 0, 1])
NAN = math.nan

#: The authors' imputation hands tensors to numpy functions, which numpy 2 warns about.
THEIRS = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")


def draw_maps() -> Tensor:
    """Maps (N,H,W) in [0, 1], zero on about half of their pixels; map 2 is zero everywhere."""
    maps = (2 * torch.rand(N, H, W) - 1).clamp(min=0)
    maps[2] = 0
    return maps


def assert_close(actual: Tensor, expected: list[float]) -> None:
    assert actual.dtype == torch.float64
    assert actual.shape == (len(expected),)
    assert actual.tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)


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

    model: nn.Module = Apply(logits)
    return model


def theirs(image: Tensor, removed: Tensor) -> Tensor:
    """The authors' imputation, without noise."""
    filled: Tensor = NoisyLinearImputer(noise=0)(image, (~removed).float())
    return filled


def dense(image: Tensor, removed: Tensor) -> Tensor:
    """The imputation of one version by its definition: a row of a dense matrix for every removed pixel."""
    height, width = removed.shape
    places = [(int(r), int(c)) for r, c in removed.nonzero()]
    number = {place: i for i, place in enumerate(places)}
    matrix, right = np.zeros((len(places), len(places))), np.zeros((len(places), len(image)))
    for i, (row, column) in enumerate(places):
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                r, c = row + down, column + across
                if (down, across) == (0, 0) or not (0 <= r < height and 0 <= c < width):
                    continue
                weight = 1 / 12 if down and across else 1 / 6
                matrix[i, i] += weight
                if (r, c) in number:
                    matrix[i, number[r, c]] -= weight
                else:
                    right[i] += weight * image[:, r, c].double().numpy()
    filled = image.double()
    for place, values in zip(places, np.linalg.solve(matrix, right), strict=True):
        filled[:, *place] = torch.from_numpy(values)
    return filled


def test_imputation_by_hand() -> None:
    image = torch.tensor([[[1.0, 2, 4], [8, 0, 16], [32, 64, 128]]], dtype=torch.float64)
    by_hand = {
        (1, 1): (2 + 8 + 16 + 64) / 6 + (1 + 4 + 32 + 128) / 12,
        (0, 0): (2 * 2 + 2 * 8 + 0) / 5,  # 1/6, 1/6 and 1/12 are there
        (1, 2): (2 * 4 + 2 * 0 + 2 * 128 + 2 + 64) / 8,
    }
    removed = torch.zeros(3, 3, 3, dtype=torch.bool)
    for version, place in zip(removed, by_hand, strict=True):
        version[place] = True
    filled = impute(image, removed)
    assert filled.dtype == torch.float64
    assert filled.shape == (3, 1, 3, 3)
    for version, without, (place, expected) in zip(filled, removed, by_hand.items(), strict=True):
        assert version[0][place].item() == pytest.approx(expected, rel=1e-12)
        assert torch.equal(version[:, ~without], image[:, ~without])
    assert image[0, 1, 1] == 0  # the argument is left alone
    # A gap in one row is bridged by a straight line, at the rim it is filled with the last value.
    strip = torch.tensor([[[7.0, 0, 0, 1, 9, 9]], [[0.0, 5, 5, 6, 5, 5]]])
    gaps = torch.tensor([[[False, True, True, False, True, True]]])
    bridged = torch.tensor([[[7.0, 5, 3, 1, 1, 1]], [[0.0, 2, 4, 6, 6, 6]]], dtype=torch.float64)
    assert torch.allclose(impute(strip, gaps), bridged, rtol=0, atol=1e-12)
    assert torch.allclose(impute(strip.mT, gaps.mT), bridged.mT, rtol=0, atol=1e-12)


@THEIRS
@pytest.mark.parametrize("size", [SIZE, (7, 9), (3, 2), (1, 10), (10, 1), (30, 31)])
@pytest.mark.parametrize("channels", [1, 3])
def test_imputation_is_that_of_the_authors_and_that_of_a_dense_solver(size: tuple[int, int], channels: int) -> None:
    image = torch.rand(channels, *size)
    before = image.clone()
    pixels = size[0] * size[1]
    ranks = [torch.rand(size).flatten().argsort().view(size) for _ in range(3)]
    versions = [rank < share * pixels - 1 for rank, share in zip(ranks, (0.1, 0.5, 0.9), strict=True)]
    block = torch.arange(pixels).view(size) < pixels // 2  # half of the image, in one piece
    versions += [block, ~block]
    for version, filled in zip(versions, impute(image, torch.stack(versions)), strict=True):
        if version.sum() > 1:  # theirs takes no fewer
            assert torch.allclose(filled.float(), theirs(image, version), rtol=0, atol=1e-6)
        assert torch.allclose(filled, dense(image, version), rtol=0, atol=1e-12)
    assert torch.equal(image, before)


@pytest.mark.usefixtures("place")
def test_imputation_of_digits_without_10_to_90_percent_is_that_of_a_dense_solver() -> None:
    digits = resize(load(Path("data/digits.safetensors")).test.images[:3], 23)
    for image in digits:
        rank = (image[0] + 1e-3 * torch.rand(23, 23)).flatten().argsort().argsort().view(23, 23)
        versions = torch.stack([rank < tenths * 529 // 10 for tenths in range(1, 10)])
        expected = torch.stack([dense(image, version) for version in versions])
        assert (impute(image, versions) - expected).abs().max() < 1e-12


def test_a_version_does_not_depend_on_those_beside_it() -> None:
    """The last removed pixel of one version and the first of the next are neighbours by number alone."""
    image, full = torch.rand(1, H, W), torch.ones(H, W, dtype=torch.bool)
    top, bottom = full.clone(), full.clone()
    top[0, 0] = bottom[-1, -1] = False
    together = impute(image, torch.stack([top, ~full, bottom, top]))
    for version, filled in zip((top, ~full, bottom, top), together, strict=True):
        assert torch.allclose(filled, impute(image, version[None])[0], rtol=0, atol=1e-14)
    assert (together[0] - image[0, 0, 0]).abs().max() < 1e-12


def test_imputation_of_nothing_and_of_everything() -> None:
    image = torch.rand(2, H, W)
    nothing, everything = (torch.full((3, H, W), gone) for gone in (False, True))
    assert torch.equal(impute(image, nothing), image.double().expand(3, -1, -1, -1))
    assert impute(image, nothing[:0]).shape == (0, 2, H, W)
    everything[0, 0, 0] = False
    with pytest.raises(ValueError, match=r"every pixel of image \(2, 9, 7\) is removed"):
        impute(image, everything)


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
    none = torch.rand(0, H, W)
    assert road(toy(), none[:, None], none, LABELS[:0], generator()).shape == (0,)


def test_wrong_arguments_are_named() -> None:
    maps, images, g, model = torch.rand(N, H, W), torch.rand(N, 1, H, W), generator(), toy()
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
