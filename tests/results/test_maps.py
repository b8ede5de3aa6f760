"""A cell's maps with the images beside them."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from batchcam import resize_maps
from bench.cell import data, images
from bench.errors import BenchError
from bench.params import Cell
from bench.results.maps import by_image, read

MEANS = torch.linspace(0, 1, 2 * 10 * 9).reshape(2, 10, 3, 3).half()  # (seeds,classes,h,w)
INDICES = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What a cell leaves of its maps and its single images."""
    maps = {"class_means": MEANS, "examples": 1.25 * MEANS.flip(0), "example_indices": INDICES}
    safetensors.torch.save_file(maps, tmp_path / "maps.safetensors")
    correct = torch.tensor([[0b10100000], [0b01000000]], dtype=torch.uint8)
    found = {"tested": torch.tensor([3, 3]), "correct": correct, "epg_ink": torch.tensor([[0.5, torch.nan]] * 2)}
    safetensors.torch.save_file(found, tmp_path / "images.safetensors")
    return tmp_path


def test_maps_are_by_seed_beside_the_images_that_the_cell_saw(directory: Path, prepared: Path) -> None:
    found = read(prepared, directory, Cell("digits", "simple_cnn", "ce", 12), 100)
    assert found.class_means.shape == found.examples.shape == (2, 10, 12, 12)
    np.testing.assert_allclose(found.class_means[1], resize_maps(MEANS[1].float(), 12), atol=1e-6)
    assert found.examples.max() == 1  # a grid may go beyond what the enlarged map reaches
    dataset = data.load(prepared / "digits.safetensors")
    shown = images.resize(images.subset(dataset.test, 100).images[INDICES], 12)
    assert found.images.shape == (10, 12, 12, 3)
    for channel in range(3):
        np.testing.assert_array_equal(found.images[..., channel], shown[:, 0])
    np.testing.assert_array_equal(found.prototypes, images.prototypes(dataset.train, 12))
    assert found.classes == dataset.class_names
    assert found.cues == ()
    assert found.patches is None


def test_with_decoys_it_says_where_the_patch_is_and_what_it_names(directory: Path, prepared: Path) -> None:
    found = read(prepared, directory, Cell("decoy_digits", "simple_cnn", "ce", 28), None)
    assert found.patches is not None
    for picture, cue, (left, top, side) in zip(found.images, found.cues, found.patches.astype(int), strict=True):
        patch = picture[top : top + side, left : left + side]
        np.testing.assert_allclose(patch, (255 - 25 * found.classes.index(cue)) / 255, atol=1e-6)


def test_a_dataset_that_is_missing_is_made(directory: Path, tmp_path: Path) -> None:
    found = read(tmp_path / "data", directory, Cell("digits", "simple_cnn", "ce", 12), None)
    assert (tmp_path / "data/digits.safetensors").is_file()
    assert found.prototypes.max() > 0.5


def test_the_metrics_of_single_images_are_by_seed(directory: Path) -> None:
    found = by_image(directory)
    np.testing.assert_array_equal(found["correct"], [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(found["epg_ink"], [[0.5, np.nan]] * 2)


def test_damaged_files_are_one_sentence(directory: Path, prepared: Path) -> None:
    for name in ("maps", "images"):
        (directory / f"{name}.safetensors").write_bytes(b"x")
    with pytest.raises(BenchError, match=r"maps.safetensors is damaged .*: python -m bench cell makes it again$"):
        read(prepared, directory, Cell("digits", "simple_cnn", "ce", 12), None)
    with pytest.raises(BenchError, match=r"images.safetensors is damaged .*: python -m bench cell makes it again$"):
        by_image(directory)


def test_files_that_were_never_pulled_are_missing_and_not_damaged(directory: Path, prepared: Path) -> None:
    for name in ("maps", "images"):
        (directory / f"{name}.safetensors").unlink()
    with pytest.raises(BenchError, match=r"maps.safetensors is missing: dvc pull fetches it$"):
        read(prepared, directory, Cell("digits", "simple_cnn", "ce", 12), None)
    with pytest.raises(BenchError, match=r"images.safetensors is missing: dvc pull fetches it$"):
        by_image(directory)
