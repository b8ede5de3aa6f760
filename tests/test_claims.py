"""bench.claims: synthetic results of each kind, and each verdict on them."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from bench import claims as judge
from bench.claims import ALL, INCONCLUSIVE, NOT_SUPPORTED, OVERALL, SUPPORTED
from bench.intervals import bootstrap_interval, holm, non_inferiority, paired_difference
from bench.timing.rows import COLUMNS as TIMING

FAMILY = [f"{kind}-{distance}" for kind in ("prototype", "batchcam") for distance in ("l1", "l2", "ssim")]
CONTROLS = ["permuted-ssim", "blob-ssim"]
LESS = ("l1", "l2", "decoy_mass", "decoy_flip_rate")
METRICS = ("accuracy", "l1", "l2", "ssim", "coherence", "specificity")
DECOYED = ("decoy_accuracy", "decoy_mass", "decoy_flip_rate")
BASE = 0.5
EFFECT = {"up": 0.1, "down": -0.1, "flat": 0.0}
#: By how much an effect is larger in one metric than in another, so that each is told by its estimate.
SCALE = {metric: 1 + k / 20 for k, metric in enumerate([*METRICS, *DECOYED])}


class Declared(NamedTuple):
    """What bench.params will hold."""

    baseline: str = "ce"
    family: Sequence[str] = FAMILY
    controls: Sequence[str] = CONTROLS
    controlled: str = "prototype-ssim"
    accuracy_margin: Mapping[str, float] = {"up": 0.02, "down": 0.02, "flat": 1e-4}
    least_specificity: float = BASE
    overhead: float = 1.1


DECLARED = Declared()


def wiggle(loss: str, seeds: int) -> np.ndarray:
    """A reproducible scatter of ±.02, by loss and seed, without a mean."""
    values = np.random.default_rng([ord(letter) for letter in loss]).uniform(-0.02, 0.02, seeds)
    return values - values.mean()


def cell(
    loss: str, metrics: Mapping[str, Sequence[float]], setting: tuple[str, str, int] = ("up", "simple_cnn", 23)
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
    images: judge.Images | None = None,
    floors: pd.DataFrame | None = None,
    declared: Declared = DECLARED,
) -> pd.DataFrame:
    """The claims on these results."""
    timings = timing() if timings is None else timings
    return judge.claims(cells, bounds() if floors is None else floors, timings, images or {}, declared)


def row(frame: pd.DataFrame, claim: str, loss: str = ALL, **where: Any) -> pd.Series:
    """The one row of a claim with this loss."""
    found = frame[(frame["claim"] == claim) & (frame["loss"] == loss) & (frame["dataset"] != OVERALL)]
    for column, value in where.items():
        found = found[found[column] == value]
    assert len(found) == 1, found
    return found.iloc[0]


def overall(frame: pd.DataFrame, claim: str) -> pd.Series:
    """A claim's last row."""
    found = frame[(frame["claim"] == claim) & (frame["dataset"] == OVERALL)]
    assert len(found) == 1
    return found.iloc[0]


# Every claim on cells, and which of its verdicts in the three kinds of results

ACCURACY, COMPETITIVE = "accuracy improves", "accuracy is competitive"
FLOORS_IN = [f"reconstruction beats the floors in {name}" for name in ("L1", "L2", "SSIM")]
FLOORS = FLOORS_IN[-1]
COHERENT, SPECIFIC = "maps are more coherent", "maps stay specific to the instance"
MASS, FLIPS = (f"spurious activation is suppressed: {by}" for by in ("decoy mass", "flip rate"))
ROBUST, GAP = (
    f"robustness to spurious correlations improves: {by}" for by in ("decoy accuracy", "accuracy lost to decoys")
)
IN = [f"reconstruction improves in {name}" for name in ("L1", "L2", "SSIM")]
CLEAN = [ACCURACY, COMPETITIVE, *IN, *FLOORS_IN, COHERENT, SPECIFIC]
BEYOND = "prototype-ssim gains more than"


@pytest.fixture(scope="module")
def clean() -> pd.DataFrame:
    """Verdicts on three clean datasets: one where all is better, one where all is worse, and one where nothing is."""
    floors = pd.concat([bounds(dataset=kind) for kind in EFFECT])
    return judged(pd.concat([results(kind, kind) for kind in EFFECT]), floors=floors)


def decoy_images(kind: str, mass: bool = True) -> dict[tuple[str, str, str, int], dict[str, np.ndarray]]:
    """Decoy mass and flips by image, with the means of `results`."""
    found = {}
    for number, loss in enumerate(["ce", *FAMILY, *CONTROLS]):
        better = EFFECT[kind] if loss in FAMILY else 0
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, (8, 40))
        flips, own = (BASE - better * SCALE[metric] + wiggle(loss, 8)[:, None] + noise for metric in DECOYED[2:0:-1])
        found[f"decoy_{kind}", "simple_cnn", loss, 23] = {"decoy_flip": flips} | ({"decoy_mass": own} if mass else {})
    return found


@pytest.fixture(scope="module")
def decoyed() -> pd.DataFrame:
    """The same on decoyed data; one dataset has decoy mass by seed alone."""
    made = pd.concat([results(kind, f"decoy_{kind}", [*METRICS, *DECOYED]) for kind in EFFECT])
    images = decoy_images("up") | decoy_images("down") | decoy_images("flat", mass=False)
    return judged(made, images=images)


VERDICTS = {"up": SUPPORTED, "down": NOT_SUPPORTED, "flat": INCONCLUSIVE}


@pytest.mark.parametrize("kind", EFFECT)
@pytest.mark.parametrize("claim", CLEAN)
def test_each_claim_on_clean_data_has_each_verdict(clean: pd.DataFrame, claim: str, kind: str) -> None:
    found = row(clean, claim, dataset=kind)
    assert found["verdict"] == VERDICTS[kind]
    for loss in FAMILY:
        assert row(clean, claim, loss, dataset=kind)["verdict"] == VERDICTS[kind]
    assert found["n"] == 8
    assert (kind == "flat") == found["reason"].startswith("the interval holds")


@pytest.mark.parametrize("kind", EFFECT)
@pytest.mark.parametrize("claim", [MASS, FLIPS, ROBUST])
def test_each_claim_on_decoys_has_each_verdict(decoyed: pd.DataFrame, claim: str, kind: str) -> None:
    assert row(decoyed, claim, dataset=f"decoy_{kind}")["verdict"] == VERDICTS[kind]
    for loss in FAMILY:
        assert row(decoyed, claim, loss, dataset=f"decoy_{kind}")["verdict"] == VERDICTS[kind]


@pytest.mark.parametrize("kind", EFFECT)
@pytest.mark.parametrize("control", CONTROLS)
def test_each_control_has_each_verdict(clean: pd.DataFrame, decoyed: pd.DataFrame, control: str, kind: str) -> None:
    pair = f"prototype-ssim − {control}"
    for gain in ("accuracy", "coherence"):
        found = row(clean, f"{BEYOND} {control}: {gain}", pair, dataset=kind)
        assert found["verdict"] == VERDICTS[kind]
        assert found["test"] == f"difference to {control}; paired t by seed"
    for gain in ("decoy accuracy", "decoy mass", "flip rate"):
        found = row(decoyed, f"{BEYOND} {control}: {gain}", pair, dataset=f"decoy_{kind}")
        assert found["verdict"] == VERDICTS[kind], gain


def test_each_claim_is_tested_on_its_own_metric(clean: pd.DataFrame, decoyed: pd.DataFrame) -> None:
    metrics = dict(
        zip(CLEAN, ["accuracy", "accuracy", *["l1", "l2", "ssim"] * 2, "coherence", "specificity"], strict=True)
    )
    for claim, metric in metrics.items():
        sign = -1 if metric in LESS else 1
        assert row(clean, claim, dataset="up")["estimate"] == pytest.approx(sign * 0.1 * SCALE[metric]), claim
    by_seed = judged(results("up", "decoy_up", [*METRICS, *DECOYED]))
    for claim, metric in {MASS: "decoy_mass", FLIPS: "decoy_flip_rate", ROBUST: "decoy_accuracy"}.items():
        sign = -1 if metric in LESS else 1
        assert row(by_seed, claim)["estimate"] == pytest.approx(sign * 0.1 * SCALE[metric]), claim
    # The images of both have the same scatter.
    apart = [row(decoyed, claim, dataset="decoy_up")["estimate"] for claim in (FLIPS, MASS)]
    assert apart[0] - apart[1] == pytest.approx(-0.1 * (SCALE["decoy_flip_rate"] - SCALE["decoy_mass"]))


def test_claims_are_tested_where_they_belong(clean: pd.DataFrame, decoyed: pd.DataFrame) -> None:
    for claim in (ACCURACY, COMPETITIVE, f"{BEYOND} blob-ssim: accuracy"):
        assert overall(decoyed, claim)["verdict"] == INCONCLUSIVE
        assert overall(decoyed, claim)["reason"].startswith("not measured: no clean dataset")
    for claim in (MASS, FLIPS, ROBUST):
        assert overall(clean, claim)["verdict"] == INCONCLUSIVE
        assert overall(clean, claim)["reason"] == "not measured: no decoy dataset in this profile"
    for claim in (*IN, *FLOORS_IN):
        assert overall(decoyed, claim)["reason"] == "not measured: no clean dataset in this profile"
    for claim in (COHERENT, SPECIFIC):
        assert set(decoyed.loc[decoyed["claim"] == claim, "dataset"]) == {
            *(f"decoy_{kind}" for kind in EFFECT),
            OVERALL,
        }


def test_mixed_settings_are_inconclusive_and_counted(clean: pd.DataFrame) -> None:
    assert overall(clean, ACCURACY)["verdict"] == INCONCLUSIVE
    counts = "supported in 1, not supported in 1, inconclusive in 1 of 3 settings"
    assert overall(clean, ACCURACY)["reason"] == counts


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([SUPPORTED] * 2, SUPPORTED),
        ([SUPPORTED, INCONCLUSIVE], INCONCLUSIVE),
        ([NOT_SUPPORTED, INCONCLUSIVE], NOT_SUPPORTED),
        ([NOT_SUPPORTED, SUPPORTED], INCONCLUSIVE),
        ([INCONCLUSIVE], INCONCLUSIVE),
    ],
)
def test_the_overall_rule(verdicts: list[str], expected: str) -> None:
    kinds = {verdict: kind for kind, verdict in VERDICTS.items()}
    made = [
        results(kinds[verdict], "up", ["accuracy"], resolution=20 + k, seeds=4) for k, verdict in enumerate(verdicts)
    ]
    found = judged(pd.concat(made))
    assert found.loc[(found["claim"] == ACCURACY) & (found["loss"] == ALL), "verdict"].tolist() == verdicts
    assert overall(found, ACCURACY)["verdict"] == expected


# The numbers of a row


def test_a_row_is_the_paired_t_test(clean: pd.DataFrame) -> None:
    made = results("up", "up").set_index("loss")
    differences = {loss: made.loc[loss, "l1"].to_numpy() - made.loc["ce", "l1"].to_numpy() for loss in FAMILY}
    expected = {loss: paired_difference(values) for loss, values in differences.items()}
    adjusted = holm([found.p for found in expected.values()])
    for k, loss in enumerate(FAMILY):
        found = row(clean, IN[0], loss, dataset="up")
        assert found[["estimate", "low", "high", "p", "n"]].tolist() == pytest.approx(list(expected[loss]))
        assert found["p_holm"] == pytest.approx(adjusted[k])
        assert found["estimate"] == pytest.approx(-0.1 * SCALE["l1"])  # loss − ce, and less is better
    together = row(clean, IN[0], dataset="up")
    alone = paired_difference(np.mean(list(differences.values()), axis=0))
    assert together[["estimate", "low", "high", "p", "n"]].tolist() == pytest.approx(list(alone))
    assert together["p_holm"] == pytest.approx(alone.p)
    assert together["test"] == "difference to ce; paired t by seed"
    assert (together["source"], together["backbone"], together["resolution"]) == ("v1", "simple_cnn", 23)


def test_a_row_of_non_inferiority_has_one_sided_bounds(clean: pd.DataFrame) -> None:
    made = results("down", "down").set_index("loss")["accuracy"]
    expected = non_inferiority(made.loc["batchcam-l1"].to_numpy() - made.loc["ce"].to_numpy(), 0.02)
    found = row(clean, COMPETITIVE, "batchcam-l1", dataset="down")
    assert found[["estimate", "low", "high", "p", "n"]].tolist() == pytest.approx(list(expected))
    assert found["p"] > 0.99  # of inferiority; the verdict has the other side's
    assert found["test"] == "difference to ce; margin 0.02, one-sided paired t by seed"


def test_less_accuracy_within_the_margin_competes_and_does_not_improve() -> None:
    made = results("flat", "up", ["accuracy"])
    made.loc[made["loss"] != "ce", "accuracy"] -= 0.012  # the interval of the mean over six is about ± .013
    found = judged(made, declared=DECLARED._replace(accuracy_margin={"up": 0.04}))
    assert row(found, COMPETITIVE)["verdict"] == SUPPORTED
    assert row(found, COMPETITIVE)["reason"] == "sign-flip: p .008"  # of differences to −margin
    assert row(found, ACCURACY)["verdict"] == INCONCLUSIVE
    assert "p .008" not in row(found, ACCURACY)["reason"]
    assert row(judged(made), COMPETITIVE)["verdict"] == INCONCLUSIVE


def test_without_a_margin_nothing_is_competitive() -> None:
    found = judged(results("up", "up", ["accuracy"]), declared=DECLARED._replace(accuracy_margin={}))
    assert row(found, COMPETITIVE)["verdict"] == INCONCLUSIVE
    assert row(found, COMPETITIVE)["reason"].startswith("no margin is set for up")


def with_differences(**by_loss: Sequence[float]) -> pd.DataFrame:
    """Cells whose accuracy differs from ce's by these numbers, else by nothing certain."""
    seeds = len(next(iter(by_loss.values())))
    around_zero = np.linspace(-0.01, 0.01, seeds)
    made = [cell("ce", {"accuracy": [BASE] * seeds})]
    for k, loss in enumerate(FAMILY):
        values = by_loss.get(loss.replace("-", "_"), np.roll(around_zero, k))
        made.append(cell(loss, {"accuracy": BASE + np.asarray(values)}))
    return pd.concat(made)


def test_a_loss_that_is_significant_alone_is_not_in_its_family() -> None:
    found = judged(with_differences(prototype_l1=[0.01, 0.02, 0.03, 0.005, 0.035, 0.002]))
    alone = row(found, ACCURACY, "prototype-l1")
    assert alone["low"] > 0
    assert alone["p"] < 0.05 < alone["p_holm"] == pytest.approx(6 * alone["p"])
    assert alone["verdict"] == INCONCLUSIVE
    assert alone["reason"].startswith(f"p (Holm) .{alone['p_holm'] * 1000:03.0f} is above .05")


def test_holm_holds_on_both_sides_of_non_inferiority() -> None:
    worse = [-0.02 - d for d in (0.01, 0.02, 0.03, 0.005, 0.035, 0.002)]
    found = row(judged(with_differences(prototype_l1=worse)), COMPETITIVE, "prototype-l1")
    assert found["high"] < -0.02
    assert 1 - found["p"] < 0.05 < 6 * (1 - found["p"])
    assert found["verdict"] == INCONCLUSIVE


def test_the_best_loss_does_not_make_the_verdict() -> None:
    found = judged(with_differences(batchcam_ssim=np.linspace(0.009, 0.01, 10)))
    assert row(found, ACCURACY, "batchcam-ssim")["verdict"] == SUPPORTED
    assert row(found, ACCURACY)["verdict"] == INCONCLUSIVE
    assert overall(found, ACCURACY)["verdict"] == INCONCLUSIVE


def test_equal_differences_are_no_evidence() -> None:
    found = judged(with_differences(prototype_l1=[0.01] * 3))
    assert row(found, ACCURACY, "prototype-l1")["verdict"] == INCONCLUSIVE
    assert "no spread to judge by" in row(found, ACCURACY, "prototype-l1")["reason"]


def test_the_companion_says_where_it_cannot_reach_the_level(clean: pd.DataFrame) -> None:
    found = judged(with_differences(prototype_l1=[0.01, 0.02, 0.03, 0.015, 0.025, 0.02]))
    sentence = "sign-flip: n = 6: the least p, .031, cannot reach .05 in a family of 6"
    assert row(found, ACCURACY, "prototype-l1")["reason"] == sentence
    assert row(clean, ACCURACY, dataset="up")["reason"] == "sign-flip: p .008"  # 2 / 2⁸
    assert row(clean, COMPETITIVE, dataset="up")["reason"] == "sign-flip: p .008"
    assert "sign-flip" not in row(judged(with_differences(prototype_l1=[0.1])), ACCURACY)["reason"]


# Floors


def test_the_strongest_floor_is_named_and_is_no_prototype(clean: pd.DataFrame) -> None:
    found = row(clean, FLOORS, dataset="up")
    assert found["test"] == "difference to the floor, global mean image (0.500); paired t by seed"
    assert found["estimate"] == pytest.approx(0.1 * SCALE["ssim"])


@pytest.mark.parametrize("kind", EFFECT)
def test_a_grid_whose_ceiling_is_below_the_floor_is_too_coarse(kind: str) -> None:
    found = row(judged(results(kind, "up", ["ssim"]), floors=bounds(ceiling=0.45)), FLOORS)
    assert found["verdict"] == INCONCLUSIVE
    assert found["reason"].startswith("grid too coarse: the best it can reach, 0.450, is worse")
    assert found["estimate"] == pytest.approx(EFFECT[kind] * SCALE["ssim"])


def test_the_ceiling_is_that_of_the_backbones_grid() -> None:
    found = judged(results("up", "up", ["ssim"], backbone="convnextv2_tiny"))
    assert row(found, FLOORS)["reason"].startswith("grid too coarse: the best it can reach, 0.200")


@pytest.mark.parametrize(
    ("floors", "reason"),
    [
        (bounds().iloc[:3], "no ceiling is known"),
        (bounds().iloc[2:], "no floor is known"),
        (bounds(dataset="other"), "no floor is known"),
        (bounds().assign(resolution=112), "no floor is known"),
    ],
)
def test_without_bounds_there_is_no_verdict(floors: pd.DataFrame, reason: str) -> None:
    found = row(judged(results("up", "up", ["ssim"]), floors=floors), FLOORS)
    assert found["verdict"] == INCONCLUSIVE
    assert found["reason"].startswith(reason)


# What is missing


def test_missing_cells_are_told_with_their_reasons() -> None:
    made = results("up", "up", ["accuracy"], seeds=3)
    made = made[~made["loss"].isin(["batchcam-l1", "batchcam-l2", "prototype-l1"])]
    gone = [absent("batchcam-l1", "missing"), absent("batchcam-l2", "failed: 100 % is NaN")]
    found = judged(pd.concat([made, *gone]))
    together = row(found, ACCURACY)
    assert together["verdict"] == INCONCLUSIVE
    reasons = "not in this profile: prototype-l1; missing: batchcam-l1; failed: batchcam-l2"
    assert together["reason"] == f"3 cells without results ({reasons})"
    assert row(found, ACCURACY, "batchcam-l1")["reason"] == "1 cell without results (missing: batchcam-l1)"
    assert row(found, ACCURACY, "prototype-l2")["verdict"] == SUPPORTED
    # Three tests were made: Holm counts those.
    p = [
        row(found, ACCURACY, loss)[["p", "p_holm"]].tolist()
        for loss in ("prototype-l2", "prototype-ssim", "batchcam-ssim")
    ]
    assert min(p)[1] == pytest.approx(3 * min(p)[0])


def test_without_the_baseline_there_is_no_difference() -> None:
    made = results("up", "up", ["accuracy", "ssim"], seeds=3)
    found = judged(pd.concat([made[made["loss"] != "ce"], absent("ce", "stale")]))
    assert row(found, ACCURACY)["reason"] == "1 cell without results (stale: ce)"
    assert row(found, FLOORS)["verdict"] == SUPPORTED  # which ce has no part in


def test_nothing_finished_is_a_row_for_each_setting() -> None:
    losses = ["ce", *FAMILY]
    found = judged(pd.concat([absent(loss, "missing") for loss in losses]))
    assert row(found, ACCURACY)["verdict"] == INCONCLUSIVE
    assert row(found, ACCURACY)["reason"].startswith("7 cells without results (missing: ")
    assert overall(found, ACCURACY)["reason"] == "inconclusive in 1 of 1 setting"


def test_one_seed_has_no_interval() -> None:
    found = judged(results("up", "up", seeds=1))
    for claim in CLEAN:
        assert row(found, claim)["verdict"] == INCONCLUSIVE
        assert row(found, claim)["reason"] == "n = 1: no interval"
        assert row(found, claim)["n"] == 1


def test_only_seeds_that_have_both_are_paired() -> None:
    made = results("up", "up", ["accuracy"], seeds=5)
    made.loc[(made["loss"] == "ce") & (made["seed"] == 0), "status"] = "missing"
    made.loc[(made["loss"] == "batchcam-l1") & (made["seed"] == 4), "accuracy"] = math.nan
    found = judged(made)
    by_loss = made[made["seed"].between(1, 3)].set_index("loss")["accuracy"]
    expected = paired_difference(by_loss.loc["batchcam-l1"].to_numpy() - by_loss.loc["ce"].to_numpy())
    alone = row(found, ACCURACY, "batchcam-l1")
    assert (alone["n"], row(found, ACCURACY, "batchcam-l2")["n"], row(found, ACCURACY)["n"]) == (3, 4, 3)
    assert alone["low"] == pytest.approx(expected.low)
    assert "2 of 5 seeds without a pair of values" in row(found, ACCURACY)["reason"]


def test_seeds_are_paired_by_their_number() -> None:
    made = results("up", "up", ["accuracy"], seeds=5)
    shuffled = pd.concat([part.sample(frac=1, random_state=k) for k, (_, part) in enumerate(made.groupby("loss"))])
    left, right = (judged(frame).drop(columns=["claim"]) for frame in (made, shuffled))
    pd.testing.assert_frame_equal(left, right)


def test_a_metric_that_was_not_measured_has_a_reason() -> None:
    found = row(judged(results("up", "up", ["accuracy"], seeds=3)), COHERENT)
    assert found["verdict"] == INCONCLUSIVE
    assert found["reason"] == "n = 0: no interval; 3 of 3 seeds without a pair of values"


def test_what_means_of_maps_leave_out_is_counted() -> None:
    made = results("up", "up").assign(undefined_maps=0, lone_images=0)
    made.loc[made["loss"] == "batchcam-l1", "undefined_maps"] = 3
    made.loc[made["loss"] == "ce", "undefined_maps"] = 1
    made.loc[made["loss"] == "batchcam-l1", "lone_images"] = 2
    found = judged(made)
    left_out = "32 maps without a value are left out, over 16 trainings; sign-flip"
    assert row(found, COHERENT, "batchcam-l1")["reason"].startswith(left_out)
    left_out = (
        "24 maps without a value are left out, over 48 trainings; 16 images alone in their class are left out, over"
    )
    assert row(found, SPECIFIC)["reason"].startswith(left_out)
    assert "left out" not in row(found, ACCURACY)["reason"]


# Images


def test_image_level_metrics_have_the_interval_of_the_bootstrap(decoyed: pd.DataFrame) -> None:
    images = decoy_images("up")
    values = {loss: images["decoy_up", "simple_cnn", loss, 23]["decoy_mass"] for loss in ("ce", *FAMILY)}
    differences = values["batchcam-l1"] - values["ce"]
    found = row(decoyed, MASS, "batchcam-l1", dataset="decoy_up")
    assert found[["estimate", "low", "high"]].tolist() == pytest.approx(list(bootstrap_interval(differences)[:3]))
    assert found["p"] == pytest.approx(paired_difference(differences.mean(axis=1)).p)
    assert found["n"] == 8
    assert found["test"] == "difference to ce; bootstrap of seeds, then images; p: paired t by seed"
    together = np.mean([values[loss] for loss in FAMILY], axis=0) - values["ce"]
    assert row(decoyed, MASS, dataset="decoy_up")["low"] == pytest.approx(bootstrap_interval(together).low)


def test_without_images_the_interval_is_that_of_the_seeds(decoyed: pd.DataFrame) -> None:
    assert row(decoyed, MASS, dataset="decoy_flat")["test"] == "difference to ce; paired t by seed"
    assert "bootstrap" in row(decoyed, FLIPS, dataset="decoy_flat")["test"]
    images = decoy_images("up")
    del images["decoy_up", "simple_cnn", "batchcam-l1", 23]
    found = judged(results("up", "decoy_up", [*METRICS, *DECOYED]), images=images)
    assert "bootstrap" not in row(found, MASS)["test"]
    assert "bootstrap" not in row(found, MASS, "batchcam-l1")["test"]
    assert "bootstrap" in row(found, MASS, "batchcam-l2")["test"]


def specificity(seeds: int = 8) -> dict[tuple[str, str, str, int], dict[str, np.ndarray]]:
    """Of all losses, with the values of two images missing under one of them."""
    found = {}
    for number, loss in enumerate(["ce", *FAMILY]):
        found["up", "simple_cnn", loss, 23] = {
            "specificity": np.random.default_rng(number).normal(0.1, 0.02, (seeds, 30))
        }
    found["up", "simple_cnn", "batchcam-l1", 23]["specificity"][:, :2] = math.nan
    return found


def test_undefined_values_of_images_are_counted() -> None:
    found = judged(results("up", "up"), images=specificity())
    reason = "16 of 240 pairs of images without a value"
    assert reason in row(found, SPECIFIC, "batchcam-l1")["reason"]
    assert reason in row(found, SPECIFIC)["reason"]
    assert "without" not in row(found, SPECIFIC, "batchcam-l2")["reason"]


def test_specificity_is_held_against_a_level_and_not_against_the_baseline() -> None:
    images = specificity()
    found = row(judged(results("up", "up"), images=images), SPECIFIC, "batchcam-l2")
    values = images["up", "simple_cnn", "batchcam-l2", 23]["specificity"] - BASE
    assert found[["estimate", "low", "high"]].tolist() == pytest.approx(list(bootstrap_interval(values)[:3]))
    assert found["test"] == "difference to 0.5; bootstrap of seeds, then images; p: paired t by seed"


def test_images_of_undefined_seeds_or_fewer_seeds() -> None:
    images = specificity()
    fewer = images["up", "simple_cnn", "prototype-l1", 23]
    fewer["specificity"] = fewer["specificity"][:5]
    images["up", "simple_cnn", "batchcam-l2", 23]["specificity"][0] = math.nan
    images["up", "simple_cnn", "batchcam-l1", 23]["specificity"][:] = math.nan
    found = judged(results("up", "up"), images=images)
    assert row(found, SPECIFIC, "prototype-l1")["n"] == 5
    assert row(found, SPECIFIC, "batchcam-l2")["n"] == 7
    assert row(found, SPECIFIC)["n"] == 0
    assert row(found, SPECIFIC)["reason"] == "n = 0: no interval; 150 of 150 pairs of images without a value"


def test_few_seeds_need_the_t_test_beside_the_bootstrap() -> None:
    # Two seeds with differences of .1 and .3: every resample is above 0, and t by seed is far from sure of it.
    metrics = {"decoy_mass": [BASE, BASE]}
    images, made = {}, []
    for loss in ("ce", *FAMILY):
        shift = np.array([[0.1], [0.3]]) if loss in FAMILY else 0
        images["decoy_up", "simple_cnn", loss, 23] = {"decoy_mass": np.full((2, 20), 0.2) + shift}
        made.append(cell(loss, metrics, ("decoy_up", "simple_cnn", 23)))
    found = row(judged(pd.concat(made), images=images), MASS)
    assert found["low"] > 0
    assert found["verdict"] == INCONCLUSIVE
    assert found["reason"].startswith("p (Holm) .295 is above .05")


def test_a_family_with_a_loss_on_the_other_side_is_mixed() -> None:
    apart = {"batchcam_ssim": np.linspace(-0.11, -0.09, 6)}
    better = {loss.replace("-", "_"): np.linspace(0.19, 0.21, 6) for loss in FAMILY[:5]}
    found = judged(with_differences(**better, **apart))
    assert row(found, ACCURACY, "prototype-l1")["verdict"] == SUPPORTED
    assert row(found, ACCURACY, "batchcam-ssim")["verdict"] == NOT_SUPPORTED
    together = row(found, ACCURACY)
    assert together["low"] > 0
    assert together["verdict"] == INCONCLUSIVE
    assert together["reason"].startswith("mixed: the mean is supported, but by itself batchcam-ssim not supported; ")
    assert overall(found, ACCURACY)["verdict"] == INCONCLUSIVE


@pytest.mark.parametrize(("kind", "verdict"), VERDICTS.items())
def test_what_is_lost_to_decoys_is_judged_apart_from_accuracy(kind: str, verdict: str) -> None:
    """All is 10 points better than ce without decoys; what the decoys take away becomes less, or more, or stays."""
    made = []
    for loss in ("ce", *FAMILY):
        clean = 0.8 + (0.1 if loss in FAMILY else 0) + wiggle(loss, 8)
        gap = 0.3 - (EFFECT[kind] if loss in FAMILY else 0) + wiggle(loss + "gap", 8)
        metrics = {"clean_accuracy": clean, "decoy_accuracy": clean - gap, "accuracy": clean - gap}
        made.append(cell(loss, metrics, ("decoy_up", "simple_cnn", 23)))
    found = row(judged(pd.concat(made)), GAP)
    assert found["verdict"] == verdict
    assert found["estimate"] == pytest.approx(-EFFECT[kind])


def test_only_the_papers_resolutions_are_both_resolutions() -> None:
    found = judged(pd.concat([results("up", "up", resolution=resolution, seeds=4) for resolution in (20, 23)]))
    here = found[(found["claim"] == "gains hold at both resolutions") & (found["dataset"] == "up")]
    assert here["reason"].tolist() == ["measured in 1 of 2 resolutions"] * 4


def test_maps_that_are_read_elsewhere_are_not_judged() -> None:
    made = pd.concat([results("up", "up"), results("down", "up", backbone="resnet18_earlier")])
    assert set(judged(made)["backbone"]) == {"simple_cnn", ""}


# Controls


def test_controls_are_a_family_of_their_own() -> None:
    made = results("up", "up", ["accuracy"], seeds=4)
    found = judged(made)
    pairs = [row(found, f"{BEYOND} {control}: accuracy", f"prototype-ssim − {control}") for control in CONTROLS]
    assert [pair["p_holm"] for pair in pairs] == pytest.approx(holm([pair["p"] for pair in pairs]))
    assert pairs[0]["p_holm"] != pairs[0]["p"] or pairs[1]["p_holm"] != pairs[1]["p"]


def test_controls_that_a_setting_lacks_are_not_asked_for_there() -> None:
    made = results("up", "up", ["accuracy"], seeds=3)
    made = pd.concat([made[made["loss"] != "blob-ssim"], results("up", "down", ["accuracy"], seeds=3)])
    found = judged(made)
    assert set(found.loc[found["claim"] == f"{BEYOND} blob-ssim: accuracy", "dataset"]) == {"down", OVERALL}
    gone = judged(made[made["loss"] != "blob-ssim"])
    reason = "not measured: no clean dataset with blob-ssim in this profile"
    assert overall(gone, f"{BEYOND} blob-ssim: accuracy")["reason"] == reason
    assert overall(gone, f"{BEYOND} permuted-ssim: accuracy")["verdict"] == SUPPORTED


def test_a_control_that_failed_is_told() -> None:
    made = results("up", "up", ["accuracy"], seeds=3)
    made = pd.concat([made[made["loss"] != "blob-ssim"], absent("blob-ssim", "failed: x")])
    found = row(judged(made), f"{BEYOND} blob-ssim: accuracy", "prototype-ssim − blob-ssim")
    assert (found["verdict"], found["reason"]) == (INCONCLUSIVE, "1 cell without results (failed: blob-ssim)")


# Times

OVERHEAD, TRAINING = "overhead is minimal", "training time falls"
FORWARD, OLD_LOOP = (
    f"inference time falls: below {what}" for what in ("a plain forward pass", "the old loop over images")
)


def steps(ratio: float, **more: Any) -> list[dict[str, Any]]:
    """The timings of a step with each loss."""
    return [timed("step", "ce", 1, **more)] + [timed("step", loss, ratio, **more) for loss in FAMILY]


ONE_CELL = absent("ce", "missing")


@pytest.mark.parametrize(
    ("ratio", "overhead", "falls"),
    [
        (0.9, SUPPORTED, SUPPORTED),
        (1.0, SUPPORTED, INCONCLUSIVE),
        (1.05, SUPPORTED, NOT_SUPPORTED),
        (1.1, INCONCLUSIVE, NOT_SUPPORTED),
        (1.5, NOT_SUPPORTED, NOT_SUPPORTED),
    ],
)
def test_a_guided_steps_cost(ratio: float, overhead: str, falls: str) -> None:
    found = judged(ONE_CELL, timing(steps(ratio)))
    for claim, verdict in ((OVERHEAD, overhead), (TRAINING, falls)):
        for loss in (*FAMILY, ALL):
            assert row(found, claim, loss)["verdict"] == verdict
        assert overall(found, claim)["verdict"] == verdict
    together = row(found, OVERHEAD)
    assert together[["estimate", "low", "high", "n"]].tolist() == pytest.approx([ratio, ratio - 0.02, ratio + 0.02, 30])
    assert together["test"] == "step ÷ ce step, CPU, read at last, batch 8; median over rounds"
    assert (together["backbone"], together["resolution"]) == ("simple_cnn", 23)


def test_the_overhead_itself_is_still_minimal() -> None:
    exact = {"floor_ratio_high": 1.1}
    assert row(judged(ONE_CELL, timing(steps(1.05, **exact))), OVERHEAD, FAMILY[0])["verdict"] == SUPPORTED
    exact = {"floor_ratio_high": 1.0}
    assert row(judged(ONE_CELL, timing(steps(0.95, **exact))), TRAINING)["verdict"] == INCONCLUSIVE


def test_the_mean_over_the_losses_runs_between_the_means_of_their_ends() -> None:
    ratios = [1.0, 1.1, 1.2, 1.3, 1.4, 2.0]
    found = judged(ONE_CELL, timing([timed("step", loss, r) for loss, r in zip(FAMILY, ratios, strict=True)]))
    assert row(found, OVERHEAD)[["estimate", "low", "high"]].tolist() == pytest.approx(
        [8 / 6, 8 / 6 - 0.02, 8 / 6 + 0.02]
    )
    assert [row(found, OVERHEAD, loss)["estimate"] for loss in FAMILY] == ratios


@pytest.mark.parametrize(
    ("ratio", "speedup", "forward", "loop"),
    [
        (1.2, 2.0, NOT_SUPPORTED, SUPPORTED),
        (0.9, 0.8, SUPPORTED, NOT_SUPPORTED),
        (1.01, 1.01, INCONCLUSIVE, INCONCLUSIVE),
    ],
)
def test_inference_has_two_readings(ratio: float, speedup: float, forward: str, loop: str) -> None:
    ends = {"speedup": speedup, "speedup_low": speedup - 0.02, "speedup_high": speedup + 0.02}
    maps = [timed("maps", "forward", 1), timed("maps", "loop, backward()", 9), timed("maps", "explain", ratio, **ends)]
    found = judged(ONE_CELL, timing(maps))
    assert row(found, FORWARD, "explain")["verdict"] == forward
    old = row(found, OLD_LOOP, "explain")
    assert old["verdict"] == loop
    expected = [1 / speedup, 1 / (speedup + 0.02), 1 / (speedup - 0.02)]
    assert old[["estimate", "low", "high"]].tolist() == pytest.approx(expected)
    assert (overall(found, FORWARD)["verdict"], overall(found, OLD_LOOP)["verdict"]) == (forward, loop)
    assert overall(found, OVERHEAD)["reason"] == "not measured: no timings in this profile"


def test_a_group_in_which_the_loop_is_not_compared_has_no_row() -> None:
    found = judged(ONE_CELL, timing([timed("maps", "forward", 1), timed("maps", "explain", 1.2)]))
    assert overall(found, OLD_LOOP)["reason"] == "not measured: no timings in this profile"
    assert row(found, FORWARD, "explain")["verdict"] == NOT_SUPPORTED


def test_timings_that_are_missing_are_told() -> None:
    device = {"device": "cuda", "status": "missing"}
    broken = [timed("step", loss, 1.0) for loss in FAMILY[:4]]
    broken += [{**timed("step", FAMILY[4], math.nan), "status": "failed: out of memory", "rounds": None}]
    found = judged(ONE_CELL, timing([*broken, device]))
    assert row(found, OVERHEAD, FAMILY[4])["reason"] == "not measured: failed: out of memory"
    assert row(found, OVERHEAD, FAMILY[5])["reason"] == "not measured"
    reason = "2 of 6 losses not measured (batchcam-l2, batchcam-ssim)"
    assert row(found, OVERHEAD, backbone="simple_cnn")["reason"] == reason
    for claim in (OVERHEAD, TRAINING, FORWARD, OLD_LOOP):
        assert row(found, claim, backbone="")["reason"] == "CUDA: missing"
        assert overall(found, claim)["verdict"] == INCONCLUSIVE


def test_timings_without_their_other_side_or_with_few_rounds() -> None:
    no_floor = {"floor_ratio": math.nan, "floor_ratio_low": math.nan, "floor_ratio_high": math.nan}
    few = {"floor_ratio_low": math.nan, "floor_ratio_high": math.nan, "rounds": 3}
    found = judged(ONE_CELL, timing([*steps(1.0, **no_floor), *steps(1.0, batch=4, **few)]))
    reasons = found.loc[(found["claim"] == OVERHEAD) & (found["loss"] == FAMILY[0]), "reason"]
    assert reasons.tolist() == ["not measured: what it is divided by", "n = 3: no interval"]
    both = found.loc[(found["claim"] == OVERHEAD) & (found["loss"] == ALL)]
    assert both["verdict"].tolist() == [INCONCLUSIVE] * 2
    assert both["reason"].tolist()[1] == "n = 3: no interval"


def test_no_timings_at_all() -> None:
    for timings in (timing(), pd.DataFrame()):
        found = judged(ONE_CELL, timings)
        for claim in (OVERHEAD, TRAINING, FORWARD, OLD_LOOP):
            assert overall(found, claim)["verdict"] == INCONCLUSIVE
            assert overall(found, claim)["reason"] == "not measured: no timings in this profile"


# Everywhere

BACKBONES = ["simple_cnn", "resnet18", "convnextv2_tiny"]
EVERYWHERE, BOTH = "gains hold for all three backbones", "gains hold at both resolutions"


@pytest.fixture(scope="module")
def places() -> pd.DataFrame:
    """Three backbones and two resolutions, in which the gains of each dataset hold in other places."""
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


@pytest.mark.parametrize(
    ("dataset", "verdict", "n"),
    [("all", SUPPORTED, 3), ("one down", NOT_SUPPORTED, 3), ("one flat", INCONCLUSIVE, 3), ("two", INCONCLUSIVE, 2)],
)
def test_gains_hold_for_all_backbones(places: pd.DataFrame, dataset: str, verdict: str, n: int) -> None:
    here = places[(places["claim"] == EVERYWHERE) & (places["dataset"] == dataset) & (places["resolution"] == 23)]
    assert here["verdict"].tolist() == [verdict] * 4
    assert here["n"].tolist() == [n] * 4
    assert here["test"].tolist() == [f"verdicts by backbone: {gain}" for gain in (ACCURACY, *IN)]
    if n == 2:
        assert here["reason"].iloc[0] == "measured in 2 of 3 backbones"
    if dataset == "one down":
        words = "SimpleCNN: supported, ResNet-18: not supported, ConvNeXt-V2-Tiny: supported"
        assert here["reason"].iloc[0] == words


@pytest.mark.parametrize(("dataset", "verdict"), [("all", SUPPORTED), ("one down", NOT_SUPPORTED)])
def test_gains_hold_at_both_resolutions(places: pd.DataFrame, dataset: str, verdict: str) -> None:
    here = places[(places["claim"] == BOTH) & (places["dataset"] == dataset)]
    own = here[here["backbone"] == "simple_cnn"]
    assert own["verdict"].tolist() == [verdict] * 4
    assert own["reason"].iloc[0] == f"23 px: supported, 112 px: {verdict}"
    other = here[here["backbone"] == "resnet18"]
    # One place is too few to hold everywhere, and enough for a counterexample.
    alone = {
        "all": (INCONCLUSIVE, "measured in 1 of 2 resolutions"),
        "one down": (NOT_SUPPORTED, "23 px: not supported"),
    }
    assert other["verdict"].tolist() == [alone[dataset][0]] * 4
    assert other["reason"].iloc[0] == alone[dataset][1]
    assert "resnet18_earlier" not in set(places.loc[places["claim"] == BOTH, "backbone"])


def test_one_counterexample_refutes_what_holds_everywhere(places: pd.DataFrame) -> None:
    for claim in (EVERYWHERE, BOTH):
        assert overall(places, claim)["verdict"] == NOT_SUPPORTED
    assert overall(places, BOTH)["reason"].startswith("supported in 4, not supported in 8, inconclusive in ")


def test_a_gain_in_accuracy_alone_is_not_one_in_reconstruction() -> None:
    made = [results("up", "all", ["accuracy", "l1", "l2", "ssim"], b, seeds=3).assign(l2=BASE) for b in BACKBONES]
    found = judged(pd.concat(made))
    here = found[(found["claim"] == EVERYWHERE) & (found["dataset"] == "all")]
    assert here["verdict"].tolist() == [SUPPORTED, SUPPORTED, INCONCLUSIVE, SUPPORTED]
    assert overall(found, EVERYWHERE)["verdict"] == INCONCLUSIVE


def test_a_backbone_without_all_losses_was_not_measured() -> None:
    made = [results("up", "all", ["accuracy"], backbone, seeds=3) for backbone in BACKBONES]
    made[1].loc[made[1]["loss"] == "batchcam-l1", "status"] = "missing"
    found = judged(pd.concat(made))
    here = found[(found["claim"] == EVERYWHERE) & (found["dataset"] == "all")].iloc[0]
    assert (here["n"], here["verdict"], here["reason"]) == (2, INCONCLUSIVE, "measured in 2 of 3 backbones")


# The frame and the document


def test_every_claim_has_a_verdict_also_where_nothing_was_measured(clean: pd.DataFrame, decoyed: pd.DataFrame) -> None:
    nothing = judged(ONE_CELL)
    for found in (nothing, clean, decoyed):
        assert found.columns.tolist() == judge.COLUMNS
        assert set(found["verdict"]) <= {SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE}
        assert found["claim"].drop_duplicates().tolist() == [c.sentence for c in judge.catalogue(DECLARED)]
        without = found[(found["verdict"] == INCONCLUSIVE) & (found["reason"] == "")]
        assert without.empty
        assert (found["dataset"] == OVERALL).sum() == len(judge.catalogue(DECLARED))
    assert set(nothing["verdict"]) == {INCONCLUSIVE}


def test_claims_name_their_source() -> None:
    sources = {claim.sentence: claim.source for claim in judge.catalogue(DECLARED)}
    assert {sources[c] for c in (ACCURACY, *IN, TRAINING, FORWARD, OLD_LOOP, EVERYWHERE, BOTH)} == {"v1"}
    assert {sources[c] for c in (COMPETITIVE, COHERENT, MASS, FLIPS, ROBUST, OVERHEAD)} == {"v2"}
    assert sources[FLOORS] == "figures 2–5"
    assert {sources[c] for c in sources if c.startswith(BEYOND)} == {sources[SPECIFIC]} == {"ours"}


def section(text: str, claim: str) -> list[list[str]]:
    """The cells of a claim's table in the document."""
    part = text.split(f"## {claim[0].upper()}{claim[1:]} ")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[one.strip() for one in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[:1] + lines[2:]]


def test_the_document_has_an_overview_and_a_table_for_each_claim(clean: pd.DataFrame) -> None:
    text = judge.markdown(clean, DECLARED)
    overview = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
    assert len(overview) == 2 + len(judge.catalogue(DECLARED))
    assert re.search(r"\| accuracy improves +\| v1 +\| inconclusive +\| supported in 1, not", text)
    heads, up, down, flat = section(text, ACCURACY)
    last = ["by loss", "verdict", "reason"]
    assert heads == ["dataset", "backbone", "px", "tested", "estimate", "interval", "n", "p", *last]
    found = row(clean, ACCURACY, dataset="up")
    assert up[:5] == ["up", "SimpleCNN", "23", found["test"], "0.1"]
    assert up[5] == f"[{found['low']:.4f}, {found['high']:.4f}]".replace("-", "−")
    assert up[6:] == ["8", "< .001", "6 supported", SUPPORTED, "sign-flip: p .008"]
    assert down[4] == "−0.1"
    assert down[8:10] == ["6 not supported", NOT_SUPPORTED]
    assert flat[8:10] == ["6 inconclusive", INCONCLUSIVE]
    assert "losses − ce; above 0 speaks for the claim" in text
    assert "`l1`, losses − ce; below 0 speaks for the claim" in text


def test_the_document_tells_of_claims_without_settings(clean: pd.DataFrame, places: pd.DataFrame) -> None:
    text = judge.markdown(clean, DECLARED)
    assert "Overall inconclusive: not measured: no decoy dataset in this profile." in text
    assert section(judge.markdown(places, DECLARED), BOTH)[1][:3] == ["all", "SimpleCNN", "–"]
    assert section(judge.markdown(places, DECLARED), EVERYWHERE)[1][1] == "–"


def test_by_loss_counts_are_those_of_the_setting() -> None:
    first = with_differences(batchcam_ssim=np.linspace(0.009, 0.01, 10))
    found = judged(pd.concat([first, results("up", "down", ["accuracy"], seeds=3)]))
    lines = section(judge.markdown(found, DECLARED), ACCURACY)[1:]
    assert [line[8] for line in lines] == ["5 inconclusive, 1 supported", "6 supported"]


def test_a_bar_in_a_reason_does_not_break_the_table() -> None:
    found = judged(pd.concat([absent(loss, "fai|led") for loss in ("ce", *FAMILY)]))
    assert len({len(line) for line in section(judge.markdown(found, DECLARED), ACCURACY)}) == 1


def test_two_writings_are_the_same_bytes(clean: pd.DataFrame, tmp_path: Path) -> None:
    judge.write(clean, DECLARED, tmp_path)
    first = [(tmp_path / name).read_bytes() for name in ("claims.csv", "claims.md")]
    judge.write(clean.copy(), DECLARED, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("claims.csv", "claims.md")] == first
    again = pd.read_csv(tmp_path / "claims.csv")
    assert again["estimate"].to_numpy() == pytest.approx(clean["estimate"].to_numpy(), nan_ok=True, abs=0)
