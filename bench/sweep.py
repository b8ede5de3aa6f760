"""How strong should a regulariser be: several weights, tried on the validation split, the same budget for each loss.

The test split is not looked at. `ce` has no weight and is trained once for each seed, to compare with. Which weight is
then taken is another question: bench/choice.py.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bench import backbones, datasets, train
from bench.errors import BenchError
from bench.evaluate import accuracy, probe
from bench.files import written_aside
from bench.losses import WEIGHTLESS, regularizer_for
from bench.params import Cell, Params

#: What is measured on the validation split.
METRICS = ("accuracy", "epg_ink", "specificity", "coherence", "undefined_maps")


def run_sweep(params: Params, cell: Cell) -> Path:
    """Train a cell with every weight and seed of the sweep, and write runs/<profile>/sweep-<cell>.json.

    Finished trainings of an interrupted sweep wait in runs/.partial and are not repeated. One that fails, say because
    its loss is not finite, is a row with its reason.
    """
    if cell not in params.sweep.cells():
        raise BenchError(f"{params.params_file}: {cell.name} is not in its sweep")
    device = train.prepare_device(params)
    settings = params.training[cell.backbone].model_copy(update={"test_images": None})
    source = Path("data", f"{cell.dataset}.safetensors")
    data = train.load(source, cell, settings, device, "validation")
    regularizer = regularizer_for(cell.loss, data.prototypes, data.clean_prototypes)
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    kept = Path("runs", ".partial", f"sweep-{train.identity(params, cell, source)}-{code}")
    weights = [0.0] if cell.loss in WEIGHTLESS else params.sweep.weights
    steps = settings.epochs * (len(data.train_labels) // settings.batch_size)
    trainings = {(w, seed): kept / f"{w:g}-{seed}.json" for w in weights for seed in range(params.sweep.seeds)}
    waiting = [key for key, path in trainings.items() if not path.is_file()]
    interval = 0.1 if sys.stderr.isatty() else 10.0
    total = steps * len(waiting)
    with tqdm(total=total, desc=f"sweep {cell.name}", unit="step", mininterval=interval, dynamic_ncols=True) as bar:
        for weight, seed in waiting:
            row = _row(cell, data, settings, seed, regularizer, weight, bar)
            with written_aside(trainings[weight, seed]) as aside:
                aside.write_text(json.dumps(row))
    rows = [{"weight": w, "seed": seed} | json.loads(path.read_text()) for (w, seed), path in trainings.items()]
    output = params.sweep_file(cell)
    with written_aside(output) as aside:
        aside.write_text(json.dumps({"parameters": params.sweep_settings(cell), "rows": rows}, indent=1))
    shutil.rmtree(kept)
    return output


def _row(cell: Cell, data: train.Data, settings: Any, seed: int, regularizer: Any, weight: float, bar: Any) -> Any:
    """One training: what it reaches on the validation split, or why it did not end."""
    torch.manual_seed(seed)
    backbone = backbones.build(cell.backbone, cell.resolution, datasets.NUM_CLASSES)
    backbone.model.to(data.train_images.device).to(memory_format=torch.channels_last)
    where = f"sweep {cell.name}, weight {weight:g}, seed {seed}"
    try:
        train.train(backbone, data, settings, seed, regularizer, weight, where, bar)
    except (BenchError, torch.OutOfMemoryError) as error:
        return {"status": f"failed: {error}"}
    if not all(bool(parameter.isfinite().all()) for parameter in backbone.model.parameters()):
        return {"status": "failed: weights are not finite after the last step"}
    metrics, _ = probe(*backbone, data.probe, road=False)  # leaves the model in eval mode
    reached = accuracy(backbone.model, data.test_images, data.test_labels)
    return {"status": "ok"} | {name: ({"accuracy": reached} | metrics)[name] for name in METRICS}
