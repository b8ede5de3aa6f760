"""One cell of the grid: train and test a backbone with a loss, for every seed.

Seeds are paired across losses: a seed fixes the initialisation and the order of the images, whatever the loss.
"""

import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch
import torch
from torch import Tensor
from torch.backends.cpu import get_cpu_capability
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from batchcam import capture
from bench import backbones, datasets, decoys
from bench.errors import BenchError
from bench.evaluate import PROBED, Probe, accuracy, evaluate, probe
from bench.files import written_aside
from bench.images import ink, prototypes, resize, subset, without_decoys
from bench.losses import MASKED, Batch, Regularizer, regularizer_for
from bench.params import Cell, Params, Training

#: The modules of bench/ that can change a cell's numbers, besides batchcam. dvc.yaml names the same.
CODE = ("backbones.py", "decoys.py", "evaluate.py", "images.py", "losses.py", "saliency.py", "train.py")


class Data(NamedTuple):
    """A dataset as the cell sees it: images (N,1,px,px) float32 in [0, 1] and labels (N,) long, on the device."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    prototypes: Tensor  # (classes,px,px), of the whole training split
    clean_prototypes: Tensor | None  # of the same images without decoys; None where there are none
    clean_test_images: Tensor | None
    train_ink: Tensor | None  # (N,px,px), for a loss that is told of it
    probe: Probe


def run_cell(params: Params, cell: Cell, output: Path) -> None:
    """Train and test every seed of a cell, and write the directory `output`.

    It holds metrics.json, maps.safetensors, images.safetensors (the map metrics of each probed image), provenance.json
    and, where the profile says so, the weights. Finished seeds
    of an interrupted run wait in runs/.partial, in a folder named by the hash of parameters, data and code, and are
    not repeated. A cell that fails leaves its sentence for `collect`.

    Raises:
        BenchError: no such device, or too little memory on it; a dataset that is not prepared, has too few images, or
            none of a class; a batch larger than the training set; a loss that is not finite; a full disk.
    """
    failure = params.failure_file(cell)
    expected = output == params.runs / cell.name  # what goes elsewhere, `collect` does not look for
    if expected:
        failure.unlink(missing_ok=True)
    try:
        _run_seeds(params, cell, output)
    except (BenchError, OSError, torch.OutOfMemoryError) as error:
        sentence = str(error) if isinstance(error, BenchError) else f"{cell.name}: {error}"
        if expected:
            failure.parent.mkdir(parents=True, exist_ok=True)
            failure.write_text(sentence, encoding="utf-8")
        raise BenchError(sentence) from error


def _run_seeds(params: Params, cell: Cell, output: Path) -> None:
    commit = _commit()  # now: the tree may have moved on when the training is done
    device = prepare_device(params)
    settings = params.training[cell.backbone]
    source = Path("data", f"{cell.dataset}.safetensors")
    data = load(source, cell, settings, device)
    regularizer = regularizer_for(cell.loss, data.prototypes, data.clean_prototypes)
    partial = Path("runs", ".partial", identity(params, cell, source))

    seeds = range(settings.seeds)
    waiting = [seed for seed in seeds if not _seed_directory(partial, seed).is_dir()]
    total = len(waiting) * settings.epochs * (len(data.train_labels) // settings.batch_size)
    interval = 0.1 if sys.stderr.isatty() else 10.0
    with tqdm(total=total, desc=cell.name, unit="step", mininterval=interval, dynamic_ncols=True) as bar:
        for seed in waiting:
            _run_seed(params, cell, seed, data, regularizer, partial, bar)

    with written_aside(output) as directory:
        directory.mkdir()
        finished = [_seed_directory(partial, seed) for seed in seeds]
        _gather(finished, directory)
        provenance = _provenance(params, cell, finished, device, commit)
        (directory / "provenance.json").write_text(json.dumps(provenance, indent=1))
    shutil.rmtree(partial)


def _run_seed(
    params: Params, cell: Cell, seed: int, data: Data, regularizer: Regularizer | None, partial: Path, bar: Any
) -> None:
    """Train, test and leave one seed's directory in `partial`."""
    start = time.perf_counter()
    torch.manual_seed(seed)
    backbone = backbones.build(cell.backbone, cell.resolution, datasets.NUM_CLASSES)
    backbone.model.to(data.train_images.device).to(memory_format=torch.channels_last)
    where = f"{cell.name}, seed {seed}"
    train(backbone, data, params.training[cell.backbone], seed, regularizer, params.weights[cell.loss], where, bar)
    trained = time.perf_counter()
    evaluation = evaluate(*backbone, data.test_images, data.test_labels, data.prototypes)
    found, by_image = probe(*backbone, data.probe, road=cell.resolution in params.road[cell.backbone])
    metrics = evaluation.metrics | _with_and_without_decoys(backbone.model, evaluation.metrics, data) | found
    bad = [name for name, value in metrics.items() if value is not None and not math.isfinite(value)]
    if bad:  # the last step's update is seen by no loss
        raise BenchError(f"{where}: {bad[0]} is not finite after the last step; try a lower learning rate")
    tested = time.perf_counter()

    with written_aside(_seed_directory(partial, seed)) as directory:
        directory.mkdir()
        row = {"seed": seed, **metrics}
        (directory / "metrics.json").write_text(json.dumps(row))
        seconds = {"seed": seed, "train_s": trained - start, "test_s": tested - trained}
        (directory / "seconds.json").write_text(json.dumps(seconds))
        maps = {
            "class_means": evaluation.class_means.half(),
            "examples": evaluation.examples.half(),
            "example_indices": evaluation.example_indices,
        }
        by_image = {name: values.float().cpu() for name, values in by_image.items()}
        safetensors.torch.save_file(by_image, directory / "images.safetensors")
        safetensors.torch.save_file({k: v.cpu().contiguous() for k, v in maps.items()}, directory / "maps.safetensors")
        if params.save_weights:
            weights = {k: v.cpu().contiguous() for k, v in backbone.model.state_dict().items()}
            safetensors.torch.save_file(weights, directory / "weights.safetensors")


def train(
    backbone: backbones.Backbone,
    data: Data,
    settings: Training,
    seed: int,
    regularizer: Regularizer | None,
    weight: float,
    where: str,
    bar: Any,
) -> None:
    """Train a model in place on `objective`, with AdamW and a one-cycle schedule.

    Raises:
        BenchError: the loss is NaN or infinite; the sentence names `where` and the step.
    """
    model, device = backbone.model, data.train_images.device
    batches = len(data.train_labels) // settings.batch_size
    if batches == 0:
        raise BenchError(
            f"{where}: batch_size {settings.batch_size} exceeds the {len(data.train_labels)} training images"
        )
    steps = settings.epochs * batches
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
    order = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(steps):
        if step % batches == 0:  # a last incomplete batch is left out: BatchNorm on one image has no variance
            epoch = torch.randperm(len(data.train_labels), generator=order)[: batches * settings.batch_size]
            epoch = epoch.view(batches, settings.batch_size).to(device)
        chosen = epoch[step % batches]
        images, labels = data.train_images[chosen], data.train_labels[chosen]
        inked = None if data.train_ink is None else data.train_ink[chosen]
        loss, logits = objective(backbone, images, labels, regularizer, weight, inked)
        value = loss.item()
        if not math.isfinite(value):
            raise BenchError(
                f"{where}: the loss became {value} at step {step} of {steps}; a lower learning rate may help"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.update()
        if step % 10 == 0:
            correct = (logits.argmax(1) == labels).float().mean().item()
            bar.set_postfix_str(f"seed {seed}, loss {value:.3f}, accuracy {correct:.2f}", refresh=False)


def objective(
    backbone: backbones.Backbone,
    images: Tensor,
    labels: Tensor,
    regularizer: Regularizer | None,
    weight: float,
    ink: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy + weight · regulariser of a batch, a scalar, and the logits (N,classes).

    `ink` (N,px,px) is where the images show something, for a regulariser that is told of it.

    On a GPU the forward pass runs under bfloat16 autocast. On a CPU it does not: without bfloat16 instructions it was
    twelve times slower (ResNet-18 at 56 px, 8 against 101 images/s).
    """
    model, layer = backbone
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        if regularizer is None:
            logits = model(images)
        else:
            with capture(layer) as captured:
                logits = model(images)
    loss = cross_entropy(logits.float(), labels)
    if regularizer is not None:
        loss = loss + weight * regularizer(Batch(captured.activations, logits, labels, images, ink))
    return loss, logits


def _with_and_without_decoys(model: torch.nn.Module, metrics: dict[str, Any], data: Data) -> dict[str, float | None]:
    """Accuracy on the test images as they are, with misleading decoys, and without them; None where there are none."""
    if data.clean_test_images is None:
        return {"decoy_accuracy": None, "clean_accuracy": None}
    clean = accuracy(model, data.clean_test_images, data.test_labels)
    return {"decoy_accuracy": metrics["accuracy"], "clean_accuracy": clean}


def load(
    source: Path, cell: Cell, settings: Training, device: torch.device, tried: Literal["test", "validation"] = "test"
) -> Data:
    """The images of a cell, resized once; `tried` is the split that stands for the test images."""
    dataset = datasets.load(source)
    train = _part(cell, dataset, "train", settings.train_images)
    test = _part(cell, dataset, tried, settings.test_images)

    def images(split: datasets.Split) -> Tensor:
        return resize(split.images, cell.resolution).to(device, memory_format=torch.channels_last)

    def clean(split: datasets.Split) -> Tensor:
        return images(without_decoys(split))

    probed = subset(test, PROBED)
    patch = repainted = None
    if probed.corners is not None:
        patch = resize(decoys.masks(probed.corners), cell.resolution)[:, 0].to(device)
        shown = decoys.patch(probed.images, probed.corners)[:, 0, 0]
        other = decoys.other_grey(shown, torch.Generator().manual_seed(0))
        repainted = images(datasets.Split(decoys.paint(probed.images, probed.corners, other), probed.labels))
    decoyed = test.corners is not None
    return Data(
        images(train),
        train.labels.to(device),
        images(test),
        test.labels.to(device),
        prototypes(dataset.train, cell.resolution).to(device),
        prototypes(without_decoys(dataset.train), cell.resolution).to(device) if decoyed else None,
        clean(test) if decoyed else None,
        ink(clean(train)) if cell.loss in MASKED else None,
        Probe(images(probed), probed.labels.to(device), ink(clean(probed)), patch, repainted),
    )


def _part(
    cell: Cell, dataset: datasets.Dataset, name: Literal["train", "validation", "test"], count: int | None
) -> datasets.Split:
    """The first `count` images of a split in a fixed random order, every class among them."""
    whole: datasets.Split = getattr(dataset, name)
    if count is not None and count > len(whole.labels):
        raise BenchError(f"{cell.name}: {name}_images is {count}, but {cell.dataset} has {len(whole.labels)} of them")
    part = subset(whole, count)
    absent = sorted(set(range(datasets.NUM_CLASSES)) - set(part.labels.tolist()))
    if absent:
        names = ", ".join(dataset.class_names[c] for c in absent)
        raise BenchError(
            f"{cell.name}: no image of class {names} among the {len(part.labels)} {name} images; raise {name}_images"
        )
    return part


def prepare_device(params: Params) -> torch.device:
    """The device of a profile, set up so that the same machine, device and threads give the same bits."""
    if params.device == "cuda" and not torch.cuda.is_available():
        raise BenchError(f"{params.params_file}: device is cuda, but torch finds no GPU here; set it to cpu")
    # Where CUDA has no deterministic kernel, torch warns.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A guard against reading what was never written; equal bits do not need it. Its type stub lacks it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # TF32 keeps 10 bits: too few for SSIM, which subtracts nearly equal convolutions.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(params.threads)
    return torch.device(params.device)


def identity(params: Params, cell: Cell, source: Path) -> str:
    """Hash of what makes the numbers of a seed: parameters (but for the number of seeds), versions, data and code."""
    settings = params.settings(cell)
    del settings["training"]["seeds"]
    digest = hashlib.sha256(json.dumps([settings, _versions()], sort_keys=True).encode())
    repository = Path(__file__).parents[1]
    code = [*(repository / "bench" / name for name in CODE), *sorted((repository / "batchcam").glob("*.py"))]
    for path in [source, *code]:
        digest.update(path.read_bytes())
    return f"{cell.name}-{digest.hexdigest()[:16]}"


def _seed_directory(partial: Path, seed: int) -> Path:
    return partial / f"seed-{seed}"


def _gather(seed_directories: list[Path], directory: Path) -> None:
    """One file for all seeds: metrics as a list of rows, tensors with a leading dimension for the seeds."""
    rows = [json.loads((d / "metrics.json").read_text()) for d in seed_directories]
    (directory / "metrics.json").write_text(json.dumps(rows, indent=1))
    maps = [safetensors.torch.load_file(d / "maps.safetensors") for d in seed_directories]
    gathered = {key: torch.stack([m[key] for m in maps]) for key in ("class_means", "examples")}
    gathered["example_indices"] = maps[0]["example_indices"]
    safetensors.torch.save_file(gathered, directory / "maps.safetensors")
    by_image = [safetensors.torch.load_file(d / "images.safetensors") for d in seed_directories]
    stacked = {key: torch.stack([b[key] for b in by_image]) for key in by_image[0]}
    safetensors.torch.save_file(stacked, directory / "images.safetensors")
    for d in seed_directories:
        if (d / "weights.safetensors").exists():
            shutil.copyfile(d / "weights.safetensors", directory / f"weights-{d.name}.safetensors")


def _provenance(
    params: Params, cell: Cell, seed_directories: list[Path], device: torch.device, commit: str | None
) -> dict[str, Any]:
    """What made these numbers; the wall-clock is here, and not among the metrics."""
    seconds = [json.loads((d / "seconds.json").read_text()) for d in seed_directories]
    return {
        "parameters": params.settings(cell),
        "commit": commit,
        "versions": _versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {get_cpu_capability()}",
        "platform": platform.platform(),
        "seconds": seconds,
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {p: version(p) for p in ("torch", "timm", "pytorch-msssim")}


def _commit() -> str | None:
    """The commit that runs, with "-dirty" behind it where files differ from it; None outside Git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return described.stdout.strip() or None
