"""Whether a cell fits into memory, estimated before: the images by their sizes."""

import os
from pathlib import Path

import pytest
import torch

from bench.cell.data import load
from bench.cell.inputs import inputs
from bench.errors import BenchError
from bench.params import Cell
from bench.run import room
from tests.tiny import tiny


@pytest.mark.parametrize("dataset", ["digits", "decoy_digits"])
@pytest.mark.parametrize("swept", [False, True])
def test_the_images_need_the_bytes_that_they_then_have(dataset: str, swept: bool, place: Path) -> None:
    source, cell = Path(f"data/{dataset}.safetensors"), Cell(dataset, "simple_cnn", "ce", 12)
    settings = tiny({}).trained("simple_cnn", 12)
    if swept:
        settings = settings.model_copy(update={"test_images": None})
    seen = inputs(source, cell, settings, torch.device("cpu"), "validation" if swept else "test")
    tensors = [seen.train_images, *(seen.conditions.values() or [seen.test_images])]
    assert room.image_bytes(cell, settings, load(source), swept=swept) == sum(tensor.nbytes for tensor in tensors)


def test_a_cell_that_cannot_fit_is_refused_before_anything_is_allocated(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, cell = tiny({}).for_cell("digits", "simple_cnn", "ce", 2048), Cell("digits", "simple_cnn", "ce", 2048)
    monkeypatch.setattr(room, "memory", lambda device: 3 * 10**9)
    with pytest.raises(BenchError) as caught:
        room.check_room(params, cell)
    assert str(caught.value) == (
        "digits-simple_cnn-ce-2048: its images alone need 3.1 GB at 2048 px, but there are 3.0 GB of memory: lower"
        " resolution, train_images or test_images"
    )
    monkeypatch.setattr(room, "memory", lambda device: 4 * 10**9)
    room.check_room(params, cell)


def test_a_container_has_the_memory_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    physical = room.memory("cpu")
    assert 2**28 < physical < 2**50
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(room, "CGROUP", limit)
    for text, expected in (("1073741824\n", 2**30), ("max\n", None), (str(2**60), None)):
        limit.write_text(text)
        found = room.memory("cpu")
        assert found == (expected or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
