"""What a profile costs at a place: by what earlier cells took, and else measured."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from bench.errors import BenchError
from bench.params import Cell, Params
from bench.run import cost, estimate
from bench.run.estimate import Pace
from bench.run.pipeline import Task
from tests.tiny import seeds, tiny

CE, SSIM = (Task(Cell("digits", "simple_cnn", loss, 12)) for loss in ("ce", "prototype-ssim"))


@pytest.fixture
def params(place: Path) -> Params:
    """Two cells of two seeds, each of four steps and 120 tested images."""
    grid = {"dataset": ["digits"], "backbone": ["simple_cnn"], "loss": ["ce", "prototype-ssim"], "resolution": [12]}
    return tiny({"grid": grid | {"seeds": seeds(2)}})


@pytest.fixture(autouse=True)
def paces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured, and on which device: no time at all."""
    seen: list[str] = []
    pace = Pace(1.0, 2.0, 0.0, 1e9)
    monkeypatch.setattr(estimate, "measure", lambda params, *_: seen.append(params.device) or pace)
    return seen


def earlier(params: Params, task: Task, train_s: float, test_s: float) -> None:
    """A cell of another profile, with two seeds."""
    directory = Path("runs/other", task.cell.name)
    directory.mkdir(parents=True)
    seconds = [{"seed": seed, "train_s": train_s, "test_s": test_s} for seed in range(2)]
    made = {"parameters": params.settings(task.cell), "seconds": seconds, "memory": 5 * 10**9}
    (directory / "provenance.json").write_text(json.dumps(made))
    (directory / "maps").write_bytes(bytes(2000))


def found(params: Params, *, by_earlier: bool) -> cost.Cost:
    with ThreadPoolExecutor(1) as executor:
        return cost.cost(params, [CE, SSIM], executor, by_earlier=by_earlier)


def test_earlier_cells_tell_the_time_the_memory_and_the_disk(params: Params, paces: list[str]) -> None:
    earlier(params, CE, train_s=10, test_s=1)
    earlier(params, SSIM, train_s=30, test_s=1)
    needed = found(params, by_earlier=True)
    assert needed.seconds == pytest.approx({CE: 22, SSIM: 62})
    assert (needed.source, needed.memory, paces) == ("by earlier cells", 5e9, [])
    sizes = sum(file.stat().st_size for file in Path("runs").rglob("*") if file.is_file())
    assert needed.disk == pytest.approx(sizes, rel=0.01)
    sentence = cost.described(needed, None)
    assert sentence.startswith(
        "about 84 s of jobs (by earlier cells), the longest 62 s; memory of a cell 5.0 GB; disk "
    )


def test_what_no_earlier_cell_tells_is_measured(params: Params, paces: list[str]) -> None:
    needed = found(params, by_earlier=True)
    assert needed.seconds == {CE: 2 * 4 * 1.0, SSIM: 2 * 4 * 2.0}
    assert paces == ["cpu"]
    time, memory, disk = cost.described(needed, 2).split("; ")
    assert time == "about 12 s for 2 (as measured here), the longest 16 s"
    assert (memory, disk) == ("memory of a cell 1.0 GB", "disk unknown until a cell is here")


def test_a_batch_of_more_images_than_there_are_is_not_even_measured(params: Params, paces: list[str]) -> None:
    settings = params.trained("simple_cnn", 12).model_copy(update={"train_images": None, "batch_size": 100_000})
    params.training["simple_cnn"]["px12"] = settings
    with pytest.raises(BenchError, match=r"simple_cnn-ce-12: batch_size 100000 exceeds the 1,[0-9]{3} training images"):
        found(params, by_earlier=False)
    assert paces == []


def test_of_cells_with_the_same_network_the_least_memory_counts(params: Params) -> None:
    """That of the others is their process's, which may have had a larger cell before."""
    earlier(params, SSIM, train_s=30, test_s=1)
    earlier(params, CE, train_s=10, test_s=1)
    path = Path("runs/other", CE.cell.name, "provenance.json")
    path.write_text(path.read_text().replace("5000000000", "4000000000"))
    assert found(params, by_earlier=True).memory == 4e9


def test_cells_of_another_device_or_a_damaged_one_tell_nothing(params: Params) -> None:
    earlier(params.model_copy(update={"threads": 2}), SSIM, train_s=30, test_s=1)
    Path("runs/other/damaged").mkdir()
    Path("runs/other/damaged/provenance.json").write_text("[")
    assert found(params, by_earlier=True).source == "as measured here"


def test_at_home_earlier_cells_do_not_tell_the_time(params: Params, paces: list[str]) -> None:
    earlier(params, SSIM, train_s=30, test_s=1)
    assert found(params, by_earlier=False).source == "as measured here"
    assert paces == ["cpu"]


def test_without_a_gpu_its_steps_are_measured_on_the_cpu(
    params: Params, paces: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    needed = found(params.model_copy(update={"device": "cuda"}), by_earlier=True)
    assert paces == ["cpu"]
    assert needed.source == "as measured here, on the CPU where there is no GPU"
