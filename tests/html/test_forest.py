"""What the tables draw is what was tested."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.html.forest import panels, unmeasured
from bench.params import load
from bench.report.ledger import Profile
from bench.report.questions import QUESTIONS

ROOT = Path(__file__).parents[2]
KEPT = next(question for question in QUESTIONS if question.question == "Is accuracy kept?")
TIMES = next(question for question in QUESTIONS if question.question == "Is the overhead of a training step minimal?")


def row_of(**more: Any) -> dict[str, Any]:
    """A row of claims.csv."""
    row = {"claim": KEPT.claims[0], "source": "v2", "dataset": "mnist", "backbone": "simple_cnn", "resolution": 23}
    row |= {
        "loss": "prototype-l1",
        "picked": "",
        "test": "a test",
        "estimate": -0.02,
        "low": -0.03,
        "high": -0.01,
        "n": 5,
    }
    return row | {"p_holm": 0.03, "verdict": "contradicted", "decides": False, "reason": ""} | more


def profile(*rows: dict[str, Any]) -> Profile:
    return Profile(load(ROOT / "profiles/reduced/params.yaml"), pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame())


def test_numbers_are_in_the_unit_of_the_metric_and_drawn_where_they_are() -> None:
    (panel,) = panels(KEPT, [profile(row_of(), row_of(estimate=0.01, low=0.0, high=0.03, verdict="supported"))])
    assert panel.label == "accuracy, points"
    shares = "Margins and limits in the words of a test are shares: 0.01 is a point."
    assert panel.caption == f"Difference in accuracy, points; more is better. {shares}"
    first, second = panel.lines
    assert first.estimate == "−2 [−3, −1]"
    assert first.why.endswith(". a test")
    assert (first.data, first.network, first.px, first.n, first.p) == ("MNIST", "SimpleCNN", "23", "5", ".030")
    assert (first.bar.low, first.bar.middle, first.bar.high) == pytest.approx((4, 19.3, 34.7), abs=0.1)
    assert second.bar.high == 96
    assert panel.none == second.bar.low == 50
    assert panel.ticks == [(4, "−3"), (50, "0"), (96, "3")]


def test_rows_that_decide_come_first_and_what_has_no_estimate_is_left_out_and_told() -> None:
    silent = {"estimate": math.nan, "low": math.nan, "high": math.nan, "verdict": "not measured", "decides": True}
    rows = [row_of(), row_of(loss="all six", decides=True), row_of(**silent), row_of(dataset="overall")]
    (panel,) = panels(KEPT, [profile(*rows)])
    assert [line.compared for line in panel.lines] == ["all six", "prototype-l1"]
    assert unmeasured(KEPT, [profile(*rows)]) == ["reduced: 1 not measured of 2"]
    assert panels(KEPT, [profile(row_of(**silent))]) == []


def test_an_estimate_alone_is_a_point_and_a_one_sided_interval_is_open() -> None:
    (panel,) = panels(KEPT, [profile(row_of(low=math.nan, high=math.nan), row_of(high=math.inf))])
    alone, open_ended = panel.lines
    assert alone.estimate == "−2"
    assert alone.bar.low == alone.bar.high == alone.bar.middle
    assert open_ended.estimate == "−2 [−3, ∞]"
    assert open_ended.bar.high == 96


def test_points_have_two_decimals_and_none_is_minus_zero() -> None:
    row = row_of(estimate=-0.248017, low=-0.38221, high=-0.00001)
    (panel,) = panels(KEPT, [profile(row)])
    assert panel.lines[0].estimate == "−24.8 [−38.22, 0]"


def test_times_are_compared_with_one() -> None:
    row = row_of(claim=TIMES.claims[0], dataset=math.nan, estimate=1.2, low=1.1, high=1.4, p_holm=math.nan)
    (panel,) = panels(TIMES, [profile(row)])
    assert panel.ticks == [(4, "1"), (96, "1.4")]
    assert (panel.lines[0].data, panel.lines[0].p) == ("–", "–")
    assert "shares" not in panel.caption


def test_the_method_says_which_loss_it_is() -> None:
    (panel,) = panels(KEPT, [profile(row_of(loss="the method", picked="prototype-l1"))])
    assert panel.lines[0].compared == "the method: prototype-l1"


def test_two_metrics_of_one_question_have_a_scale_each() -> None:
    (shortcut,) = [question for question in QUESTIONS if question.question.startswith("Do predictions rely less")]
    rows = [row_of(claim=claim, dataset="decoy_mnist") for claim in shortcut.claims]
    assert [panel.label for panel in panels(shortcut, [profile(*rows)])] == ["reliance, points", "flips, points"]
