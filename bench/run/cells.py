"""One cell: every seed is trained and measured once, and waits in runs/.partial until all are there.

Seeds are paired across losses: a seed fixes the initialisation and the order of the images, whatever the loss.
"""

import contextlib
import json
import shutil
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch.backends.cpu import get_cpu_capability

from bench.cell.device import prepare_device
from bench.cell.inputs import Inputs, inputs
from bench.cell.losses import Regularizer, regularizer_for
from bench.cell.seed import Measured, run_seed
from bench.cell.training import batches_in
from bench.errors import BenchError, about_memory
from bench.files import alone, written_aside
from bench.params import Cell, Params
from bench.progress import Progress, Watch, quietly
from bench.run.provenance import PARTIAL, Identity, changed, commit, folder, identity, record
from bench.run.room import check_room


def run_cell(params: Params, cell: Cell, output: Path, watch: Watch = quietly) -> None:
    """Train and test every seed of a cell, and write the directory `output`.

    It holds metrics.json, maps.safetensors, images.safetensors (the map metrics of each probed image, and which test
    images are classified correctly), provenance.json, with cues epochs.json and, where the profile says so, the
    weights. Finished seeds of an interrupted run wait in runs/.partial, in a folder
    named by the hash of parameters, data, code and versions, and are not repeated. A cell that fails leaves its
    sentence for `collect`.

    Raises:
        BenchError: no such device, or too little memory on it; a dataset that is not prepared, has too few images, or
            none of a class; a batch larger than the training set; a loss that is not finite; a full disk; data, code
            or versions that changed meanwhile.
    """
    failure = params.failure_file(cell)
    expected = output == params.runs / cell.name  # `collect` does not look for what goes elsewhere
    if expected:
        failure.unlink(missing_ok=True)
    try:
        with alone(PARTIAL / f"{cell.name}.lock", "another process is at this cell") as waited:
            if not (waited and _made_so(output, identity(params, cell))):
                _run_seeds(params, cell, output, watch)
    except (BenchError, OSError, safetensors.SafetensorError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not about_memory(error):
            raise
        sentence = str(error) if isinstance(error, BenchError) else f"{cell.name}: {error}"
        if expected:
            with contextlib.suppress(OSError):  # there may be no space for it
                failure.parent.mkdir(parents=True, exist_ok=True)
                failure.write_text(sentence, encoding="utf-8")
        raise BenchError(sentence) from error


def _made_so(output: Path, by: Identity) -> bool:
    """Whether the cell is there, made by the same parameters, data, code and versions."""
    try:
        return not changed(json.loads((output / "provenance.json").read_text(encoding="utf-8")), by)
    except (OSError, ValueError):
        return False


def _run_seeds(params: Params, cell: Cell, output: Path, watch: Watch) -> None:
    made_from = commit()  # now: the tree may have moved on when the training is done
    made_by = identity(params, cell)
    device = prepare_device(params)
    check_room(params, cell)
    settings = params.trained(cell.backbone, cell.resolution)
    seen = inputs(Path("data", f"{cell.dataset}.safetensors"), cell, settings, device)
    regularizer = regularizer_for(cell.loss, seen.prototypes, seen.clean_prototypes)
    partial = folder(cell.name, made_by)

    seeds = params.seeds(cell)
    directories = [partial / f"seed-{seed}" for seed in range(seeds)]
    waiting = [seed for seed, directory in enumerate(directories) if not directory.is_dir()]
    steps = settings.epochs * batches_in(seen, settings, cell.name)
    progress = Progress(watch, seeds, steps, done=seeds - len(waiting))
    for seed in waiting:
        _keep(_measure(params, cell, seed, seen, regularizer, progress), params, directories[seed])

    if parts := changed(made_by, identity(params, cell)):
        raise BenchError(f"{cell.name}: {', '.join(parts)} changed while it was trained; run it again")
    with written_aside(output) as directory:
        directory.mkdir()
        _gather(directories, directory)
        seconds = [json.loads((d / "seconds.json").read_text()) for d in directories]
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {get_cpu_capability()}"
        provenance = record(made_by, name, made_from, seconds)
        (directory / "provenance.json").write_text(json.dumps(provenance, indent=1))
    shutil.rmtree(partial)


def _measure(
    params: Params, cell: Cell, seed: int, seen: Inputs, regularizer: Regularizer | None, progress: Progress
) -> Measured:
    measured = run_seed(params, cell, seed, seen, regularizer, progress.tick)
    progress.seed_done()
    return measured


def _keep(measured: Measured, params: Params, directory: Path) -> None:
    """Leave what a seed measured in its directory, whole or not at all."""
    with written_aside(directory) as aside:
        aside.mkdir()
        (aside / "metrics.json").write_text(json.dumps(measured.metrics))
        (aside / "epochs.json").write_text(json.dumps(measured.epochs))
        seconds = {"seed": measured.metrics["seed"], "train_s": measured.train_s, "test_s": measured.test_s}
        (aside / "seconds.json").write_text(json.dumps(seconds))
        safetensors.torch.save_file(measured.images, aside / "images.safetensors")
        safetensors.torch.save_file(measured.maps, aside / "maps.safetensors")
        if params.save_weights:
            weights = {k: v.cpu().contiguous() for k, v in measured.model.state_dict().items()}
            safetensors.torch.save_file(weights, aside / "weights.safetensors")


def _gather(seed_directories: list[Path], directory: Path) -> None:
    """One file for all seeds: metrics as a list of rows, tensors with a leading dimension for the seeds."""
    rows = [json.loads((d / "metrics.json").read_text()) for d in seed_directories]
    (directory / "metrics.json").write_text(json.dumps(rows, indent=1))
    epochs = [row for d in seed_directories for row in json.loads((d / "epochs.json").read_text())]
    if epochs:
        (directory / "epochs.json").write_text(json.dumps(epochs, indent=1))
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
