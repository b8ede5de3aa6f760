"""Synthetic results of each kind, in which every effect is known, and how a test finds a row of the verdicts."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.report.claims.evidence import Evidence, Images, Setting
from bench.report.claims.judge import judge
from bench.report.claims.rules import RULES, Rules
from bench.report.claims.verdict import ALL, OVERALL, Verdict
from bench.report.timing_rows import COLUMNS as TIMING
from bench.statistics import Numbers

SUPPORTED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE, NOT_JUDGED, NOT_MEASURED = (verdict.value for verdict in Verdict)
FAMILY = list(RULES.family)
CONTROLS = ["permuted-ssim", "blob-ssim"]
LESS = ("l1", "l2", "decoy_mass", "decoy_flip_rate", "reliance")
METRICS = ("accuracy", "l1", "l2", "ssim", "coherence", "specificity")
DECOYED = ("decoy_accuracy", "decoy_mass", "decoy_flip_rate", "reliance")
BASE = 0.5
EFFECT = {"up": 0.1, "down": -0.1, "flat": 0.0}
#: By how much an effect is larger in one metric than in another, so that each is told by its estimate.
SCALE = {metric: 1 + k / 20 for k, metric in enumerate([*METRICS, *DECOYED])}

DECLARED = RULES._replace(
    controls=dict.fromkeys(CONTROLS, "prototype-ssim"),
    accuracy_margin={"up": 0.02, "down": 0.02, "flat": 1e-4},
    equivalence={},
    least_specificity=BASE,
)


def wiggle(loss: str, seeds: int) -> Numbers:
    """A reproducible scatter of ±.02, by loss and seed, without a mean."""
    values: Numbers = np.random.default_rng([ord(letter) for letter in loss]).uniform(-0.02, 0.02, seeds)
    return values - float(values.mean())


def cell(
    loss: str,
    metrics: Mapping[str, Sequence[float] | Numbers],
    setting: tuple[str, str, int] = ("up", "simple_cnn", 23),
) -> pd.DataFrame:
    """The rows of a finished cell, one for each seed."""
    dataset, backbone, resolution = setting
    seeds = len(next(iter(metrics.values())))
    where = {"dataset": dataset, "backbone": backbone, "loss": loss, "resolution": resolution}
    return pd.DataFrame({**where, "seed": range(seeds), "status": "ok", **metrics})


def absent(loss: str, status: str, seeds: int = 3, **where: Any) -> pd.DataFrame:
    """The rows of a cell without results."""
    return cell(loss, {"accuracy": [math.nan] * seeds}, **where).assign(status=status)


def results(
    kind: str,
    dataset: str,
    metrics: Sequence[str] = METRICS,
    backbone: str = "simple_cnn",
    resolution: int = 23,
    seeds: int = 8,
) -> pd.DataFrame:
    """All losses of a setting in which the six are better than ce and the controls, worse, or the same."""
    made = []
    for loss in ("ce", *FAMILY, *CONTROLS):
        better = EFFECT[kind] if loss in FAMILY else 0
        values = {m: BASE + (-better if m in LESS else better) * SCALE[m] + wiggle(loss + m, seeds) for m in metrics}
        made.append(cell(loss, values, (dataset, backbone, resolution)))
    return pd.concat(made)


def bounds(floor: float = BASE, ceiling: float = 0.9, dataset: str = "up") -> pd.DataFrame:
    """Two floors, a prototype that is none, and a ceiling."""
    rows = [
        ("floor", "all zero", "", 0.01),
        ("floor", "global mean image", "", floor),
        ("floor", "wrong class's prototype", "", 0.99),
        ("ceiling", "5×5 grid", "resnet18, simple_cnn", ceiling),
        ("ceiling", "3×3 grid", "convnextv2_tiny", 0.2),
    ]
    frame = pd.DataFrame(rows, columns=["kind", "name", "backbones", "ssim"])
    less = 1 - frame["ssim"]  # where less is better, the same floors and ceilings mirrored
    return frame.assign(dataset=dataset, resolution=23, l1=less, l2=less)


def timed(kind: str, contender: str, ratio: float, backbone: str = "simple_cnn", **more: Any) -> dict[str, Any]:
    """A row of timing.csv with intervals of ±.02."""
    row = {"device": "cpu", "kind": kind, "backbone": backbone, "layer": "last", "resolution": 23, "batch": 8}
    row |= {"contender": contender, "status": "ok", "rounds": 30}
    for name in ("floor_ratio", "speedup"):
        row |= {name: ratio, f"{name}_low": ratio - 0.02, f"{name}_high": ratio + 0.02}
    return row | more


def timing(rows: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """timing.csv as it is read."""
    counts = dict.fromkeys(("resolution", "batch", "rounds"), "Int64")
    return pd.DataFrame(rows, columns=TIMING).astype(counts)


def judged(
    cells: pd.DataFrame,
    timings: pd.DataFrame | None = None,
    images: Images | None = None,
    floors: pd.DataFrame | None = None,
    rules: Rules = DECLARED,
    picked: Mapping[Setting, str] | None = None,
    trainings: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The claims on these results."""
    timings, floors = timing() if timings is None else timings, bounds() if floors is None else floors
    return judge(Evidence(cells, floors, timings, images or {}, rules, picked, trainings))


def row(frame: pd.DataFrame, claim: str, loss: str = ALL, **where: Any) -> Any:
    """The one row of a claim with this loss."""
    found = frame[(frame["claim"] == claim) & (frame["loss"] == loss) & (frame["dataset"] != OVERALL)]
    for column, value in where.items():
        found = found[found[column] == value]
    assert len(found) == 1, found
    return found.iloc[0]


def overall(frame: pd.DataFrame, claim: str) -> Any:
    """A claim's last row."""
    found = frame[(frame["claim"] == claim) & (frame["dataset"] == OVERALL)]
    assert len(found) == 1
    return found.iloc[0]


#: The verdict in each kind of results.
VERDICTS = {"up": SUPPORTED, "down": CONTRADICTED, "flat": INCONCLUSIVE}

ACCURACY, COMPETITIVE = "accuracy improves", "accuracy is competitive"
FLOORS_IN = [f"reconstruction beats the floors in {name}" for name in ("L1", "L2", "SSIM")]
FLOORS = FLOORS_IN[-1]
COHERENT, SPECIFIC = "maps are more coherent", "maps stay specific to the instance"
MASS, FLIPS = (f"spurious activation is suppressed: {by}" for by in ("decoy mass", "flip rate"))
ROBUST, GAP = (
    f"robustness to spurious correlations improves: {by}" for by in ("decoy accuracy", "reliance on the decoy")
)
IN = [f"reconstruction improves in {name}" for name in ("L1", "L2", "SSIM")]
CLEAN = [ACCURACY, COMPETITIVE, *IN, *FLOORS_IN, COHERENT, SPECIFIC]
BEYOND = "prototype-ssim gains more than"
OVERHEAD, TRAINING = "overhead is minimal", "training time falls"
FORWARD, OLD_LOOP = (
    f"inference time falls: below {what}" for what in ("a plain forward pass", "the old loop over images")
)
EVERYWHERE, BOTH = "gains hold for all three backbones", "gains hold at both resolutions"
BACKBONES = ["simple_cnn", "resnet18", "convnextv2_tiny"]


@functools.cache
def clean() -> pd.DataFrame:
    """Verdicts on three clean datasets: one where all is better, one where all is worse, and one where nothing is."""
    floors = pd.concat([bounds(dataset=kind) for kind in EFFECT])
    return judged(pd.concat([results(kind, kind) for kind in EFFECT]), floors=floors)


def decoy_images(kind: str) -> dict[tuple[Setting, str], dict[str, Numbers]]:
    """Decoy mass and flips by image, with the means of `results`."""
    found = {}
    for number, loss in enumerate(["ce", *FAMILY, *CONTROLS]):
        better = EFFECT[kind] if loss in FAMILY else 0
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, (8, 40))
        flips, mass = (BASE - better * SCALE[metric] + wiggle(loss, 8)[:, None] + noise for metric in DECOYED[2:0:-1])
        found[Setting(f"decoy_{kind}", "simple_cnn", 23), loss] = {"decoy_flip": flips, "decoy_mass": mass}
    return found


@functools.cache
def decoyed() -> pd.DataFrame:
    """The same on data with decoys; one dataset has decoy mass by seed alone."""
    made = pd.concat([results(kind, f"decoy_{kind}", [*METRICS, *DECOYED]) for kind in EFFECT])
    flat = {key: {"decoy_flip": metrics["decoy_flip"]} for key, metrics in decoy_images("flat").items()}
    return judged(made, images=decoy_images("up") | decoy_images("down") | flat)


def with_differences(**by_loss: Sequence[float] | Numbers) -> pd.DataFrame:
    """Cells whose accuracy differs from ce's by these numbers, else by nothing certain."""
    seeds = len(next(iter(by_loss.values())))
    around_zero = np.linspace(-0.01, 0.01, seeds)
    made = [cell("ce", {"accuracy": [BASE] * seeds})]
    for k, loss in enumerate(FAMILY):
        values = by_loss.get(loss.replace("-", "_"), np.roll(around_zero, k))
        made.append(cell(loss, {"accuracy": BASE + np.asarray(values)}))
    return pd.concat(made)


ONE_CELL = absent("ce", "missing")


@functools.cache
def everywhere() -> pd.DataFrame:
    """Three backbones and two resolutions, in which the gains of each dataset hold elsewhere."""
    kinds = {"all": "up up up", "one down": "up down up", "one flat": "up flat up", "two": "up up"}
    gains, made = ["accuracy", "l1", "l2", "ssim"], []
    for dataset, by_backbone in kinds.items():
        for backbone, kind in zip(BACKBONES, by_backbone.split(), strict=False):
            made.append(results(kind, dataset, gains, backbone, seeds=3))
    made.append(results("up", "two", gains, "resnet18_earlier", seeds=3))  # a place of the map, no backbone
    made += [
        results("up", "all", gains, resolution=112, seeds=3),
        results("down", "one down", gains, resolution=112, seeds=3),
    ]
    return judged(pd.concat(made))
