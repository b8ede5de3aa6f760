"""The claims on what the cells measured: each verdict, in each kind of results."""

import numpy as np
import pandas as pd
import pytest

from bench.report.claims.evidence import Setting
from bench.report.claims.verdict import ALL, METHOD, OVERALL
from bench.report.frames import having
from bench.statistics import holm
from tests.report.claims.synthetic import (
    ACCURACY,
    BEYOND,
    CLEAN,
    COHERENT,
    COMPETITIVE,
    CONTRADICTED,
    CONTROLS,
    DECLARED,
    DECOYED,
    EFFECT,
    EQUIVALENT,
    FAMILY,
    FLIPS,
    FLOORS,
    FLOORS_IN,
    GAP,
    IN,
    INCONCLUSIVE,
    LESS,
    MASS,
    METRICS,
    NOT_MEASURED,
    ROBUST,
    SCALE,
    SPECIFIC,
    SUPPORTED,
    VERDICTS,
    absent,
    bounds,
    cell,
    clean,
    decoyed,
    judged,
    overall,
    results,
    row,
    wiggle,
    with_differences,
)


@pytest.mark.parametrize("kind", EFFECT)
@pytest.mark.parametrize("claim", CLEAN)
def test_each_claim_on_clean_data_has_each_verdict(claim: str, kind: str) -> None:
    found = row(clean(), claim, dataset=kind)
    assert found["verdict"] == VERDICTS[kind]
    for loss in FAMILY:
        assert row(clean(), claim, loss, dataset=kind)["verdict"] == VERDICTS[kind]
    assert found["n"] == 8
    assert (kind == "flat") == found["reason"].startswith("the interval holds")


@pytest.mark.parametrize("kind", EFFECT)
@pytest.mark.parametrize("claim", [MASS, FLIPS, ROBUST])
def test_each_claim_on_decoys_has_each_verdict(claim: str, kind: str) -> None:
    assert row(decoyed(), claim, dataset=f"decoy_{kind}")["verdict"] == VERDICTS[kind]
    for loss in FAMILY:
        assert row(decoyed(), claim, loss, dataset=f"decoy_{kind}")["verdict"] == VERDICTS[kind]


@pytest.mark.parametrize("kind", EFFECT)
@pytest.mark.parametrize("control", CONTROLS)
def test_each_control_has_each_verdict(control: str, kind: str) -> None:
    pair = f"prototype-ssim − {control}"
    for gain in ("accuracy", "coherence"):
        found = row(clean(), f"{BEYOND} {control}: {gain}", pair, dataset=kind)
        assert found["verdict"] == VERDICTS[kind]
        assert found["test"] == f"difference to {control}; paired t by seed"
    for gain in ("decoy accuracy", "decoy mass", "flip rate"):
        found = row(decoyed(), f"{BEYOND} {control}: {gain}", pair, dataset=f"decoy_{kind}")
        assert found["verdict"] == VERDICTS[kind], gain


def test_each_claim_is_tested_on_its_own_metric() -> None:
    metrics = dict(
        zip(CLEAN, ["accuracy", "accuracy", *["l1", "l2", "ssim"] * 2, "coherence", "specificity"], strict=True)
    )
    for claim, metric in metrics.items():
        sign = -1 if metric in LESS else 1
        assert row(clean(), claim, dataset="up")["estimate"] == pytest.approx(sign * 0.1 * SCALE[metric]), claim
    by_seed = judged(results("up", "decoy_up", [*METRICS, *DECOYED]))
    for claim, metric in {MASS: "decoy_mass", FLIPS: "decoy_flip_rate", ROBUST: "decoy_accuracy"}.items():
        sign = -1 if metric in LESS else 1
        assert row(by_seed, claim)["estimate"] == pytest.approx(sign * 0.1 * SCALE[metric]), claim
    # The images of both have the same scatter.
    apart = [row(decoyed(), claim, dataset="decoy_up")["estimate"] for claim in (FLIPS, MASS)]
    assert apart[0] - apart[1] == pytest.approx(-0.1 * (SCALE["decoy_flip_rate"] - SCALE["decoy_mass"]))


def test_claims_are_tested_where_they_belong() -> None:
    for claim in (ACCURACY, COMPETITIVE, f"{BEYOND} blob-ssim: accuracy"):
        assert overall(decoyed(), claim)["verdict"] == NOT_MEASURED
        assert overall(decoyed(), claim)["reason"].startswith("no clean dataset")
    for claim in (MASS, FLIPS, ROBUST):
        assert overall(clean(), claim)["verdict"] == NOT_MEASURED
        assert overall(clean(), claim)["reason"] == "no decoy dataset in this profile"
    for claim in (*IN, *FLOORS_IN):
        assert overall(decoyed(), claim)["reason"] == "no clean dataset in this profile"
    for claim in (COHERENT, SPECIFIC):
        assert set(having(decoyed(), claim=claim)["dataset"]) == {
            *(f"decoy_{kind}" for kind in EFFECT),
            OVERALL,
        }


def test_mixed_settings_are_inconclusive_and_counted() -> None:
    assert overall(clean(), ACCURACY)["verdict"] == INCONCLUSIVE
    counts = "supported in 1, contradicted in 1, inconclusive in 1 of 3 settings"
    assert overall(clean(), ACCURACY)["reason"] == counts


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([SUPPORTED] * 2, SUPPORTED),
        ([SUPPORTED, INCONCLUSIVE], INCONCLUSIVE),
        ([CONTRADICTED] * 2, CONTRADICTED),
        ([CONTRADICTED, INCONCLUSIVE], INCONCLUSIVE),
        ([CONTRADICTED, SUPPORTED], INCONCLUSIVE),
        ([INCONCLUSIVE], INCONCLUSIVE),
    ],
)
def test_the_settings_make_the_overall_verdict(verdicts: list[str], expected: str) -> None:
    kinds = {verdict: kind for kind, verdict in VERDICTS.items()}
    made = [
        results(kinds[verdict], "up", ["accuracy"], resolution=20 + k, seeds=4) for k, verdict in enumerate(verdicts)
    ]
    found = judged(pd.concat(made))
    assert having(found, claim=ACCURACY, loss=ALL)["verdict"].tolist() == verdicts
    assert overall(found, ACCURACY)["verdict"] == expected


# Floors


def test_the_strongest_floor_is_named_and_is_no_prototype() -> None:
    found = row(clean(), FLOORS, "batchcam-l1", dataset="up")
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


def test_a_family_with_a_loss_on_the_other_side_is_inconclusive_and_the_loss_is_told() -> None:
    apart = {"batchcam_ssim": np.linspace(-0.11, -0.09, 6)}
    better = {loss.replace("-", "_"): np.linspace(0.19, 0.21, 6) for loss in FAMILY[:5]}
    found = judged(with_differences(**better, **apart))
    assert row(found, ACCURACY, "prototype-l1")["verdict"] == SUPPORTED
    assert row(found, ACCURACY, "batchcam-ssim")["verdict"] == CONTRADICTED
    together = row(found, ACCURACY)
    assert together["low"] < 0 < together["high"]
    assert together["verdict"] == INCONCLUSIVE
    assert together["reason"] == "supported in 5, contradicted in 1 of 6 losses"
    assert overall(found, ACCURACY)["verdict"] == INCONCLUSIVE


def test_where_validation_picked_a_loss_that_one_makes_the_verdict_and_is_tested_once() -> None:
    found = judged(
        with_differences(prototype_l1=[0.01, 0.02, 0.03, 0.005, 0.035, 0.002]),
        picked={Setting("up", "simple_cnn", 23): "prototype-l1"},
    )
    alone, method = row(found, ACCURACY, "prototype-l1"), row(found, ACCURACY, METHOD)
    assert alone["verdict"] == INCONCLUSIVE  # after Holm
    assert (method["verdict"], method["p_holm"]) == (SUPPORTED, alone["p"])
    assert (method["picked"], alone["picked"]) == ("prototype-l1", "")
    assert method["reason"].startswith("sign-flip")
    assert row(found, ACCURACY)["verdict"] == INCONCLUSIVE
    assert overall(found, ACCURACY)["verdict"] == SUPPORTED
    of_setting = having(found, claim=ACCURACY, dataset="up")
    assert of_setting[of_setting["decides"]]["loss"].tolist() == [METHOD]


@pytest.mark.parametrize(("kind", "verdict"), VERDICTS.items())
def test_what_is_lost_to_decoys_is_judged_apart_from_accuracy(kind: str, verdict: str) -> None:
    """All is 10 points better than ce with true decoys; what random ones take away becomes less, or more, or stays."""
    made = []
    for loss in ("ce", *FAMILY):
        clean = 0.8 + (0.1 if loss in FAMILY else 0) + wiggle(loss, 8)
        gap = 0.3 - (EFFECT[kind] if loss in FAMILY else 0) + wiggle(loss + "gap", 8)
        metrics = {"true_accuracy": clean, "decoy_accuracy": clean - gap, "accuracy": clean - gap, "reliance": gap}
        made.append(cell(loss, metrics, ("decoy_up", "simple_cnn", 23)))
    found = row(judged(pd.concat(made)), GAP)
    assert found["verdict"] == verdict
    assert found["estimate"] == pytest.approx(-EFFECT[kind])


def test_maps_that_are_read_elsewhere_are_not_judged() -> None:
    made = pd.concat([results("up", "up"), results("down", "up", backbone="resnet18_earlier")])
    assert set(judged(made)["backbone"]) == {"simple_cnn", ""}


# Controls


def test_controls_are_a_family_of_their_own() -> None:
    made = results("up", "up", ["accuracy"], seeds=4)
    found = judged(made)
    pairs = [row(found, f"{BEYOND} {control}: accuracy", f"prototype-ssim − {control}") for control in CONTROLS]
    for control, pair in zip(CONTROLS, pairs, strict=True):
        rows = having(found, claim=f"{BEYOND} {control}: accuracy")
        assert rows["loss"].tolist() == [pair["loss"], ""]  # its own row, and the overall one
    assert [pair["p_holm"] for pair in pairs] == pytest.approx(holm([pair["p"] for pair in pairs]))
    assert pairs[0]["p_holm"] != pairs[0]["p"] or pairs[1]["p_holm"] != pairs[1]["p"]


def test_controls_that_a_setting_lacks_are_not_asked_for_there() -> None:
    made = results("up", "up", ["accuracy"], seeds=3)
    made = pd.concat([made[made["loss"] != "blob-ssim"], results("up", "down", ["accuracy"], seeds=3)])
    found = judged(made)
    assert set(having(found, claim=f"{BEYOND} blob-ssim: accuracy")["dataset"]) == {"down", OVERALL}
    gone = judged(made[made["loss"] != "blob-ssim"])
    reason = "no clean dataset with blob-ssim in this profile"
    assert overall(gone, f"{BEYOND} blob-ssim: accuracy")["reason"] == reason
    assert overall(gone, f"{BEYOND} permuted-ssim: accuracy")["verdict"] == SUPPORTED


@pytest.mark.parametrize(
    ("status", "word", "verdict"), [("failed: x", "failed", INCONCLUSIVE), ("missing", "missing", NOT_MEASURED)]
)
def test_a_control_that_failed_or_has_not_been_run_is_told(status: str, word: str, verdict: str) -> None:
    made = results("up", "up", ["accuracy"], seeds=3)
    made = pd.concat([made[made["loss"] != "blob-ssim"], absent("blob-ssim", status)])
    found = row(judged(made), f"{BEYOND} blob-ssim: accuracy", "prototype-ssim − blob-ssim")
    assert (found["verdict"], found["reason"]) == (verdict, f"1 cell without results ({word}: blob-ssim)")


def test_a_control_within_the_declared_margin_is_equivalent() -> None:
    made = results("flat", "up", ["accuracy"])
    rules = DECLARED._replace(equivalence={"accuracy": 0.05})
    claim, pair = f"{BEYOND} blob-ssim: accuracy", "prototype-ssim − blob-ssim"
    assert row(judged(made, rules=rules), claim, pair)["verdict"] == EQUIVALENT
    assert row(judged(made, rules=rules), claim, pair)["reason"].startswith("within ±0.05; sign-flip")
    assert row(judged(made), claim, pair)["verdict"] == INCONCLUSIVE  # no difference seen is not no difference
    narrow = DECLARED._replace(equivalence={"accuracy": 0.001})
    assert row(judged(made, rules=narrow), claim, pair)["verdict"] == INCONCLUSIVE
    assert row(judged(results("up", "up", ["accuracy"]), rules=rules), claim, pair)["verdict"] == SUPPORTED


def test_class_means_are_held_against_the_floors_and_not_against_the_ceiling() -> None:
    made = results("up", "up", ["ssim"]).rename(columns={"ssim": "class_mean_ssim"})
    found = row(judged(made, floors=bounds(ceiling=0.45)), "reconstruction beats the floors in class-mean SSIM")
    assert found["verdict"] == SUPPORTED
    assert found["estimate"] == pytest.approx(0.1 * SCALE["ssim"])


def test_a_colour_is_judged_apart_from_decoys() -> None:
    made = results("up", "up", ["accuracy", "reliance"]).assign(dataset="color_mnist")
    found = judged(made)
    assert row(found, "a colour, which no map can name, is relied on less")["verdict"] == SUPPORTED
    for claim in (ACCURACY, GAP):
        assert overall(found, claim)["verdict"] == NOT_MEASURED


def test_where_the_baseline_takes_no_shortcut_nothing_is_said_of_dropping_it() -> None:
    made = results("up", "decoy_up", [*METRICS, *DECOYED])
    little = made.assign(reliance=made["reliance"] / 20)
    found = judged(little, rules=DECLARED._replace(equivalence={"reliance": 1}))
    sentence = "no shortcut to drop: ce relies on it by 2.5 points, less than 5"
    for claim in (GAP, FLIPS, ROBUST):
        assert row(found, claim)["verdict"] == INCONCLUSIVE
        assert row(found, claim)["reason"].startswith(sentence)
    pair = row(found, f"{BEYOND} blob-ssim: reliance on the decoy", "prototype-ssim − blob-ssim")
    assert (pair["verdict"], pair["reason"].split(";")[0]) == (INCONCLUSIVE, sentence)
    assert row(found, MASS)["verdict"] == SUPPORTED  # which is of maps
    assert row(judged(made), GAP)["verdict"] == SUPPORTED
