"""params.yaml under its schema: what is wrong is told with its path, what is allowed and the nearest match."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import backbones, datasets
from bench.errors import BenchError
from bench.params import LOSSES, Cell, load

ROOT = Path(__file__).parents[1]
GROWTH = {"backbone": "resnet18", "batch": [1], "resolution": [32], "classes": [2]}
PROFILES = ["params.yaml", "profiles/reduced/params.yaml", "profiles/paper/params.yaml"]


def quick() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def set_at(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    *sections, key = path.split("/")

    def change(content: dict[str, Any]) -> None:
        for section in sections:
            content = content[section]
        content[key] = value

    return change


@pytest.mark.parametrize("path", PROFILES)
def test_the_profiles_are_valid_and_name_their_own_place(path: str) -> None:
    params = load(ROOT / path)
    assert params.params_file == path
    assert (ROOT / path).parent / params.root == (ROOT / path).parent / Path(*[".."] * path.count("/") or ["."])
    assert params.cells()[0] == Cell(params.grid.dataset[0], "simple_cnn", "ce", params.grid.resolution[0])
    assert len(params.cells()) == len(set(params.cells())) == len(params.grid.dataset) * 3 * 7 * 2


def test_names_are_those_of_the_modules_behind_them() -> None:
    content = quick()
    content["grid"].update(dataset=list(datasets.NAMES), backbone=list(backbones.NAMES), loss=list(LOSSES))
    from bench.params import Params

    assert len(Params.model_validate(content).cells()) == 3 * 3 * 7 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_at("profil", "x"), "profil: unknown key; allowed are profile, .*did you mean 'profile'"),
        (set_at("grid/losses", ["ce"]), "grid.losses: unknown key; .*did you mean 'loss'"),
        (set_at("grid/loss", ["prototype-lssim"]), "grid.loss.0: unknown name 'prototype-lssim'.*'prototype-ssim'"),
        (set_at("grid/backbone", ["resnet"]), "grid.backbone.0: unknown name 'resnet'; .*did you mean 'resnet18'"),
        (set_at("grid/dataset", ["mnist", "fashion"]), "grid.dataset.1: unknown name 'fashion'; .*'fashion_mnist'"),
        (set_at("grid/loss", ["ce", "ce"]), "grid.loss: 'ce' stands there twice"),
        (set_at("grid/dataset", []), "grid.dataset: list should have at least 1 item"),
        (set_at("grid/resolution", [23, 11]), "grid.resolution: simple_cnn needs at least 12 px, got 11"),
        (set_at("training/resnet18/epoch", 1), "training.resnet18.epoch: unknown key; .*did you mean 'epochs'"),
        (set_at("threads", True), "threads: input should be a valid integer, got True"),
        (set_at("training/resnet18/seeds", "6"), "training.resnet18.seeds: input should be a valid integer, got '6'"),
        (set_at("training/resnet18/epochs", 0), "training.resnet18.epochs: .*greater than or equal to 1, got 0"),
        (set_at("training/resnet18/train_images", 4), "training.resnet18: batch_size 8 exceeds train_images 4"),
        (set_at("training", {}), "training.simple_cnn is missing, but the grid has 'simple_cnn'"),
        (set_at("weights/ce", 1), "weights.ce must be 0, got 1"),
        (set_at("weights/prototype-l1", -1), "weights.prototype-l1: .*greater than or equal to 0, got -1"),
        (set_at("weights/prototype-l1", float("nan")), "weights.prototype-l1: .*finite number, got nan"),
        (set_at("weights/prototypes-l1", 1), "weights.prototypes-l1: unknown name.*did you mean 'prototype-l1'"),
        (set_at("weights", {"ce": 0}), "weights.prototype-l1 is missing, but the grid has 'prototype-l1'"),
        (set_at("device", "gpu"), "device: unknown name 'gpu'; allowed are cpu, cuda"),
        (lambda content: content.pop("threads"), "threads: this key is missing"),
        (set_at("timing/device", []), "timing.device: unknown key; .*did you mean 'devices'"),
        (set_at("timing/devices", ["gpu"]), "timing.devices.0: unknown name 'gpu'; allowed are cpu, cuda"),
        (set_at("timing/batch", {"cuda": [1]}), "timing: batch.cpu is missing, but timing.devices has 'cpu'"),
        (set_at("timing/batch/cpu", [8, 8]), "timing.batch.cpu: 8 stands there twice"),
        (set_at("timing/resolution", [23, 11]), "timing: simple_cnn needs at least 12 px, got 11"),
        (set_at("timing/seconds", 0), "timing.seconds: .*greater than 0, got 0"),
        (set_at("timing/growth", GROWTH | {"batches": 1}), "timing.growth.batches: unknown key; .*mean 'batch'"),
        (set_at("timing/growth", GROWTH | {"resolution": [9]}), "timing: resnet18 needs at least 11 px, got 9"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    content = quick()
    change(content)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(BenchError) as caught:
        load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert re.search(message, line)


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    content = quick()
    content["device"], content["threads"] = "gpu", 0
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(BenchError) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not YAML"), ("- 1\n", "must hold a mapping"), (None, "cannot read .*No such file")],
)
def test_a_file_that_is_no_mapping_is_told(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BenchError, match=message):
        load(path)


def test_one_cell_of_a_profile_need_not_be_in_its_grid() -> None:
    params = load(ROOT / "params.yaml").for_cell("mnist", "simple_cnn", "ce", 28, seeds=1)
    assert params.cells() == [Cell("mnist", "simple_cnn", "ce", 28)]
    assert params.training["simple_cnn"].seeds == 1
    with pytest.raises(BenchError, match=r"unknown name 'simplecnn'.*did you mean 'simple_cnn'"):
        load(ROOT / "params.yaml").for_cell("mnist", "simplecnn", "ce", 28)
