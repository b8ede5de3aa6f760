"""The claims that gains hold everywhere."""

import pandas as pd
import pytest

from bench.report.frames import having
from tests.report.claims.synthetic import (
    ACCURACY,
    BACKBONES,
    BASE,
    BOTH,
    CONTRADICTED,
    EVERYWHERE,
    FAMILY,
    IN,
    INCONCLUSIVE,
    NOT_MEASURED,
    SUPPORTED,
    absent,
    everywhere,
    judged,
    overall,
    results,
)

LOSSES = ("ce", *FAMILY)


@pytest.mark.parametrize(
    ("dataset", "verdict", "n"),
    [("all", SUPPORTED, 3), ("one down", CONTRADICTED, 3), ("one flat", INCONCLUSIVE, 3), ("two", INCONCLUSIVE, 2)],
)
def test_gains_hold_for_all_backbones(dataset: str, verdict: str, n: int) -> None:
    here = having(everywhere(), claim=EVERYWHERE, dataset=dataset, resolution=23)
    assert here["verdict"].tolist() == [verdict] * 4
    assert here["n"].tolist() == [n] * 4
    assert here["test"].tolist() == [f"verdicts by backbone: {gain}" for gain in (ACCURACY, *IN)]
    if n == 2:
        assert here["reason"].iloc[0] == "measured in 2 of 3 backbones"
    if dataset == "one down":
        words = "SimpleCNN: supported, ResNet-18: contradicted, ConvNeXt-V2-Tiny: supported"
        assert here["reason"].iloc[0] == words


@pytest.mark.parametrize(("dataset", "verdict"), [("all", SUPPORTED), ("one down", CONTRADICTED)])
def test_gains_hold_at_both_resolutions(dataset: str, verdict: str) -> None:
    here = having(everywhere(), claim=BOTH, dataset=dataset)
    own = here[here["backbone"] == "simple_cnn"]
    assert own["verdict"].tolist() == [verdict] * 4
    assert own["reason"].iloc[0] == f"23 px: supported, 112 px: {verdict}"
    other = here[here["backbone"] == "resnet18"]
    # One resolution is too few to hold everywhere, and enough for a counterexample.
    alone = {
        "all": (INCONCLUSIVE, "measured in 1 of 2 resolutions"),
        "one down": (CONTRADICTED, "23 px: contradicted"),
    }
    assert other["verdict"].tolist() == [alone[dataset][0]] * 4
    assert other["reason"].iloc[0] == alone[dataset][1]
    assert "resnet18_earlier" not in set(having(everywhere(), claim=BOTH)["backbone"])


def test_one_counterexample_refutes_what_holds_everywhere() -> None:
    for claim in (EVERYWHERE, BOTH):
        assert overall(everywhere(), claim)["verdict"] == CONTRADICTED
    assert overall(everywhere(), BOTH)["reason"].startswith("supported in 4, contradicted in 8, inconclusive in ")


def test_a_gain_in_accuracy_alone_is_not_one_in_reconstruction() -> None:
    made = [results("up", "all", ["accuracy", "l1", "l2", "ssim"], b, seeds=3).assign(l2=BASE) for b in BACKBONES]
    found = judged(pd.concat(made))
    here = having(found, claim=EVERYWHERE, dataset="all")
    assert here["verdict"].tolist() == [SUPPORTED, SUPPORTED, INCONCLUSIVE, SUPPORTED]
    assert overall(found, EVERYWHERE)["verdict"] == INCONCLUSIVE


def test_a_backbone_without_all_losses_is_open() -> None:
    made = [results("up", "all", ["accuracy"], backbone, seeds=3) for backbone in BACKBONES]
    made[1].loc[made[1]["loss"] == "batchcam-l1", "status"] = "missing"
    found = judged(pd.concat(made))
    here = having(found, claim=EVERYWHERE, dataset="all").iloc[0]
    reason = "SimpleCNN: supported, ResNet-18: inconclusive, ConvNeXt-V2-Tiny: supported"
    assert (here["n"], here["verdict"], here["reason"]) == (3, INCONCLUSIVE, reason)


def test_gains_without_any_result_are_not_measured_everywhere() -> None:
    found = judged(pd.concat([absent(loss, "missing", setting=("all", b, 23)) for b in BACKBONES for loss in LOSSES]))
    here = having(found, claim=EVERYWHERE, dataset="all")
    assert here["verdict"].tolist() == [NOT_MEASURED] * 4
    assert here["reason"].tolist() == ["measured in 0 of 3 backbones"] * 4
    assert overall(found, EVERYWHERE)["verdict"] == NOT_MEASURED


def test_only_the_papers_resolutions_are_both_resolutions() -> None:
    found = judged(pd.concat([results("up", "up", resolution=resolution, seeds=4) for resolution in (20, 23)]))
    here = having(found, claim=BOTH, dataset="up")
    assert here["reason"].tolist() == ["measured in 1 of 2 resolutions"] * 4
