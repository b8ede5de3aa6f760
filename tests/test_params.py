"""params.yaml under its schema: what is wrong is told with its path, what is allowed and the nearest match."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from bench.errors import BenchError
from bench.names import BACKBONES, DATASETS, LOSSES, PAPER_LOSSES, WEIGHTLESS
from bench.params import Cell, Params, load
from tests.tiny import NO_CELLS, seeds

ROOT = Path(__file__).parents[1]
SECTIONS = ("grid", "controls", "decoys", "doses", "networks")
SWEEP = {
    "dataset": ["digits"],
    "backbone": ["simple_cnn"],
    "loss": ["ce"],
    "resolution": [12],
    "weights": [1],
    "seeds": 1,
    "epochs": 1,
}
GROWTH = {"backbone": "resnet18", "batch": [1], "resolution": [32], "classes": [2]}
PROFILES = ["params.yaml", *(f"profiles/{name}/params.yaml" for name in ("evidence", "reduced", "paper"))]


def quick() -> dict[str, Any]:
    """The content of params.yaml, without sections that are one object in two places."""
    return json.loads(json.dumps(yaml.safe_load((ROOT / "params.yaml").read_text())))


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
    assert params.grid.loss == list(PAPER_LOSSES)
    assert tuple(params.sections()) == SECTIONS
    sizes = [len(s.dataset) * len(s.backbone) * len(s.loss) * len(s.resolution) for s in params.sections().values()]
    assert len(params.cells()) == len(set(params.cells())) == sum(sizes)


def test_every_known_name_is_allowed() -> None:
    content = quick()
    content["grid"].update(dataset=list(DATASETS), backbone=list(BACKBONES), loss=list(LOSSES), seeds=seeds(2))
    content |= dict.fromkeys(SECTIONS[1:], NO_CELLS)
    content["weights"] = {dataset: {loss: int(loss not in WEIGHTLESS) for loss in LOSSES} for dataset in DATASETS}
    content["training"]["perceptron"], content["road"]["perceptron"] = content["training"]["simple_cnn"], []
    for backbone in BACKBONES:
        content["training"][backbone] = content["training"]["simple_cnn"]
    params = Params.model_validate(content)
    assert len(params.cells()) == 10 * 6 * 24 * 2
    assert {params.seeds(cell) for cell in params.cells()} == {2}


def test_without_devices_nothing_else_of_the_timing_is_needed() -> None:
    assert Params.model_validate(quick() | {"timing": {"devices": []}}).timing.devices == []


def test_a_profile_of_decoys_alone_is_one() -> None:
    content = quick() | dict.fromkeys(("grid", "controls", "networks"), NO_CELLS)
    assert {cell.dataset for cell in Params.model_validate(content).cells()} == {"decoy_digits"}


def test_the_stage_of_a_cell_is_that_of_its_section() -> None:
    params = load(ROOT / "params.yaml")
    evidence = load(ROOT / "profiles/evidence/params.yaml")
    stages = ("cell", "control", "decoy", "dose", "network")
    for section, stage in zip(SECTIONS, stages, strict=True):
        for cell in getattr(params, section).cells()[-1:]:
            assert params.address(cell) == f"{stage}@{cell.name}"
        cell = getattr(evidence, section).cells()[-1]
        assert evidence.address(cell) == f"profiles/evidence/dvc.yaml:{stage}@{cell.name}"
    for stage in ("sweep", "control_sweep"):
        cell = getattr(evidence, stage).cells()[0]
        assert evidence.sweep_address(cell) == f"profiles/evidence/dvc.yaml:{stage}@{cell.name}"
        assert evidence.sweep_of(cell) is getattr(evidence, stage)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_at("profil", "x"), "profil: unknown key; allowed are profile, .*did you mean 'profile'"),
        (set_at("grid/losses", ["ce"]), "grid.losses: unknown key; .*did you mean 'loss'"),
        (set_at("grid/loss", ["prototype-lssim"]), "grid.loss.0: unknown name 'prototype-lssim'.*'prototype-ssim'"),
        (set_at("grid/backbone", ["resnet"]), "grid.backbone.0: unknown name 'resnet'; .*did you mean 'resnet18'"),
        (set_at("grid/dataset", ["mnist", "fashion"]), "grid.dataset.1: unknown name 'fashion'; .*'fashion_mnist'"),
        (set_at("grid/loss", ["ce", "ce"]), "grid.loss: 'ce' appears twice"),
        (
            lambda content: content.update(dict.fromkeys(SECTIONS, NO_CELLS)),
            "there is no cell: grid, controls, decoys, ",
        ),
        (set_at("picked", {"digits": ["ce"]}), "picked.digits: ce is not a loss of the paper with a regulariser"),
        (
            set_at("picked", {"digits": ["prototype-l1", "prototype-l2"]}),
            "picked.digits: prototype-l1 and prototype-l2 are of one kind",
        ),
        (
            lambda content: content.update(sweep=SWEEP, picked={"digits": ["prototype-l1"]}),
            "picked.digits: the sweeps of this profile pick",
        ),
        (
            set_at("sweep", SWEEP | {"weights": []}),
            "sweep.weights is empty, but sweep has cells",
        ),
        (
            set_at("controls/loss", ["rrr", "ce"]),
            "the cell digits-simple_cnn-ce-23 is in two of grid, controls, decoys",
        ),
        (set_at("controls/losses", ["ce"]), "controls.losses: unknown key; allowed are dataset, .*did you mean 'loss'"),
        (set_at("networks/resolution", [10]), "networks.resolution: resnet18_earlier needs at least 11 px, got 10"),
        (set_at("grid/resolution", [23, 11]), "grid.resolution: simple_cnn needs at least 12 px, got 11"),
        (
            set_at("training/resnet18/px23/epoch", 1),
            "training.resnet18.px23.epoch: unknown key; .*did you mean 'epochs'",
        ),
        (set_at("slurm", {"time": "1:00"}), "slurm.time: input should be a valid integer, got '1:00'"),
        (set_at("slurm", {"time": 60, "partion": "a"}), "slurm.partion: unknown key; .*did you mean 'partition'"),
        (set_at("slurm", {"time": 60, "partition": "a; touch b"}), "slurm.partition: string should match pattern"),
        (set_at("slurm", {"time": 60, "gpus": -1}), "slurm.gpus: input should be greater than or equal to 0"),
        (set_at("slurm", {"time": 60, "memory": 0}), "slurm.memory: input should be greater than or equal to 1"),
        (
            lambda content: content.update(slurm={"time": 60}, device="cuda"),
            "slurm.gpus must be at least 1: device is 'cuda'",
        ),
        (
            lambda content: content.update(slurm={"time": 60, "cpus": 1}, threads=2),
            "slurm.cpus 1 must be at least threads, 2",
        ),
        (set_at("threads", True), "threads: input should be a valid integer, got True"),
        (set_at("grid/seeds/digits/resnet18", "6"), "grid.seeds.digits.resnet18: input should be a valid .*, got '6'"),
        (
            set_at("grid/seeds/digits", {"simple_cnn": 6}),
            "grid.seeds.digits.resnet18 is missing, but grid.backbone has",
        ),
        (set_at("decoys/seeds", {}), "decoys.seeds.decoy_digits is missing, but decoys.dataset has 'decoy_digits'"),
        (set_at("controls/seeds", {"digit": {}}), "controls.seeds.digit: unknown name 'digit'; .*mean 'digits'"),
        (
            set_at("training/resnet18/px23/epochs", 0),
            "training.resnet18.px23.epochs: .*greater than or equal to 1, got 0",
        ),
        (set_at("training/resnet18/px23/train_images", 4), "training.resnet18.px23: batch_size 8 exceeds train_image"),
        (set_at("training", {}), "training.simple_cnn is missing, but grid.backbone has 'simple_cnn'"),
        (set_at("training/simple_cnn", {}), "training.simple_cnn.px20 is missing, but grid.resolution needs 'px20'"),
        (
            lambda content: content["training"]["simple_cnn"].update({"23": content["training"]["simple_cnn"]["px23"]}),
            "training.simple_cnn.23: string should match pattern .*, got '23'",
        ),
        (set_at("weights/digits/ce", 1), "weights.digits.ce must be 0: ce has none"),
        (set_at("weights/digits/zero-ssim", 1), "weights.digits.zero-ssim must be 0: zero-ssim has none"),
        (set_at("road/simple_cnn", [23, 23]), "road.simple_cnn: 23 appears twice"),
        (set_at("road", {}), "road.simple_cnn is missing, but grid.backbone has 'simple_cnn'"),
        (
            lambda content: content.update(sweep=SWEEP, control_sweep=SWEEP),
            "the cell digits-simple_cnn-ce-12 is in two of sweep, control_sweep",
        ),
        (set_at("sweep/seed", 1), "sweep.seed: unknown key; allowed are dataset, .*did you mean 'seeds'"),
        (set_at("sweep/weights", [1, 0]), "sweep.weights.1: .*greater than 0, got 0"),
        (set_at("sweep", SWEEP | {"resolution": [11]}), "sweep.resolution: simple_cnn needs at least 12 px, got 11"),
        (
            set_at("weights/digits/prototype-l1", -1),
            "weights.digits.prototype-l1: .*greater than or equal to 0, got -1",
        ),
        (set_at("weights/digits/prototype-l1", float("nan")), "weights.digits.prototype-l1: .*finite number, got nan"),
        (
            set_at("weights/digits/prototypes-l1", 1),
            "weights.digits.prototypes-l1: unknown name.*did you mean 'prototype-l1'",
        ),
        (
            set_at("weights/digits", {"ce": 0}),
            "weights.digits.prototype-l1 is missing, but grid.loss has 'prototype-l1'",
        ),
        (
            lambda content: content["weights"]["digits"].pop("rrr"),
            "weights.digits.rrr is missing, but controls.loss has 'rrr'",
        ),
        (
            set_at("sweep", SWEEP | {"resolution": [24]}),
            "training.simple_cnn.px24 is missing, but sweep.resolution needs 'px24'",
        ),
        (set_at("weights", {}), "weights.digits is missing, but grid.dataset has 'digits'"),
        (set_at("device", "gpu"), "device: unknown name 'gpu'; allowed are cpu, cuda"),
        (lambda content: content.pop("threads"), "threads: this key is missing"),
        (set_at("timing/device", []), "timing.device: unknown key; .*did you mean 'devices'"),
        (set_at("timing/devices", ["gpu"]), "timing.devices.0: unknown name 'gpu'; allowed are cpu, cuda"),
        (set_at("timing/batch", {"cuda": [1]}), "timing.batch.cpu is missing, but timing.devices has 'cpu'"),
        (set_at("timing/batch/cpu", [8, 8]), "timing.batch.cpu: 8 appears twice"),
        (set_at("timing/resolution", [23, 11]), "timing.resolution: simple_cnn needs at least 12 px, got 11"),
        (set_at("timing/seconds", 0), "timing.seconds: .*greater than 0, got 0"),
        (
            set_at("timing", {"devices": ["cpu"]}),
            "params.yaml: timing.threads is missing, but timing.devices has 'cpu'",
        ),
        (set_at("timing/growth", GROWTH | {"batches": 1}), "timing.growth.batches: unknown key; .*mean 'batch'"),
        (
            set_at("timing/growth", GROWTH | {"resolution": [9]}),
            "timing.growth.resolution: resnet18 needs at least 11 px, got 9",
        ),
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
    params = load(ROOT / "params.yaml").for_cell("digits", "simple_cnn", "ce", 28)
    assert params.cells() == [Cell("digits", "simple_cnn", "ce", 28)]
    assert [params.seeds(cell) for cell in params.cells()] == [1]
    assert params.trained("simple_cnn", 28) == params.trained("simple_cnn", 23)  # the nearest
    assert (
        load(ROOT / "params.yaml")
        .for_cell("digits", "simple_cnn", "ce", 23)
        .seeds(Cell("digits", "simple_cnn", "ce", 23))
        == 6
    )
    with pytest.raises(BenchError, match=r"unknown name 'simplecnn'.*did you mean 'simple_cnn'"):
        load(ROOT / "params.yaml").for_cell("digits", "simplecnn", "ce", 28)
    with pytest.raises(BenchError, match=r"^the cell: weights.mnist is missing, but it has 'mnist'$"):
        load(ROOT / "params.yaml").for_cell("mnist", "simple_cnn", "ce", 28)


@pytest.mark.parametrize("path", PROFILES)
def test_dvc_exp_run_changes_the_values_that_are_set(path: str, tmp_path: Path) -> None:
    """DVC writes through YAML's aliases: what two keys shared would change in both, or in neither."""
    file, expected = tmp_path / "params.yaml", json.loads(json.dumps(yaml.safe_load((ROOT / path).read_text())))
    flat = {f"weights.{dataset}.{loss}": w for dataset, of in expected["weights"].items() for loss, w in of.items()}
    flat |= {
        f"training.{name}.{px}.epochs": one["epochs"]
        for name, of in expected["training"].items()
        for px, one in of.items()
    }
    values = {key: n for n, key in enumerate(flat, 1000)}  # no two alike
    shutil.copyfile(ROOT / path, file)
    apply_overrides(file, [f"{key}={value}" for key, value in values.items()])
    for key, value in values.items():
        set_at(key.replace(".", "/"), value)(expected)
    assert yaml.safe_load(file.read_text()) == expected
