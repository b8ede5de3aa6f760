"""One cell: bits that repeat, paired seeds, and what failure and interruption leave."""

import contextlib
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor
from typer.testing import CliRunner

from bench.__main__ import app
from bench.cell import backbones, seed, training
from bench.cell.inputs import Inputs, inputs
from bench.cell.losses import Batch, regularizer_for
from bench.errors import BenchError
from bench.names import CONDITIONS, LOSSES, METRICS
from bench.params import Cell, Params, load
from bench.run import cells, provenance
from bench.run.cells import run_cell
from tests.tiny import tiny

ROOT = Path(__file__).parents[2]
DIGITS = Path("data/digits.safetensors")
CELL = Cell("digits", "simple_cnn", "prototype-ssim", 12)

pytestmark = pytest.mark.usefixtures("place")


def profile(cell: Cell = CELL, **changes: Any) -> Params:
    """A profile of this cell alone, of two seeds."""
    return tiny(changes).for_cell(*cell, seeds=changes.get("seeds", 2))


def run(cell: Cell = CELL, **changes: Any) -> Path:
    """The directory of a cell, trained and tested."""
    params = profile(cell, **changes)
    directory: Path = params.runs / cell.name
    run_cell(params, cell, directory)
    return directory


def rows(directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((directory / "metrics.json").read_text())
    return found


class Seen(NamedTuple):
    """What one seed's training started from and was shown."""

    seed: int
    weights: dict[str, Tensor]
    batches: list[Tensor]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """Every training from now on."""
    trained: list[Seen] = []
    genuine = training.train

    def spy(backbone: backbones.Backbone, shown: Inputs, settings: Any, number: int, *rest: Any) -> None:
        weights = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
        trained.append(Seen(number, weights, []))
        hook = backbone.model.register_forward_pre_hook(lambda _, inputs: trained[-1].batches.append(inputs[0].clone()))
        genuine(backbone, shown, settings, number, *rest)
        hook.remove()

    monkeypatch.setattr(seed, "train", spy)
    return trained


def same(a: Seen, b: Seen) -> tuple[bool, bool]:
    """Whether the weights, and whether the batches, are the same."""
    weights = all(torch.equal(tensor, b.weights[name]) for name, tensor in a.weights.items())
    return weights, all(torch.equal(x, y) for x, y in zip(a.batches, b.batches, strict=True))


def test_the_same_cell_gives_the_same_bytes_and_a_row_of_all_metrics_per_seed() -> None:
    first, second = (run(profile=name, save_weights=True) for name in ("one", "two"))
    assert sorted(path.name for path in first.iterdir()) == [
        "images.safetensors",
        "maps.safetensors",
        "metrics.json",
        "provenance.json",
        "weights-seed-0.safetensors",
        "weights-seed-1.safetensors",
    ]
    for path in first.iterdir():
        if path.name != "provenance.json":
            assert path.read_bytes() == (second / path.name).read_bytes(), path.name
    assert [list(row) for row in rows(first)] == [["seed", *METRICS]] * 2  # no wall-clock
    assert [row["seed"] for row in rows(first)] == [0, 1]
    zero, one = (row["l1"] for row in rows(first))
    assert zero != one
    maps = safetensors.torch.load_file(first / "maps.safetensors")
    assert {name: (tuple(t.shape), t.dtype) for name, t in maps.items()} == {
        "class_means": ((2, 10, 3, 3), torch.float16),
        "examples": ((2, 10, 3, 3), torch.float16),
        "example_indices": ((10,), torch.int64),
    }
    images = safetensors.torch.load_file(first / "images.safetensors")
    assert {name: (tuple(t.shape), t.dtype) for name, t in images.items()} == {
        **dict.fromkeys(("epg_ink", "specificity"), ((2, 120), torch.float32)),
        "correct": ((2, 15), torch.uint8),
        "tested": ((2,), torch.int64),
    }
    assert not any(path.is_dir() for path in Path("runs/.partial").iterdir())


def test_seeds_are_paired_across_losses_and_differ_from_one_another(seen: list[Seen]) -> None:
    for loss in ("ce", "prototype-ssim", "batchcam-l1"):
        run(CELL._replace(loss=loss), epochs=2)
    ce, *others = seen[:2], seen[2:4], seen[4:]
    for other in others:
        for a, b in zip(ce, other, strict=True):
            assert a.seed == b.seed
            assert same(a, b) == (True, True)
    assert same(*ce) == (False, False)
    # Every epoch shows every image once, in another order.
    first, second = (torch.cat(ce[0].batches[i : i + 4]).flatten(1) for i in (0, 4))
    assert not torch.equal(first, second)
    assert torch.equal(first.sort(0).values, second.sort(0).values)


def test_a_weight_of_zero_trains_as_ce_and_another_weight_otherwise() -> None:
    names = ("accuracy", "ssim", "class_mean_l1")
    ce = rows(run(CELL._replace(loss="ce")))[0]
    zero, one, ten = (rows(run(weight=weight))[0] for weight in (0, 1, 10))
    assert {name: zero[name] for name in names} == {name: pytest.approx(ce[name], abs=1e-6) for name in names}
    assert len({row["ssim"] for row in (zero, one, ten)}) == 3


def test_the_control_of_weight_zero_goes_through_the_regulariser_and_leaves_the_bits_of_ce(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Batch] = []

    def spied(*arguments: Any) -> Any:
        genuine = regularizer_for(*arguments)

        def spy(batch: Batch) -> Tensor:
            assert genuine is not None
            seen.append(batch)
            return genuine(batch)

        return genuine and spy

    monkeypatch.setattr(cells, "regularizer_for", spied)
    ce = run(CELL._replace(loss="ce"), epochs=2)
    assert not seen
    zero = run(CELL._replace(loss="zero-ssim"), epochs=2)
    assert len(seen) == 2 * 2 * 4
    for name in ("metrics.json", "maps.safetensors", "images.safetensors"):
        assert (zero / name).read_bytes() == (ce / name).read_bytes(), name
    other = run(CELL._replace(loss="permuted-ssim"), epochs=2)
    assert (other / "metrics.json").read_bytes() != (ce / "metrics.json").read_bytes()


def test_a_cell_with_decoys_has_all_that_is_measured_of_them() -> None:
    directory = run(CELL._replace(dataset="decoy_digits"), seeds=2, epochs=3, road={CELL.backbone: [12]})
    for row in rows(directory):
        assert all(isinstance(row[name], (int, float)) for name in METRICS)
    by_image = safetensors.torch.load_file(directory / "images.safetensors")
    probed = ("epg_ink", "specificity", "decoy_flip", "decoy_mass")
    packed = ("correct", *(f"correct_{name}" for name in CONDITIONS))
    assert {name: tuple(tensor.shape) for name, tensor in by_image.items()} == {
        **dict.fromkeys(probed, (2, 120)),
        **dict.fromkeys(packed, (2, 15)),
        "tested": (2,),
    }
    for k, row in enumerate(rows(directory)):
        assert by_image["decoy_flip"][k].mean().item() == pytest.approx(row["decoy_flip_rate"])
        assert by_image["decoy_mass"][k].nanmean().item() == pytest.approx(row["decoy_mass"])
    epochs = json.loads((directory / "epochs.json").read_text())
    assert [(row["seed"], row["epoch"]) for row in epochs] == [(s, e) for s in (0, 1) for e in (1, 2, 3)]


def test_a_cell_without_cues_leaves_no_epochs() -> None:
    assert not (run(seeds=1) / "epochs.json").exists()


@pytest.mark.parametrize("backbone", ["resnet18", "convnextv2_tiny"])
def test_timms_backbones_run_a_cell_whose_maps_are_neither_zero_nor_constant(backbone: str) -> None:
    cell = CELL._replace(backbone=backbone, resolution=23)
    directory = run(cell, seeds=1, train_images=48, batch_size=16, test_images=20, learning_rate=1e-4)
    (row,) = rows(directory)
    assert row["zero_map_rate"] < 0.8
    maps = safetensors.torch.load_file(directory / "maps.safetensors")["class_means"].float()
    assert maps.shape == (1, 10, *backbones.grid_size(backbones.build(backbone, 23), 23))
    live = maps.amax((-1, -2)) > 0
    assert live.float().mean() > 0.5
    assert (maps.amax((-1, -2)) - maps.amin((-1, -2)))[live].min() > 0.05


@pytest.mark.parametrize("broken", ["learning rate", "images"])
def test_a_loss_that_is_not_finite_stops_the_cell_with_a_sentence(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = r"digits-simple_cnn-prototype-ssim-12, seed 0: the loss became (nan|inf) at step [0-3] of 4; "
    with monkeypatch.context() as patch:
        if broken == "images":
            patch.setattr("bench.cell.inputs.resize", lambda images, px: torch.full((len(images), 1, px, px), math.nan))
        with pytest.raises(BenchError, match=sentence) as caught:
            run(learning_rate=1e9 if broken == "learning rate" else 1e-3)
    failure = profile().failure_file(CELL)
    assert failure.read_text() == str(caught.value)
    assert "\n" not in failure.read_text()
    assert not Path("runs/tiny").exists() or not any(Path("runs/tiny").iterdir())
    assert not any(Path("runs").glob(".partial/*/*"))
    run_cell(profile(), CELL, Path("elsewhere"))
    assert failure.exists()
    run()
    assert not failure.exists()


def test_weights_that_are_not_finite_after_the_last_step_stop_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = training.train

    def spoil(backbone: backbones.Backbone, *rest: Any) -> None:
        genuine(backbone, *rest)
        with torch.no_grad():
            backbone.layer.register_forward_hook(lambda *args: args[-1] * float("nan"))

    monkeypatch.setattr(seed, "train", spoil)
    with pytest.raises(BenchError, match=r"seed 0: .* is not finite after the last step"):
        run()
    assert not Path("runs/tiny").exists()


def test_a_full_disk_leaves_its_sentence_for_collect(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cells, "_gather", full)
    with pytest.raises(BenchError, match="No space left on device"):
        run()
    assert "No space left" in profile().failure_file(CELL).read_text()
    assert not list(Path("runs/tiny").glob("*"))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: 410 GB"),
        MemoryError("no more"),
        safetensors.SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_what_the_machine_refuses_is_a_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise error

    monkeypatch.setattr(cells, "_gather", refused)
    with pytest.raises(BenchError) as caught:
        run()
    assert str(caught.value) == f"{CELL.name}: {error}"
    monkeypatch.setattr(cells, "_gather", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a defect stays one
        run()


def test_who_waited_for_the_same_cell_takes_it_over_and_trains_no_other_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []
    genuine = cells._run_seeds
    monkeypatch.setattr(cells, "_run_seeds", lambda *arguments: trained.append(arguments) or genuine(*arguments))

    @contextlib.contextmanager
    def after_another(*_: Any) -> Iterator[bool]:
        yield True

    monkeypatch.setattr(cells, "alone", after_another)
    run()
    run()
    assert len(trained) == 1
    run(weight=2)
    assert len(trained) == 2


#: `python -m bench`, but it comes to a halt in the middle of the training of seed 1.
HALTING = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
from bench import __main__
from bench.cell import objective
genuine, calls = objective.cross_entropy, []
def cross_entropy(*args):
    calls.append(args)
    return time.sleep(100) if len(calls) == 6 else genuine(*args)
objective.cross_entropy = cross_entropy
__main__.main()
"""


@pytest.mark.parametrize(("signalled", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_stopped_cell_leaves_no_output_and_resumes_after_its_last_finished_seed(
    signalled: signal.Signals, code: int, seen: list[Seen]
) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(profile(save_weights=True).model_dump()))
    command = [sys.executable, "-c", HALTING, "cell", *map(str, CELL)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(Path().glob("runs/.partial/*/seed-0")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)  # into seed 1
        process.send_signal(signalled)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in stderr
    if signalled == signal.SIGINT:
        assert stderr.splitlines()[-1] == "interrupted: the same command resumes"
    assert not Path("runs/tiny").exists() or not any(Path("runs/tiny").iterdir())
    assert [path.name for path in Path().glob("runs/.partial/*/*")] == ["seed-0"]
    assert not profile().failure_file(CELL).exists()

    resumed = Path("runs/tiny", CELL.name)
    run_cell(load(Path("params.yaml")), CELL, resumed)
    assert [s.seed for s in seen] == [1]
    whole = run(profile="whole", save_weights=True)
    assert sorted(p.name for p in resumed.iterdir()) == sorted(p.name for p in whole.iterdir())
    for path in whole.iterdir():
        if path.name != "provenance.json":  # it has the wall-clock
            assert path.read_bytes() == (resumed / path.name).read_bytes(), path.name
    assert len(json.loads((resumed / "provenance.json").read_text())["seconds"]) == 2


def edit(path: str) -> Callable[[], None]:
    def append() -> None:
        with Path(path).open("a") as file:
            file.write("\n# other\n")

    return append


def other_data() -> None:
    content = safetensors.torch.load_file(DIGITS)
    content["validation_images"][0, 0, 0] += 1
    with safetensors.safe_open(DIGITS, framework="pt") as file:
        about = file.metadata()
    safetensors.torch.save_file(content, DIGITS, about)


@pytest.mark.parametrize(
    ("changes", "edits", "repeated"),
    [
        ({}, None, [2]),
        ({"seeds": 4}, None, [2, 3]),
        ({"seeds": 1}, None, []),
        ({"weight": 2}, None, [0, 1, 2]),
        ({"learning_rate": 1e-3}, None, [0, 1, 2]),
        ({"threads": 2}, None, [0, 1, 2]),
        ({}, other_data, [0, 1, 2]),
        ({}, edit("bench/cell/images.py"), [0, 1, 2]),
        ({}, edit("batchcam/maps.py"), [0, 1, 2]),
        ({}, edit("bench/report/collect.py"), [2]),
    ],
    ids=["nothing", "more seeds", "fewer", "weight", "rate", "threads", "data", "bench", "batchcam", "other code"],
)
def test_finished_seeds_are_kept_only_if_nothing_changed_that_makes_their_numbers(
    changes: dict[str, Any], edits: Callable[[], None] | None, repeated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("bench", "batchcam"):
        shutil.copytree(ROOT / package, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "code_hash", partial(provenance.code_hash, root=Path.cwd()))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    begun: list[int] = []

    def instead(backbone: Any, shown: Any, settings: Any, number: int, *rest: Any) -> None:
        begun.append(number)
        if len(begun) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(seed, "train", instead)
    with pytest.raises(KeyboardInterrupt):
        run(test_images=20, seeds=3)
    assert begun == [0, 1, 2]
    if edits:
        edits()
    directory = run(test_images=20, **{"seeds": 3} | changes)
    assert begun[3:] == repeated
    seeds = list(range(changes.get("seeds", 3)))
    assert [row["seed"] for row in rows(directory)] == seeds
    assert [s["seed"] for s in json.loads((directory / "provenance.json").read_text())["seconds"]] == seeds


@pytest.mark.parametrize(
    ("changes", "arguments", "sentence"),
    [
        ({"device": "cuda"}, CELL, "params.yaml: device is cuda, but torch finds no GPU here; set it to cpu"),
        ({}, ("mnist", *CELL[1:]), "data/mnist.safetensors is missing: python -m bench prepare mnist makes it"),
        (
            {"train_images": None, "batch_size": 2000},
            CELL,
            f"{CELL.name}: batch_size 2000 exceeds the 1257 training images",
        ),
        (
            {"test_images": 12},
            CELL,
            f"{CELL.name}: no image of class 0, 2, 6 among the 12 test images; raise test_images",
        ),
        (
            {"train_images": 1258},
            CELL,
            f"{CELL.name}: train_images is 1258, but digits has 1257 of them",
        ),
        (
            {},
            (*CELL, "--output", "data"),
            "--output data is there and holds no cell: name a directory that is not there yet",
        ),
        (
            {},
            (*CELL, "--seeds", "1"),
            "--seeds and --device need --output: runs/ holds cells as the profile has them",
        ),
        (
            {},
            ("digits", "simple_cnn", "prototype-sim", "12"),
            "the cell: loss: unknown name 'prototype-sim'; allowed are "
            f"{', '.join(LOSSES)}; did you mean 'prototype-ssim'?",
        ),
        (
            {},
            ("digits", "simple_cnn", "ce", "11"),
            "the cell: resolution: simple_cnn needs at least 12 px, got 11",
        ),
    ],
    ids=[
        "no GPU",
        "no data",
        "batch too large",
        "class without test images",
        "too many images",
        "output",
        "seeds",
        "loss",
        "resolution",
    ],
)
def test_what_the_user_can_mend_is_one_sentence(
    changes: dict[str, Any], arguments: tuple[Any, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    Path("params.yaml").write_text(yaml.safe_dump(profile(**changes).model_dump()))
    result = CliRunner().invoke(app, ["cell", *map(str, arguments)])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert [line for line in result.stderr.splitlines() if "step/s" not in line and line] == [f"error: {sentence}"]
    assert not Path("runs/tiny").exists()


def test_saved_weights_reproduce_the_metrics() -> None:
    directory = run(save_weights=True)
    shown = inputs(DIGITS, CELL, tiny({}).trained("simple_cnn", 12), torch.device("cpu"))
    for row in rows(directory):
        model, _ = backbones.build(CELL.backbone, CELL.resolution)
        model.load_state_dict(safetensors.torch.load_file(directory / f"weights-seed-{row['seed']}.safetensors"))
        correct = model.eval()(shown.test_images).argmax(1) == shown.test_labels
        assert len(correct) == 120
        assert correct.double().mean().item() == row["accuracy"]


def test_a_cell_says_what_made_it() -> None:
    def git(*arguments: str) -> str:
        name = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
        return subprocess.run(["git", *name, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "x")
    provenance = json.loads((run() / "provenance.json").read_text())
    assert provenance["commit"] == git("rev-parse", "HEAD")
    assert provenance["parameters"] == profile().settings(CELL)
    packages = {name: version(name) for name in ("torch", "timm", "pytorch-msssim")}
    assert provenance["versions"] == packages | {"python": platform.python_version()}
    assert provenance["device"].startswith("CPU, ")
    assert [s["seed"] for s in provenance["seconds"]] == [0, 1]
    assert all(s["train_s"] > 0 and s["test_s"] > 0 for s in provenance["seconds"])


def test_code_that_changes_while_a_cell_is_trained_is_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter(["before", "after"])
    monkeypatch.setattr(provenance, "code_hash", lambda *_: next(found))
    with pytest.raises(BenchError, match=rf"{CELL.name}: code changed while it was trained; run it again"):
        run(seeds=1)
    assert not (profile().runs / CELL.name).exists()
