"""Small results of each kind, as `collect` leaves them."""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.names import METRICS, SWEPT_METRICS
from bench.params import load
from bench.report.collect import SWEPT

# By hand: mean .93, s = .01, t = 4.302653, half-width .024841 = 4.302653 · .01 / √3
ACCURACIES = [0.92, 0.93, 0.94]
HALF = 0.0248414
#: A profile that tries weights.
EVIDENCE = load(Path(__file__).parents[2] / "profiles/evidence/params.yaml")
#: The metrics in the order of cells.csv.
ORDER = list(METRICS)


def rows(loss: str, statuses: list[str], dataset: str = "digits", backbone: str = "resnet18") -> list[dict[str, Any]]:
    """The rows of a cell at 23 px with these statuses, one per seed; metric k of cells.csv is accuracy − k / 100."""
    found = []
    for seed, status in enumerate(statuses):
        key = {"dataset": dataset, "backbone": backbone, "loss": loss, "resolution": 23, "seed": seed, "status": status}
        numbers = {metric: ACCURACIES[seed] - k / 100 for k, metric in enumerate(METRICS)} if status == "ok" else {}
        found.append({**key, **dict.fromkeys(METRICS), **numbers})
    return found


def bounds() -> pd.DataFrame:
    """One floor and two ceilings of digits at 23 px."""
    columns = ["dataset", "resolution", "kind", "name", "backbones", "l1", "l2", "ssim"]
    return pd.DataFrame(
        [
            ("digits", 23, "floor", "global mean image", "", 0.066, 0.014, 0.4789),
            ("digits", 23, "ceiling", "3×3 grid", "resnet18, convnextv2_tiny", 0.03, 0.002, 0.4567),
            ("digits", 23, "ceiling", "5×5 grid", "simple_cnn", 0.02, 0.001, 0.7),
        ],
        columns=columns,
    )


def swept(dataset: str = "digits") -> pd.DataFrame:
    """A sweep of SimpleCNN at 23 px by loss, weight and the accuracies of two seeds; None is a training that failed."""
    tried = [
        ("ce", 0, 0.9, 0.92),
        ("prototype-l1", 0.1, 0.93, 0.93),
        ("prototype-l1", 1, 0.89, 0.92),
        ("prototype-l1", 10, 0.89, 0.9),
        ("hint", 0.1, 0.7, 0.7),
        ("hint", 1, 0.8, 0.88),
        ("rrr", 0.1, 0.93, 0.93),
        ("rrr", 1, 0.99, None),
    ]
    found: list[dict[str, Any]] = []
    for loss, weight, *accuracies in tried:
        for seed, accuracy in enumerate(accuracies):
            numbers = {"accuracy": accuracy, "epg_ink": accuracy / 2, "specificity": accuracy / 4} if accuracy else {}
            setting = {"dataset": dataset, "backbone": "simple_cnn", "resolution": 23}
            status = "ok" if accuracy else "failed: NaN at step 3"
            found.append({**setting, "loss": loss, "weight": weight, "seed": seed, "status": status, **numbers})
    return pd.DataFrame(found, columns=[*SWEPT, *SWEPT_METRICS])


def chosen() -> pd.DataFrame:
    """What is chosen of `swept`: at least .886 is asked for."""
    rows = [("prototype-l1", 10, 0.895, True), ("hint", 0.1, 0.7, False), ("rrr", 0.1, 0.93, True)]
    setting = {"dataset": "digits", "backbone": "simple_cnn", "resolution": 23}
    return pd.DataFrame(
        [setting | dict(zip(("loss", "weight", "accuracy", "competitive"), r, strict=True)) for r in rows]
    )


def cells_of(*losses: str) -> pd.DataFrame:
    """Three finished seeds for each loss, but for "batchcam-l2", which failed."""
    statuses = {"batchcam-l2": ["failed: NaN"] * 3}
    return pd.DataFrame([row for loss in losses for row in rows(loss, statuses.get(loss, ["ok"] * 3))])


def four_losses() -> pd.DataFrame:
    """Four losses: complete, one of three seeds, failed, and never run."""
    failed = "failed: 100 % of a_b & c is NaN\nat step {3}"
    return pd.DataFrame(
        rows("prototype-ssim", ["ok"] * 3)
        + rows("ce", ["ok", "missing", "missing"])
        + rows("batchcam-l1", [failed] * 3)
        + rows("batchcam-l2", ["missing"] * 3)
    )
