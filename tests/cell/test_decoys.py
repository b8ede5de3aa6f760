"""Decoys: where they are, what they say, and that nothing else of an image changes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from bench.cell import decoys
from bench.cell.data import PARTS, Dataset, Split, load
from bench.cell.images import resize, subset, without_decoys
from bench.errors import BenchError
from bench.prepare import datasets

#: Rows and columns of the patch in each corner: top left, top right, bottom left, bottom right.
NEAR, FAR = slice(0, 4), slice(24, 28)
CORNERS = [(NEAR, NEAR), (NEAR, FAR), (FAR, NEAR), (FAR, FAR)]


def pictures(count: int) -> Tensor:
    return torch.randint(256, (count, 28, 28), dtype=torch.uint8)


@pytest.fixture(scope="module")
def both(prepared: Path) -> tuple[Dataset, Dataset]:
    """digits, and digits with decoys."""
    return load(prepared / "digits.safetensors"), load(prepared / "decoy_digits.safetensors")


def test_greys_by_hand() -> None:
    greys = decoys.grey(torch.arange(10))
    assert greys.tolist() == [255, 230, 205, 180, 155, 130, 105, 80, 55, 30]
    assert greys.dtype == torch.uint8


def test_a_patch_is_in_its_corner_and_nowhere_else() -> None:
    images, corners = pictures(4), torch.arange(4, dtype=torch.uint8)
    before, values = images.clone(), torch.tensor([255, 7, 0, 30], dtype=torch.uint8)
    painted = decoys.paint(images, corners, values)
    assert torch.equal(images, before)
    for i, place in enumerate(CORNERS):
        expected = images[i].clone()
        expected[place] = values[i]
        assert torch.equal(painted[i], expected)
        assert torch.equal(decoys.patch(images, corners)[i], images[i][place])
    # What was covered, put back, is the whole image again: rows and columns are not exchanged.
    assert torch.equal(decoys.paint(painted, corners, decoys.patch(images, corners)), images)


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


def test_another_grey_is_each_of_the_nine_others_and_never_the_one_shown() -> None:
    for label in range(10):
        shown = decoys.grey(torch.full((900,), label))
        other = decoys.other_grey(shown, torch.Generator().manual_seed(label))
        values, counts = other.unique(return_counts=True)
        assert set(values.tolist()) == set(range(30, 256, 25)) - {int(shown[0])}
        assert counts.min() > 65  # of 100; σ = 9.4
        assert counts.max() < 135


def test_the_grey_names_the_label_in_training_and_nothing_in_the_test(
    both: tuple[Dataset, Dataset],
) -> None:
    clean, decoyed = both
    for part in PARTS:
        split: Split = getattr(decoyed, part)
        assert split.corners is not None
        assert split.covered is not None
        original: Split = getattr(clean, part)
        patches = decoys.patch(split.images, split.corners).flatten(1)
        assert (patches == patches[:, :1]).all()
        assert set(patches[:, 0].tolist()) == set(range(30, 256, 25))
        named = (255 - patches[:, 0].long()) / 25 == split.labels
        if part == "test":
            assert named.float().mean() == pytest.approx(0.1, abs=0.05)  # of 360; σ = .016
        else:
            assert named.all()
        assert split.corners.bincount().min() > 0.17 * len(split.labels)  # each is as likely
        assert torch.equal(split.labels, original.labels)
        assert torch.equal(split.covered, decoys.patch(original.images, split.corners))


def test_without_its_decoys_the_dataset_is_the_clean_one_bit_for_bit(
    both: tuple[Dataset, Dataset],
) -> None:
    for clean, decoyed in zip(both[0][:3], both[1][:3], strict=True):
        assert not torch.equal(decoyed.images, clean.images)
        restored = without_decoys(decoyed)
        assert torch.equal(restored.images, clean.images)
        assert torch.equal(restored.labels, clean.labels)
        assert restored.corners is restored.covered is None
        assert without_decoys(clean) is clean
    assert both[0].class_names == both[1].class_names


def test_covered_pixels_that_are_not_black_come_back() -> None:
    """The corners of digits are black; those of Fashion-MNIST are not."""
    images = pictures(40)
    splits = tuple(Split(images + part, torch.arange(40) % 10) for part in range(3))
    for split, decoyed in zip(splits, datasets._with_decoys(splits), strict=True):
        assert torch.equal(without_decoys(decoyed).images, split.images)


def test_the_same_bytes_every_time(prepared: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    again = datasets.prepare("decoy_digits", tmp_path)
    assert again.read_bytes() == (prepared / "decoy_digits.safetensors").read_bytes()
    with safetensors.safe_open(again, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["dataset"] == "decoy_digits"
    assert about["licence"] == "CC BY 4.0"


def test_a_subset_keeps_corners_and_covered_pixels_with_their_images(
    both: tuple[Dataset, Dataset],
) -> None:
    part, clean = subset(both[1].test, 50), subset(both[0].test, 50)
    assert [None if tensor is None else len(tensor) for tensor in part] == [50] * 4
    assert torch.equal(without_decoys(part).images, clean.images)
    assert subset(both[0].test, 50).corners is None


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("test_corners", lambda t: t + 4, "test_corners must be uint8 (360,) below 4, got uint8"),
        ("test_corners", lambda t: t.long(), "test_corners must be uint8 (360,) below 4, got int64"),
        ("train_corners", lambda t: t[1:], "train_corners must be uint8 (1257,) below 4"),
        ("validation_covered", lambda t: t[:, 1:], "validation_covered must be uint8 (180,4,4), got uint8"),
        ("validation_covered", lambda t: t.float(), "validation_covered must be uint8 (180,4,4), got float32"),
        ("test_covered", lambda t: t[1:], "test_covered must be uint8 (360,4,4)"),
        ("test_covered", None, "test_covered"),
    ],
)
def test_damaged_decoys_are_one_sentence(
    name: str, change: Callable[[Tensor], Tensor] | None, reason: str, prepared: Path, tmp_path: Path
) -> None:
    tensors = safetensors.torch.load_file(prepared / "decoy_digits.safetensors")
    damaged = tensors.pop(name)
    if change is not None:
        tensors[name] = change(damaged).contiguous()
    path = tmp_path / "decoy_digits.safetensors"
    safetensors.torch.save_file(tensors, path, {"about": json.dumps({"class_names": list("0123456789")})})
    with pytest.raises(BenchError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path} is damaged (")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert f"python -m bench prepare decoy_digits --directory {tmp_path} makes it again" in str(caught.value)
