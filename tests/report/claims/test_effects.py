"""The frames of the forest plots: each effect in its unit, with the margin it is judged by."""

import math
from typing import Any

import pandas as pd
import pytest

from bench.report.claims.effects import contrasts, effects
from bench.report.claims.evidence import Setting
from bench.report.claims.verdict import METHOD
from bench.statistics import p_text
from tests.report.claims.synthetic import (
    BEYOND,
    COMPETITIVE,
    CONTROLS,
    DECLARED,
    FAMILY,
    IN,
    clean,
    decoyed,
    judged,
    results,
    row,
    with_differences,
)

RULES = DECLARED._replace(equivalence={"accuracy": 0.05})
WEIGHTS = {"up": {"prototype-ssim": 0.1} | dict.fromkeys(CONTROLS, 0.3)}


def test_effects_are_those_of_the_losses_in_the_unit_of_the_metric() -> None:
    found = {name: frame for name, _, frame in effects(clean(), DECLARED)}
    assert list(found) == [f"effects-{kind}-simple_cnn-23" for kind in ("up", "down", "flat")]
    up = found["effects-up-simple_cnn-23"]
    assert set(up["label"]) == set(FAMILY)
    accuracy = up[(up["panel"] == "accuracy, points") & (up["label"] == "batchcam-l1")].iloc[0]
    judged_so = row(clean(), COMPETITIVE, "batchcam-l1", dataset="up")
    assert accuracy["estimate"] == pytest.approx(100 * judged_so["estimate"])
    assert accuracy["low"] == pytest.approx(100 * judged_so["low"])
    assert accuracy["high"] == pytest.approx(100 * judged_so["high"])
    assert (accuracy["margin"], accuracy["better"], accuracy["one_sided"]) == (2, "more", True)
    ssim = up[(up["panel"] == "SSIM") & (up["label"] == "batchcam-l1")].iloc[0]
    assert ssim[["estimate", "low", "high"]].tolist() == pytest.approx(
        row(clean(), IN[2], "batchcam-l1", dataset="up")[["estimate", "low", "high"]].tolist()
    )
    assert math.isnan(ssim["margin"])
    assert not ssim["one_sided"]
    assert up["panel"].nunique() <= 4


def test_what_validation_picked_has_a_line_of_its_own() -> None:
    picked = {Setting("up", "simple_cnn", 23): "batchcam-l1"}
    ((_, _, frame),) = effects(judged(results("up", "up"), picked=picked), DECLARED)
    assert set(frame["label"]) == {*FAMILY, f"{METHOD}: batchcam-l1"}


def test_contrasts_stand_below_the_loss_that_they_are_held_against() -> None:
    made = judged(results("flat", "up", ["accuracy"]), rules=RULES)
    ((name, title, frame),) = contrasts(made, RULES, WEIGHTS)
    assert (name, title) == ("contrasts-up-simple_cnn-23", "up, SimpleCNN, 23 px: losses against their controls")
    assert frame["label"].tolist() == [f"− {control} × 0.3" for control in CONTROLS]
    assert set(frame["group"]) == {"prototype-ssim × 0.1"}
    assert frame["margin"].tolist() == [5, 5]
    assert set(frame["verdict"]) == {"equivalent"}
    pair = row(made, f"{BEYOND} blob-ssim: accuracy", "prototype-ssim − blob-ssim")
    assert frame.iloc[1]["estimate"] == pytest.approx(100 * pair["estimate"])


def test_a_setting_without_results_has_no_plot() -> None:
    made = judged(results("up", "up", ["accuracy"]).assign(status="missing"))
    assert not list(effects(made, DECLARED))
    assert not list(contrasts(made, DECLARED, WEIGHTS))


def test_what_the_correction_alone_leaves_open_has_its_p() -> None:
    made = judged(results("flat", "up", ["accuracy"]), rules=RULES)
    open_: dict[str, Any] = {"verdict": "inconclusive", "low": 0.001, "high": 0.02, "p_holm": 0.127}
    ((_, _, frame),) = contrasts(made.assign(**open_), RULES, WEIGHTS)
    assert set(frame["note"]) == {"p .127"}
    for other in ({"low": -0.001}, {"verdict": "supported"}, {"p_holm": 0.04}):
        ((_, _, frame),) = contrasts(made.assign(**open_ | other), RULES, WEIGHTS)
        assert set(frame["note"]) == {""}


def test_of_a_margin_the_p_is_of_the_side_on_which_the_interval_lies() -> None:
    worse = [-0.02 - d for d in (0.01, 0.02, 0.03, 0.005, 0.035, 0.002)]
    made = judged(with_differences(prototype_l1=worse))
    ((_, _, frame),) = effects(made, DECLARED)
    accuracy = frame[frame["panel"].str.startswith("accuracy") & frame["label"].eq("prototype-l1")].iloc[0]
    assert accuracy["verdict"] == "inconclusive"
    p = row(made, COMPETITIVE, "prototype-l1")["p"]
    assert accuracy["note"] == f"p {p_text(6 * (1 - p))}"


def test_on_decoys_the_panels_are_about_decoys() -> None:
    frames: list[pd.DataFrame] = [frame for _, _, frame in effects(decoyed(), DECLARED)]
    assert set(frames[0]["panel"]) == {
        f"{name}, points" for name in ("accuracy, true cue", "reliance", "flips", "decoy mass")
    }
