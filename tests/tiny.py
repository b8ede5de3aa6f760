"""A profile of a few steps, for tests that train a cell."""

from pathlib import Path
from typing import Any

from bench.names import BACKBONES, DATASETS, LOSSES, WEIGHTLESS
from bench.params import Params

#: A section of the parameters that names no cell.
NO_CELLS: dict[str, Any] = {"dataset": [], "backbone": [], "loss": [], "resolution": [], "seeds": {}}
#: The sections beside the grid.
OTHERS = ("controls", "decoys", "doses", "networks")
#: Those that a tiny profile can have.
RESOLUTIONS = (12, 23, 28)
#: The same of a sweep.
NO_SWEEP = NO_CELLS | {"weights": [], "seeds": 1, "epochs": 1}


def seeds(count: int) -> dict[str, dict[str, int]]:
    """So many of every cell."""
    return {dataset: dict.fromkeys(BACKBONES, count) for dataset in DATASETS}


def tiny(changes: dict[str, Any]) -> Params:
    """A profile of four steps a seed; `changes` by key, by key of the training, or the `weight` of all regularisers."""
    changes = {"weight": 1, "seeds": 2} | changes
    settings: dict[str, Any] = {"train_images": 64, "test_images": 120, "epochs": 1, "batch_size": 16}
    settings |= {"learning_rate": 3e-3, "weight_decay": 0.05}
    settings |= {key: value for key, value in changes.items() if key in settings}
    content: dict[str, Any] = {"profile": "tiny", "root": ".", "params_file": "params.yaml", "device": "cpu"}
    content |= {"picked": {}, "threads": 1, "save_weights": False, "road": {name: [] for name in BACKBONES}}
    content["grid"] = {"dataset": ["digits"], "backbone": ["simple_cnn"], "loss": ["ce"], "resolution": [12]}
    content["grid"]["seeds"] = seeds(changes.pop("seeds"))
    content |= dict.fromkeys(OTHERS, NO_CELLS)
    content |= dict.fromkeys(("sweep", "control_sweep"), NO_SWEEP)
    content["training"] = {name: {f"px{px}": settings for px in RESOLUTIONS} for name in BACKBONES}
    content["timing"] = {"devices": []}
    weight = changes.pop("weight")
    by_loss = {loss: 0 if loss in WEIGHTLESS else weight for loss in LOSSES}
    content["weights"] = dict.fromkeys(DATASETS, by_loss)
    return Params.model_validate(content | {key: value for key, value in changes.items() if key not in settings})


def write_notebook(project: Path) -> None:
    """One notebook that costs nothing, in the place of those that tests/test_notebooks.py executes."""
    (project / "notebooks").mkdir()
    text = "# %%\nimport bench.results\n\nbench.results.load().cells\n"
    (project / "notebooks/maps.py").write_text(text, encoding="utf-8")
