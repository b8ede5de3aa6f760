"""The claims on ratios of times."""

import math
from typing import Any

import pytest

from bench.report.claims.verdict import ALL
from bench.report.frames import having
from tests.report.claims.synthetic import (
    CONTRADICTED,
    FAMILY,
    FORWARD,
    INCONCLUSIVE,
    NOT_MEASURED,
    OLD_LOOP,
    ONE_CELL,
    OVERHEAD,
    SUPPORTED,
    TRAINING,
    judged,
    overall,
    row,
    timed,
    timing,
)


def steps(ratio: float, **more: Any) -> list[dict[str, Any]]:
    """The timings of a step with each loss."""
    return [timed("step", "ce", 1, **more)] + [timed("step", loss, ratio, **more) for loss in FAMILY]


@pytest.mark.parametrize(
    ("ratio", "overhead", "falls"),
    [
        (0.9, SUPPORTED, SUPPORTED),
        (1.0, SUPPORTED, INCONCLUSIVE),
        (1.05, SUPPORTED, CONTRADICTED),
        (1.1, INCONCLUSIVE, CONTRADICTED),
        (1.5, CONTRADICTED, CONTRADICTED),
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


def test_all_losses_have_their_mean_and_the_least_and_greatest_of_their_ends() -> None:
    ratios = [1.0, 1.1, 1.2, 1.3, 1.4, 2.0]
    found = judged(ONE_CELL, timing([timed("step", loss, r) for loss, r in zip(FAMILY, ratios, strict=True)]))
    assert row(found, OVERHEAD)[["estimate", "low", "high"]].tolist() == pytest.approx([8 / 6, 0.98, 2.02])
    assert row(found, OVERHEAD)["verdict"] == INCONCLUSIVE
    assert row(found, OVERHEAD)["reason"].startswith("supported in 1, contradicted in 4, inconclusive in 1 of 6 losses")
    assert [row(found, OVERHEAD, loss)["estimate"] for loss in FAMILY] == ratios


@pytest.mark.parametrize(
    ("ratio", "speedup", "forward", "loop"),
    [
        (1.2, 2.0, CONTRADICTED, SUPPORTED),
        (0.9, 0.8, SUPPORTED, CONTRADICTED),
        (1.01, 1.01, INCONCLUSIVE, INCONCLUSIVE),
    ],
)
def test_inference_has_two_readings(ratio: float, speedup: float, forward: str, loop: str) -> None:
    ends: dict[str, Any] = {"speedup": speedup, "speedup_low": speedup - 0.02, "speedup_high": speedup + 0.02}
    maps = [timed("maps", "forward", 1), timed("maps", "loop, backward()", 9), timed("maps", "explain", ratio, **ends)]
    found = judged(ONE_CELL, timing(maps))
    assert row(found, FORWARD, "explain")["verdict"] == forward
    old = row(found, OLD_LOOP, "explain")
    assert old["verdict"] == loop
    expected = [1 / speedup, 1 / (speedup + 0.02), 1 / (speedup - 0.02)]
    assert old[["estimate", "low", "high"]].tolist() == pytest.approx(expected)
    assert (overall(found, FORWARD)["verdict"], overall(found, OLD_LOOP)["verdict"]) == (forward, loop)
    assert overall(found, OVERHEAD)["reason"] == "no timings in this profile"


def test_a_group_in_which_the_loop_is_not_compared_has_no_row() -> None:
    found = judged(ONE_CELL, timing([timed("maps", "forward", 1), timed("maps", "explain", 1.2)]))
    assert overall(found, OLD_LOOP)["reason"] == "no timings in this profile"
    assert row(found, FORWARD, "explain")["verdict"] == CONTRADICTED


def test_timings_that_are_missing_are_told() -> None:
    device = {"device": "cuda", "status": "missing"}
    broken = [timed("step", loss, 1.0) for loss in FAMILY[:4]]
    broken += [{**timed("step", FAMILY[4], math.nan), "status": "failed: out of memory", "rounds": None}]
    found = judged(ONE_CELL, timing([*broken, device]))
    for loss, reason in ((FAMILY[4], "failed: out of memory"), (FAMILY[5], "not among the timings")):
        found_here = row(found, OVERHEAD, loss)
        assert (found_here["verdict"], found_here["reason"]) == (NOT_MEASURED, reason)
    reason = "supported in 4, not measured in 2 of 6 losses; failed: out of memory; not among the timings"
    together = row(found, OVERHEAD, backbone="simple_cnn")
    assert (together["verdict"], together["reason"]) == (INCONCLUSIVE, reason)
    for claim in (OVERHEAD, TRAINING, FORWARD, OLD_LOOP):
        device = row(found, claim, backbone="")
        assert (device["verdict"], device["reason"]) == (NOT_MEASURED, "CUDA: missing")
    for claim in (OVERHEAD, TRAINING):
        assert overall(found, claim)["verdict"] == INCONCLUSIVE
    for claim in (FORWARD, OLD_LOOP):
        assert overall(found, claim)["verdict"] == NOT_MEASURED


def test_losses_of_which_none_was_timed_are_not_measured() -> None:
    status = {"status": "not measured: captum is not installed"}
    found = judged(ONE_CELL, timing([timed("step", loss, math.nan, rounds=None) | status for loss in FAMILY]))
    assert row(found, OVERHEAD, FAMILY[0])["reason"] == "captum is not installed"
    assert row(found, OVERHEAD)["verdict"] == NOT_MEASURED
    assert row(found, OVERHEAD)["reason"] == "captum is not installed"


def test_timings_without_their_other_side_or_with_few_rounds() -> None:
    no_floor = {"floor_ratio": math.nan, "floor_ratio_low": math.nan, "floor_ratio_high": math.nan}
    few = {"floor_ratio_low": math.nan, "floor_ratio_high": math.nan, "rounds": 3}
    found = judged(ONE_CELL, timing([*steps(1.0, **no_floor), *steps(1.0, batch=4, **few)]))
    reasons = having(found, claim=OVERHEAD, loss=FAMILY[0])["reason"]
    assert reasons.tolist() == ["what it is divided by was not measured", "n = 3: no interval"]
    both = having(found, claim=OVERHEAD, loss=ALL)
    assert both["verdict"].tolist() == [INCONCLUSIVE] * 2
    assert both["reason"].tolist()[1] == "n = 3: no interval"


def test_no_timings_at_all() -> None:
    found = judged(ONE_CELL)
    for claim in (OVERHEAD, TRAINING, FORWARD, OLD_LOOP):
        assert overall(found, claim)["verdict"] == NOT_MEASURED
        assert overall(found, claim)["reason"] == "no timings in this profile"
