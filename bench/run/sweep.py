"""How strong should a regulariser be: several weights, tried on the validation split, the same budget for each loss.

The test split is not looked at. `ce` has no weight and is trained once for each seed, to compare with. Which weight is
then taken is another question: bench/report/choice.py.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from bench.cell.backbones import Backbone
from bench.cell.device import prepare_device
from bench.cell.evaluation import BATCH, Probe, correct, evaluate, explain_all, probe
from bench.cell.inputs import Inputs, inputs
from bench.cell.losses import Regularizer, regularizer_for
from bench.cell.objective import observed
from bench.cell.seed import new_backbone
from bench.cell.training import Tick, batches_in, decayed, train
from bench.errors import BenchError
from bench.files import written_aside
from bench.names import SWEPT_METRICS, WEIGHTLESS
from bench.params import Cell, Params, Training
from bench.progress import Progress, Watch, quietly
from bench.run.provenance import folder, sweep_identity


def run_sweep(params: Params, cell: Cell, watch: Watch = quietly) -> Path:
    """Train a cell with every weight and seed of the sweep, and write runs/<profile>/sweep-<cell>.json.

    Finished trainings of an interrupted sweep wait in runs/.partial and are not repeated. One that fails, say because
    its loss is not finite, is a row with its reason.
    """
    sweep = params.sweep_of(cell)
    if sweep is None:
        raise BenchError(f"{params.params_file}: {cell.name} is not in its sweeps")
    made_by = sweep_identity(params, cell)
    device = prepare_device(params)
    settings = params.trained(cell.backbone, cell.resolution)
    settings = settings.model_copy(update={"test_images": None, "epochs": sweep.epochs})
    seen = inputs(Path("data", f"{cell.dataset}.safetensors"), cell, settings, device, "validation")
    regularizer = regularizer_for(cell.loss, seen.prototypes, seen.clean_prototypes)
    kept = folder(f"sweep-{cell.name}", made_by)
    weights = [0.0] if cell.loss in WEIGHTLESS else sweep.weights
    steps = settings.epochs * batches_in(seen, settings, cell.name)
    trainings = {(w, seed): kept / f"{w:g}-{seed}.json" for w in weights for seed in range(sweep.seeds)}
    waiting = [key for key, path in trainings.items() if not path.is_file()]
    progress = Progress(watch, len(trainings), steps, done=len(trainings) - len(waiting))
    for weight, seed in waiting:
        row = _row(cell, seen, settings, seed, regularizer, weight, progress.tick)
        with written_aside(trainings[weight, seed]) as aside:
            aside.write_text(json.dumps(row))
        progress.seed_done()
    rows = [{"weight": w, "seed": seed} | json.loads(path.read_text()) for (w, seed), path in trainings.items()]
    output = params.sweep_file(cell)
    with written_aside(output) as aside:
        aside.write_text(json.dumps({**made_by, "rows": rows}, indent=1))
    shutil.rmtree(kept)
    return output


def _row(
    cell: Cell, seen: Inputs, settings: Training, seed: int, regularizer: Regularizer | None, weight: float, tick: Tick
) -> dict[str, Any]:
    """One training: what it reaches on the validation split, or why it did not end."""
    backbone = new_backbone(cell, seed, seen)
    where = f"sweep {cell.name}, weight {weight:g}, seed {seed}"
    try:
        train(backbone, seen, decayed(cell.loss, settings, weight), seed, regularizer, weight, where, tick)
    except (BenchError, torch.OutOfMemoryError) as error:
        return {"status": f"failed: {error}"}
    if not all(bool(parameter.isfinite().all()) for parameter in backbone.model.parameters()):
        return {"status": "failed: weights are not finite after the last step"}
    probed = explain_all(*backbone, seen.probe.images, seen.probe.labels)
    metrics, _ = probe(backbone.model, seen.probe, probed, with_road=False)  # leaves the model in eval mode
    metrics |= evaluate(probed, seen.probe.labels, seen.prototypes)[0]
    metrics["accuracy"] = correct(backbone.model, seen.test_images, seen.test_labels).double().mean().item()
    metrics["objective"] = _objective(backbone, seen.probe, regularizer)
    return {"status": "ok"} | {name: metrics[name] for name in SWEPT_METRICS}


def _objective(backbone: Backbone, probe: Probe, regularizer: Regularizer | None) -> float | None:
    """What the regulariser, without its weight, is on the probed images: its mean over batches."""
    if regularizer is None:
        return None
    batches = zip(*(values.split(BATCH) for values in (probe.images, probe.labels, probe.ink)), strict=True)
    found = [regularizer(observed(backbone, x, y, regularizer, ink)).item() * len(x) for x, y, ink in batches]
    return sum(found) / len(probe.labels)
