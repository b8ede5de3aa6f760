"""The numbers of a row, and what is missing."""

import math

import numpy as np
import pandas as pd
import pytest

from bench.names import METRICS as METRICS_BY_NAME
from bench.report.claims import paired
from bench.report.claims.evidence import Setting
from bench.report.claims.paired import Question, Sample
from bench.report.claims.verdict import ALL
from bench.report.frames import groups
from bench.statistics import Numbers, bootstrap_interval, holm, non_inferiority, paired_difference
from tests.report.claims.synthetic import (
    ACCURACY,
    BASE,
    BEYOND,
    CLEAN,
    COHERENT,
    COMPETITIVE,
    DECLARED,
    DECOYED,
    FAMILY,
    FLIPS,
    FLOORS,
    FLOORS_IN,
    IN,
    INCONCLUSIVE,
    MASS,
    METRICS,
    NOT_JUDGED,
    NOT_MEASURED,
    SCALE,
    SPECIFIC,
    SUPPORTED,
    absent,
    cell,
    clean,
    decoy_images,
    decoyed,
    judged,
    overall,
    results,
    row,
    with_differences,
)

FARTHER = "paired t by seed, and a bootstrap of seeds, then images: of each end the farther; p by seed"
UP, DECOYED_UP = Setting("up", "simple_cnn", 23), Setting("decoy_up", "simple_cnn", 23)


# The numbers of a row


def test_a_row_is_the_paired_t_test() -> None:
    made = {loss: cell["l1"].to_numpy(np.float64) for (loss,), cell in groups(results("up", "up"), ["loss"])}
    differences = {loss: made[loss] - made["ce"] for loss in FAMILY}
    expected = {loss: paired_difference(values) for loss, values in differences.items()}
    adjusted = holm([found.p for found in expected.values()])
    for k, loss in enumerate(FAMILY):
        found = row(clean(), IN[0], loss, dataset="up")
        assert found[["estimate", "low", "high", "p", "n"]].tolist() == pytest.approx(list(expected[loss]))
        assert found["p_holm"] == pytest.approx(adjusted[k])
        assert found["estimate"] == pytest.approx(-0.1 * SCALE["l1"])  # loss − ce, and less is better
        assert found["test"] == "difference to ce; paired t by seed"
        assert (found["source"], found["backbone"], found["resolution"]) == ("v1", "simple_cnn", 23)
    together = row(clean(), IN[0], dataset="up")
    ends = [min(d.low for d in expected.values()), max(d.high for d in expected.values())]
    middle = np.mean([d.mean for d in expected.values()])
    assert together[["estimate", "low", "high", "n"]].tolist() == pytest.approx([middle, *ends, 8])


def test_a_row_of_non_inferiority_has_one_sided_bounds() -> None:
    made = results("down", "down").set_index("loss")["accuracy"]
    expected = non_inferiority(made.loc["batchcam-l1"].to_numpy() - made.loc["ce"].to_numpy(), 0.02)
    found = row(clean(), COMPETITIVE, "batchcam-l1", dataset="down")
    assert found[["estimate", "low", "high", "p", "n"]].tolist() == pytest.approx(list(expected))
    assert found["p"] > 0.99  # of inferiority; the verdict has the other side's
    assert found["test"] == "difference to ce; margin 0.02, one-sided paired t by seed"


def test_less_accuracy_within_the_margin_competes_and_does_not_improve() -> None:
    made = results("flat", "up", ["accuracy"])
    made.loc[made["loss"] != "ce", "accuracy"] -= 0.005  # the interval of a loss is about ± .015
    found = judged(made, rules=DECLARED._replace(accuracy_margin={"up": 0.04}))
    assert row(found, COMPETITIVE)["verdict"] == SUPPORTED
    # Of differences to −margin, on one side: 1 / 2⁸.
    assert row(found, COMPETITIVE, "prototype-l1")["reason"] == "sign-flip: p .004"
    assert row(found, ACCURACY)["verdict"] == INCONCLUSIVE
    assert row(judged(made), COMPETITIVE)["verdict"] == INCONCLUSIVE


def test_without_a_margin_nothing_is_competitive() -> None:
    found = judged(results("up", "up", ["accuracy"]), rules=DECLARED._replace(accuracy_margin={}))
    assert row(found, COMPETITIVE)["verdict"] == INCONCLUSIVE
    assert row(found, COMPETITIVE)["reason"].startswith("no margin is set for up")


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
    assert found["p_holm"] == pytest.approx(6 * (1 - found["p"]))  # of the side on which it lies
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


def test_the_companion_says_where_it_cannot_reach_the_level() -> None:
    found = judged(with_differences(prototype_l1=[0.01, 0.02, 0.03, 0.015, 0.025, 0.02]))
    sentence = "sign-flip: n = 6: the least p, .031, cannot reach .05 in a family of 6"
    assert row(found, ACCURACY, "prototype-l1")["reason"] == sentence
    assert row(clean(), ACCURACY, "batchcam-l1", dataset="up")["reason"] == "sign-flip: p .008"  # 2 / 2⁸
    assert row(clean(), COMPETITIVE, "batchcam-l1", dataset="up")["reason"] == "sign-flip: p .004"  # 1 / 2⁸
    alone = judged(with_differences(prototype_l1=[0.1]))
    assert "sign-flip" not in row(alone, ACCURACY, "prototype-l1")["reason"]


# What is missing


def test_missing_cells_are_told_with_their_reasons() -> None:
    made = results("up", "up", ["accuracy"], seeds=3)
    made = made[~made["loss"].isin(["batchcam-l1", "batchcam-l2", "prototype-l1"])]
    gone = [absent("batchcam-l1", "missing"), absent("batchcam-l2", "failed: 100 % is NaN")]
    found = judged(pd.concat([made, *gone]))
    together = row(found, ACCURACY)
    assert together["verdict"] == INCONCLUSIVE
    reasons = ("not in this profile: prototype-l1", "missing: batchcam-l1", "failed: batchcam-l2")
    told = "; ".join(f"1 cell without results ({reason})" for reason in reasons)
    assert together["reason"] == f"supported in 3, not measured in 3 of 6 losses; {told}"
    assert row(found, ACCURACY, "batchcam-l1")["verdict"] == NOT_MEASURED
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
    for loss in (ALL, *FAMILY):
        assert row(found, ACCURACY, loss)["verdict"] == INCONCLUSIVE  # what is judged has results
    assert row(found, ACCURACY)["reason"] == "1 cell without results (stale: ce)"
    assert row(found, FLOORS)["verdict"] == SUPPORTED  # which ce has no part in


def test_a_setting_without_any_result_is_a_row_and_not_measured() -> None:
    found = judged(pd.concat([absent(loss, "missing") for loss in ("ce", *FAMILY)]))
    for loss in (ALL, *FAMILY):
        assert row(found, ACCURACY, loss)["verdict"] == NOT_MEASURED
    assert row(found, ACCURACY)["reason"].startswith("2 cells without results (missing: prototype-l1, ce); 2 cells")
    assert overall(found, ACCURACY)["verdict"] == NOT_MEASURED
    assert overall(found, ACCURACY)["reason"] == "not measured in 1 of 1 setting"


def test_a_family_without_results_is_not_measured_though_its_baseline_has_some() -> None:
    made = results("up", "up", ["accuracy"], seeds=3)
    found = judged(pd.concat([made[made["loss"] == "ce"], *(absent(loss, "missing") for loss in FAMILY)]))
    assert row(found, ACCURACY)["verdict"] == NOT_MEASURED
    assert row(found, ACCURACY)["reason"].startswith("1 cell without results (missing: prototype-l1); 1 cell")


def test_a_setting_that_was_not_measured_says_nothing_and_is_counted() -> None:
    elsewhere = pd.concat([absent(loss, "missing", setting=("other", "simple_cnn", 23)) for loss in ("ce", *FAMILY)])
    found = judged(pd.concat([results("up", "up", ["accuracy"], seeds=3), elsewhere]))
    assert overall(found, ACCURACY)["verdict"] == SUPPORTED
    assert overall(found, ACCURACY)["reason"] == "supported in 1, not measured in 1 of 2 settings"


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_are_shown_and_not_judged(seeds: int) -> None:
    found = judged(results("up", "up", seeds=seeds))
    for claim in CLEAN:
        assert row(found, claim)["verdict"] == overall(found, claim)["verdict"] == NOT_JUDGED
        assert row(found, claim)["reason"] == f"n = {seeds}"
        assert row(found, claim)["n"] == seeds
        assert row(found, claim)["estimate"] > 0 or claim in IN[:2] + FLOORS_IN[:2]


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
    assert "2 of 5 seeds without a pair of values" in alone["reason"]


def test_seeds_are_paired_by_their_number() -> None:
    made = results("up", "up", ["accuracy"], seeds=5)
    shuffled = pd.concat([part.sample(frac=1, random_state=k) for k, (_, part) in enumerate(made.groupby("loss"))])
    left, right = (judged(frame).drop(columns=["claim"]) for frame in (made, shuffled))
    pd.testing.assert_frame_equal(left, right)


def test_a_metric_without_values_has_a_reason() -> None:
    found = row(judged(results("up", "up", ["accuracy"], seeds=3)), COHERENT)
    assert found["verdict"] == NOT_MEASURED
    assert found["reason"] == "no seed has a value"


def test_what_means_of_maps_leave_out_is_counted() -> None:
    made = results("up", "up").assign(undefined_maps=0, lone_images=0)
    made.loc[made["loss"] == "batchcam-l1", "undefined_maps"] = 3
    made.loc[made["loss"] == "ce", "undefined_maps"] = 1
    made.loc[made["loss"] == "batchcam-l1", "lone_images"] = 2
    found = judged(made)
    left_out = "32 maps without a value are left out, over 16 trainings; sign-flip"
    assert row(found, COHERENT, "batchcam-l1")["reason"].startswith(left_out)
    left_out = "24 maps without a value are left out, over 8 trainings; 16 images alone in their class are left out"
    assert row(found, SPECIFIC, "batchcam-l1")["reason"].startswith(left_out)
    assert "left out" not in row(found, SPECIFIC, "batchcam-l2")["reason"]
    assert "left out" not in row(found, ACCURACY)["reason"]


def test_pairs_across_two_kinds_of_processor_are_counted() -> None:
    made = results("up", "up", seeds=3)
    trained = made.assign(device="CPU, AVX2")
    trained.loc[trained["loss"].eq("ce") & trained["seed"].gt(0), "device"] = "CPU, AVX512"
    trained.loc[trained["loss"].eq("batchcam-l2"), "device"] = math.nan  # not told
    found, beyond = judged(made, trainings=trained), f"{BEYOND} blob-ssim: accuracy"
    assert row(found, ACCURACY, "batchcam-l1")["reason"].count("2 of 3 pairs trained on different kinds of proc") == 1
    for claim, loss in ((ACCURACY, "batchcam-l2"), (FLOORS, "batchcam-l1"), (beyond, "prototype-ssim − blob-ssim")):
        assert "kinds of processor" not in row(found, claim, loss)["reason"]
    same = judged(made, trainings=trained.assign(device="CPU, AVX2"))
    assert not same["reason"].str.contains("kinds of processor").any()


# Images


def wider(differences: Numbers) -> tuple[float, float, float]:
    """The mean over seeds and images, and the ends of the wider of the two intervals."""
    by_image, by_seed = bootstrap_interval(differences), paired_difference(np.nanmean(differences, axis=1))
    return by_image.mean, min(by_image.low, by_seed.low), max(by_image.high, by_seed.high)


def test_image_level_metrics_have_the_wider_interval_of_seeds_and_bootstrap() -> None:
    images = decoy_images("up")
    values = {loss: images[DECOYED_UP, loss]["decoy_mass"] for loss in ("ce", *FAMILY)}
    differences = values["batchcam-l1"] - values["ce"]
    found = row(decoyed(), MASS, "batchcam-l1", dataset="decoy_up")
    assert found[["estimate", "low", "high"]].tolist() == pytest.approx(wider(differences))
    assert found["p"] == pytest.approx(paired_difference(differences.mean(axis=1)).p)
    assert found["n"] == 8
    assert found["test"] == f"difference to ce; {FARTHER}"
    lows = [wider(values[loss] - values["ce"])[1] for loss in FAMILY]
    assert row(decoyed(), MASS, dataset="decoy_up")["low"] == pytest.approx(min(lows))


@pytest.mark.parametrize("differ", ["seeds", "images"])
def test_where_seeds_differ_the_wider_is_student_s_and_where_images_do_the_bootstrap_s(differ: str) -> None:
    spread = np.random.default_rng(0).normal(0.3, 0.5, 3 if differ == "seeds" else 40)
    differences = np.broadcast_to(spread[:, None] if differ == "seeds" else spread, (3, 40))
    found = paired.tested(
        "", Sample(differences.mean(axis=1), differences), METRICS_BY_NAME["accuracy"], Question("ce", "ce")
    )
    by_seed, by_image = paired_difference(differences.mean(axis=1)), bootstrap_interval(differences)
    assert (found.low, found.high) == ((by_seed if differ == "seeds" else by_image)[1:3])
    assert by_seed.high - by_seed.low != pytest.approx(by_image.high - by_image.low)


def test_without_images_the_interval_is_that_of_the_seeds() -> None:
    assert row(decoyed(), MASS, "batchcam-l1", dataset="decoy_flat")["test"] == "difference to ce; paired t by seed"
    assert "bootstrap" in row(decoyed(), FLIPS, "batchcam-l1", dataset="decoy_flat")["test"]
    images = decoy_images("up")
    del images[DECOYED_UP, "batchcam-l1"]
    found = judged(results("up", "decoy_up", [*METRICS, *DECOYED]), images=images)
    assert "bootstrap" not in row(found, MASS, "batchcam-l1")["test"]
    assert "bootstrap" in row(found, MASS, "batchcam-l2")["test"]


def specificity(seeds: int = 8) -> dict[tuple[Setting, str], dict[str, Numbers]]:
    """Of all losses, with the values of two images missing under one of them."""
    found = {}
    for number, loss in enumerate(["ce", *FAMILY]):
        found[UP, loss] = {"specificity": np.random.default_rng(number).normal(0.1, 0.02, (seeds, 30))}
    found[UP, "batchcam-l1"]["specificity"][:, :2] = math.nan
    return found


def test_a_value_that_one_loss_lacks_is_lost_to_no_other() -> None:
    found = judged(results("up", "up"), images=specificity())
    reason = "16 of 240 pairs of images without a value"
    assert reason in row(found, SPECIFIC, "batchcam-l1")["reason"]
    assert "without" not in row(found, SPECIFIC, "batchcam-l2")["reason"]


def test_specificity_is_held_against_a_level_and_not_against_the_baseline() -> None:
    images = specificity()
    found = row(judged(results("up", "up"), images=images), SPECIFIC, "batchcam-l2")
    values = images[UP, "batchcam-l2"]["specificity"] - BASE
    assert found[["estimate", "low", "high"]].tolist() == pytest.approx(wider(values))
    assert found["test"] == f"difference to 0.5; {FARTHER}"


def test_images_of_undefined_seeds_or_fewer_seeds() -> None:
    images = specificity()
    fewer = images[UP, "prototype-l1"]
    fewer["specificity"] = fewer["specificity"][:5]
    images[UP, "batchcam-l2"]["specificity"][0] = math.nan
    images[UP, "batchcam-l1"]["specificity"][:] = math.nan
    found = judged(results("up", "up"), images=images)
    assert row(found, SPECIFIC, "prototype-l1")["n"] == 5
    assert row(found, SPECIFIC, "batchcam-l2")["n"] == 7
    assert row(found, SPECIFIC, "batchcam-l1")["verdict"] == NOT_MEASURED
    assert row(found, SPECIFIC)["n"] == 0


def test_few_seeds_need_student_s_interval_beside_the_bootstrap() -> None:
    # Differences of .1, .1 and 1: every resample is above 0, and t by seed is far from sure of it.
    metrics = {"decoy_mass": [BASE] * 3}
    images, made = {}, []
    for loss in ("ce", *FAMILY):
        shift = np.array([[0.1], [0.1], [1]]) if loss in FAMILY else 0
        images[DECOYED_UP, loss] = {"decoy_mass": np.full((3, 20), 0.2) + shift}
        made.append(cell(loss, metrics, ("decoy_up", "simple_cnn", 23)))
    found = row(judged(pd.concat(made), images=images), MASS, "prototype-l1")
    assert found["low"] < 0 < found["estimate"]
    assert found["verdict"] == INCONCLUSIVE
    assert found["reason"].startswith("the interval holds 0")
