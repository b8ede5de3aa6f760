"""One cell: bits that repeat, paired seeds, the objective written out, and what failure and interruption leave."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
import yaml
from tiny import tiny
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm
from typer.testing import CliRunner

from batchcam import distances
from bench import backbones, datasets, train
from bench.__main__ import app
from bench.collect import METRICS, SALIENCY
from bench.errors import BenchError
from bench.images import ink, prototypes, resize, subset, without_decoys
from bench.losses import LOSSES, PAPER, Batch, regularizer_for
from bench.params import Cell, load

ROOT = Path(__file__).parents[1]
DIGITS = Path("data/digits.safetensors")
CELL = Cell("digits", "simple_cnn", "prototype-ssim", 12)
#: Losses whose regulariser a few steps make smaller.
REGULARIZED = (*PAPER[1:], "consistency-ssim", "hint")

pytestmark = pytest.mark.usefixtures("place")


def run(cell: Cell = CELL, **changes: Any) -> Path:
    """The directory of a cell, trained and tested."""
    params = tiny(changes)
    directory = params.runs / cell.name
    train.run_cell(params, cell, directory)
    return directory


def rows(directory: Path) -> list[dict[str, Any]]:
    return json.loads((directory / "metrics.json").read_text())


class Seen(NamedTuple):
    """What one seed's training started from and was shown."""

    seed: int
    weights: dict[str, Tensor]
    batches: list[Tensor]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """Every training from now on."""
    trained: list[Seen] = []
    genuine = train.train

    def spy(backbone: backbones.Backbone, data: train.Data, settings: Any, seed: int, *rest: Any) -> None:
        weights = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
        trained.append(Seen(seed, weights, []))
        hook = backbone.model.register_forward_pre_hook(lambda _, inputs: trained[-1].batches.append(inputs[0].clone()))
        genuine(backbone, data, settings, seed, *rest)
        hook.remove()

    monkeypatch.setattr(train, "train", spy)
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
    assert {name: (tuple(t.shape), t.dtype) for name, t in images.items()} == dict.fromkeys(
        ("correct", "epg_ink", "specificity"), ((2, 120), torch.float32)
    )
    assert not any(Path("runs/.partial").iterdir())


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


def trained(loss: str, **changes: Any) -> tuple[backbones.Backbone, train.Data, list[float]]:
    """A SimpleCNN trained with a loss, what it was trained on, and the loss of every step."""
    params = tiny({"batch_size": 64, **changes})
    settings, device = params.training["simple_cnn"], torch.device("cpu")
    data = train.load(DIGITS, CELL._replace(loss="hint"), settings, device)  # which is told of the ink
    torch.manual_seed(0)
    backbone = backbones.build("simple_cnn", CELL.resolution)
    regularizer = regularizer_for(loss, data.prototypes)
    losses: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        backward = Tensor.backward
        patch.setattr(Tensor, "backward", lambda loss: [losses.append(loss.item()), backward(loss)])
        train.train(backbone, data, settings, 0, regularizer, params.weights[loss], "here", tqdm(disable=True))
    return backbone, data, losses


def regularizer_of(loss: str, backbone: backbones.Backbone, data: train.Data) -> float:
    activations = backbone.model.features(data.train_images)
    batch = Batch(activations, backbone.model.head(activations), data.train_labels, data.train_images, data.train_ink)
    return regularizer_for(loss, data.prototypes)(batch).item()


@pytest.mark.parametrize("loss", REGULARIZED)
def test_every_regulariser_falls_below_what_training_without_it_reaches(loss: str) -> None:
    assert regularizer_for("ce", torch.rand(10, 12, 12)) is None
    without, data, _ = trained("ce", epochs=12)
    backbone, _, losses = trained(loss, epochs=12)
    assert losses[-1] < losses[0]
    # Not by way of what comes after the layer alone: in front of it, too, the weights are others.
    assert not torch.equal(backbone.model.features[0].weight, without.model.features[0].weight)
    assert regularizer_of(loss, backbone, data) < 0.97 * regularizer_of(loss, without, data)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("loss", ["prototype-l1", "prototype-ssim", "batchcam-l1", "batchcam-l2"])
def test_the_objective_is_cross_entropy_plus_weight_times_regulariser(loss: str, weight: float) -> None:
    torch.manual_seed(0)
    model, _ = backbones.build("simple_cnn", 12)
    everything = datasets.load(DIGITS).train
    chosen = subset(everything, 64)

    def resized(split: datasets.Split) -> Tensor:
        return interpolate(split.images[:, None] / 255, (12, 12), mode="bilinear", antialias=True)

    y, pictures = chosen.labels, resized(everything)[:, 0]
    P = torch.stack([pictures[everything.labels == c].mean(0) for c in range(10)])  # of all, not of the chosen
    A = model.features(resized(chosen))
    logits = model.head(A)
    expected = -logits.log_softmax(1)[torch.arange(64), y].mean()
    M = []
    for i in range(64):
        alpha = torch.autograd.grad(logits[i, y[i]], A, retain_graph=True)[0][i].mean((1, 2))
        raw = (alpha[:, None, None] * A[i]).sum(0).relu()
        m = interpolate(raw[None, None], (12, 12), mode="bilinear", align_corners=False)[0, 0]
        M.append((m - m.min()) / max(m.max() - m.min(), 1e-6))
    maps = torch.stack(M)
    family, distance = loss.split("-")
    pairs = [(maps[i], P[y[i]]) for i in range(64)]
    if family == "batchcam":
        pairs = [(maps[y == c].mean(0), P[c]) for c in range(10)]
    compare = {
        "l1": lambda m, p: (m - p).abs().mean(),
        "l2": lambda m, p: (m - p).square().mean(),
        "ssim": lambda m, p: distances.ssim(m[None], p[None])[0],
    }[distance]
    value = sum(compare(*pair) for pair in pairs) / len(pairs)
    assert value > 0.01  # far above the tolerance
    expected = expected + weight * value

    losses = trained(loss, weight=weight)[2]
    assert losses == [pytest.approx(expected.item(), abs=2e-5)]


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
        return genuine and (lambda batch: [seen.append(batch), genuine(batch)][1])

    monkeypatch.setattr(train, "regularizer_for", spied)
    ce = run(CELL._replace(loss="ce"), epochs=2)
    assert not seen
    zero = run(CELL._replace(loss="zero-ssim"), epochs=2)
    assert len(seen) == 2 * 2 * 4
    for name in ("metrics.json", "maps.safetensors", "images.safetensors"):
        assert (zero / name).read_bytes() == (ce / name).read_bytes(), name
    other = run(CELL._replace(loss="permuted-ssim"), epochs=2)
    assert (other / "metrics.json").read_bytes() != (ce / "metrics.json").read_bytes()


def test_a_cell_with_decoys_is_tested_with_and_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps leave a model that answers the same to all images: what it is shown counts here."""
    tried: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(train, "accuracy", lambda model, *shown: [tried.append(shown), 0.25][1])
    directory = run(CELL._replace(dataset="decoy_digits"), seeds=1, road={CELL.backbone: [12]})
    (row,), ((images, labels),) = rows(directory), tried
    clean = subset(datasets.load(DIGITS).test, 120)
    assert torch.equal(images, resize(clean.images, 12))
    assert torch.equal(labels, clean.labels)
    assert (row["clean_accuracy"], row["decoy_accuracy"]) == (0.25, row["accuracy"])
    assert all(isinstance(row[name], (int, float)) for name in SALIENCY)
    images = safetensors.torch.load_file(directory / "images.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in images.items()} == dict.fromkeys(
        ("correct", "epg_ink", "specificity", "decoy_flip", "decoy_mass"), (1, 120)
    )
    assert images["decoy_flip"].mean().item() == pytest.approx(row["decoy_flip_rate"])
    assert images["decoy_mass"].nanmean().item() == pytest.approx(row["decoy_mass"])


@pytest.mark.parametrize("loss", ["prototype-ssim", "hint"])
def test_what_is_loaded_of_a_dataset_with_decoys(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and prototypes with them, the oracle's prototypes and all ink without; the probed images are first."""
    monkeypatch.setattr(train, "PROBED", 30)
    cell, settings = CELL._replace(dataset="decoy_digits", loss=loss), tiny({}).training["simple_cnn"]
    data = train.load(Path("data/decoy_digits.safetensors"), cell, settings, torch.device("cpu"))
    clean, decoyed = datasets.load(DIGITS), datasets.load(Path("data/decoy_digits.safetensors"))
    assert torch.equal(data.train_images, resize(subset(decoyed.train, 64).images, 12))
    assert torch.equal(data.test_images, resize(subset(decoyed.test, 120).images, 12))
    assert torch.equal(data.clean_test_images, resize(subset(clean.test, 120).images, 12))
    assert torch.equal(data.prototypes, prototypes(decoyed.train, 12))
    assert torch.equal(data.clean_prototypes, prototypes(clean.train, 12))
    if loss == "hint":
        assert torch.equal(data.train_ink, ink(resize(subset(clean.train, 64).images, 12)))
    else:
        assert data.train_ink is None
    probed = subset(subset(decoyed.test, 120), 30)
    assert torch.equal(data.probe.images, resize(probed.images, 12))
    assert torch.equal(data.probe.labels, probed.labels)
    assert torch.equal(data.probe.ink, ink(resize(without_decoys(probed).images, 12)))
    # 16 of 784 pixels; another grey there, and nothing else.
    assert data.probe.patch.mean((1, 2)).tolist() == pytest.approx([16 / 784] * 30, abs=0.002)
    differs = (data.probe.repainted - data.probe.images).abs()[:, 0] > 1e-6
    assert differs.flatten(1).any(1).all()
    assert not (differs & (data.probe.patch == 0)).any()


def test_the_validation_split_can_stand_for_the_test_images() -> None:
    settings = tiny({"test_images": None}).training["simple_cnn"]
    data = train.load(DIGITS, CELL, settings, torch.device("cpu"), "validation")
    assert torch.equal(data.test_images, resize(datasets.load(DIGITS).validation.images, 12))
    assert len(data.probe.labels) == 180
    assert data.clean_prototypes is data.clean_test_images is data.probe.patch is data.probe.repainted is None


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
            patch.setattr(train, "resize", lambda images, px: torch.full((len(images), 1, px, px), torch.nan))
        with pytest.raises(BenchError, match=sentence) as caught:
            run(learning_rate=1e30 if broken == "learning rate" else 1e-3)
    failure = tiny({}).failure_file(CELL)
    assert failure.read_text() == str(caught.value)
    assert "\n" not in failure.read_text()
    assert not Path("runs/tiny").exists() or not any(Path("runs/tiny").iterdir())
    assert not any(Path("runs").glob(".partial/*/*"))
    train.run_cell(tiny({}), CELL, Path("elsewhere"))
    assert failure.exists()
    run()
    assert not failure.exists()


#: `python -m bench`, but it comes to a halt in the middle of the training of seed 1.
HALTING = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
from bench import __main__, train
genuine, calls = train.cross_entropy, []
def cross_entropy(*args):
    calls.append(args)
    return time.sleep(100) if len(calls) == 6 else genuine(*args)
train.cross_entropy = cross_entropy
__main__.main()
"""


def test_weights_that_are_not_finite_after_the_last_step_stop_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = train.train

    def spoil(backbone: backbones.Backbone, *rest: Any) -> None:
        genuine(backbone, *rest)
        with torch.no_grad():
            backbone.layer.register_forward_hook(lambda *args: args[-1] * float("nan"))

    monkeypatch.setattr(train, "train", spoil)
    with pytest.raises(BenchError, match=r"seed 0: .* is not finite after the last step"):
        run()
    assert not Path("runs/tiny").exists()


def test_a_full_disk_leaves_its_sentence_for_collect(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train, "_gather", full)
    with pytest.raises(BenchError, match="No space left on device"):
        run()
    assert "No space left" in tiny({}).failure_file(CELL).read_text()
    assert not list(Path("runs/tiny").glob("*"))


@pytest.mark.parametrize(("signalled", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_stopped_cell_leaves_no_output_and_goes_on_behind_its_last_finished_seed(
    signalled: signal.Signals, code: int, seen: list[Seen]
) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(tiny({"save_weights": True}).model_dump()))
    command = [sys.executable, "-c", HALTING, "cell", *map(str, CELL)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(Path().glob("runs/.partial/*/seed-0")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)  # into seed 1
        process.send_signal(signalled)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in stderr
    if signalled == signal.SIGINT:
        assert stderr.splitlines()[-1] == "interrupted: the same command takes it up again"
    assert not Path("runs/tiny").exists() or not any(Path("runs/tiny").iterdir())
    assert [path.name for path in Path().glob("runs/.partial/*/*")] == ["seed-0"]
    assert not tiny({}).failure_file(CELL).exists()

    resumed = Path("runs/tiny", CELL.name)
    train.run_cell(load(Path("params.yaml")), CELL, resumed)
    assert [s.seed for s in seen] == [1]
    whole = run(profile="whole", save_weights=True)
    assert sorted(p.name for p in resumed.iterdir()) == sorted(p.name for p in whole.iterdir())
    for path in whole.iterdir():
        if path.name != "provenance.json":  # it has the wall-clock
            assert path.read_bytes() == (resumed / path.name).read_bytes(), path.name
    assert len(json.loads((resumed / "provenance.json").read_text())["seconds"]) == 2


def edit(path: str) -> Callable[[], None]:
    return lambda: Path(path).write_bytes(Path(path).read_bytes() + b"\n# other\n")


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
        ({}, edit("bench/images.py"), [0, 1, 2]),
        ({}, edit("batchcam/maps.py"), [0, 1, 2]),
        ({}, edit("bench/collect.py"), [2]),
    ],
    ids=["nothing", "more seeds", "fewer", "weight", "rate", "threads", "data", "bench", "batchcam", "other code"],
)
def test_finished_seeds_are_taken_over_only_if_nothing_changed_that_makes_their_numbers(
    changes: dict[str, Any], edits: Callable[[], None] | None, repeated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("bench", "batchcam"):
        shutil.copytree(ROOT / package, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(train, "__file__", str(Path("bench/train.py").resolve()))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    begun: list[int] = []

    def instead(backbone: Any, data: Any, settings: Any, seed: int, *rest: Any) -> None:
        begun.append(seed)
        if len(begun) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", instead)
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
        ({}, ("mnist", *CELL[1:]), "data/mnist.safetensors is not there: python -m bench prepare mnist makes it"),
        (
            {"train_images": None, "batch_size": 2000},
            CELL,
            f"{CELL.name}, seed 0: batch_size 2000 exceeds the 1257 training images",
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
    Path("params.yaml").write_text(yaml.safe_dump(tiny(changes).model_dump()))
    result = CliRunner().invoke(app, ["cell", *map(str, arguments)])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert [line for line in result.stderr.splitlines() if "step/s" not in line and line] == [f"error: {sentence}"]
    assert not Path("runs/tiny").exists()


def test_saved_weights_reproduce_the_metrics() -> None:
    directory = run(save_weights=True)
    data = train.load(DIGITS, CELL, tiny({}).training["simple_cnn"], torch.device("cpu"))
    for row in rows(directory):
        model, _ = backbones.build(CELL.backbone, CELL.resolution)
        model.load_state_dict(safetensors.torch.load_file(directory / f"weights-seed-{row['seed']}.safetensors"))
        correct = model.eval()(data.test_images).argmax(1) == data.test_labels
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
    assert provenance["parameters"] == tiny({}).settings(CELL)
    packages = {name: version(name) for name in ("torch", "timm", "pytorch-msssim")}
    assert provenance["versions"] == packages | {"python": platform.python_version()}
    assert provenance["device"].startswith("CPU, ")
    assert [s["seed"] for s in provenance["seconds"]] == [0, 1]
    assert all(s["train_s"] > 0 and s["test_s"] > 0 for s in provenance["seconds"])
