"""Verdicts over settings, and over the losses of a setting: the same rule for every side."""

import itertools

import numpy as np
import pytest

from bench.report.claims.evidence import Setting
from bench.report.claims.verdict import (
    ALL,
    DECIDED,
    SILENT,
    Finding,
    Threshold,
    Verdict,
    everywhere,
    intersection,
    judged,
    over_settings,
)

SUPPORTED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE, NOT_JUDGED, NOT_MEASURED = Verdict
OPPOSITE = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
HERE = Setting("digits", "simple_cnn", 23)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([SUPPORTED, SUPPORTED], SUPPORTED),
        ([CONTRADICTED, CONTRADICTED], CONTRADICTED),
        ([EQUIVALENT, EQUIVALENT], EQUIVALENT),
        ([SUPPORTED, CONTRADICTED], INCONCLUSIVE),
        ([SUPPORTED, EQUIVALENT], INCONCLUSIVE),
        ([CONTRADICTED, INCONCLUSIVE], INCONCLUSIVE),
        ([SUPPORTED, NOT_JUDGED, NOT_MEASURED], SUPPORTED),
        ([NOT_JUDGED, NOT_MEASURED], NOT_JUDGED),
        ([NOT_MEASURED], NOT_MEASURED),
        ([], NOT_MEASURED),
    ],
)
def test_over_settings(verdicts: list[Verdict], expected: Verdict) -> None:
    assert over_settings(verdicts) is expected


def test_what_makes_one_side_supported_makes_the_other_contradicted() -> None:
    for verdicts in itertools.product(Verdict, repeat=3):
        mirrored = [OPPOSITE.get(verdict, verdict) for verdict in verdicts]
        found = over_settings(list(verdicts))
        assert over_settings(mirrored) is OPPOSITE.get(found, found)


def test_one_counterexample_contradicts_what_holds_everywhere() -> None:
    assert everywhere([SUPPORTED, CONTRADICTED, INCONCLUSIVE]) is CONTRADICTED
    assert everywhere([SUPPORTED, SUPPORTED]) is SUPPORTED
    assert everywhere([SUPPORTED, INCONCLUSIVE]) is INCONCLUSIVE


def of(estimate: float, half: float, inner: float, n: int = 8, **more: object) -> Finding:
    """A finding with these intervals around its estimate, and p as small as can be on both sides."""
    limits = Threshold(equivalence=0.02)
    found = Finding("", limits, estimate, estimate - half, estimate + half, n, 1e-6, 1e-6)
    return found._replace(inner=(estimate - inner, estimate + inner), least=3)._replace(**more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (of(0.1, 0.02, 0.015), SUPPORTED),  # clear gain
        (of(-0.1, 0.02, 0.015), CONTRADICTED),  # clear loss
        (of(0.001, 0.015, 0.012), EQUIVALENT),  # tie within the band
        (of(0.010, 0.009, 0.008), EQUIVALENT),  # seen, but too small to matter
        (of(0.001, 0.05, 0.04), INCONCLUSIVE),  # tie with a wide interval
        (of(0.019, 0.005, 0.004), SUPPORTED),  # beyond 0, and not all of it within the band
        (of(0.1, 0.02, 0.015, n=2), NOT_JUDGED),  # too few seeds
        (of(0.1, 0.02, 0.015, n=3), SUPPORTED),
        (of(0.1, 0.02, 0.015, obstacle="a cell is missing"), INCONCLUSIVE),
        (of(0.1, 0.02, 0.015, unmeasured="nothing there"), NOT_MEASURED),
        (of(0.1, 0.02, 0.015, p=0.2), INCONCLUSIVE),  # the seeds do not agree with the images
        (of(0.001, 0.015, 0.012, threshold=Threshold()), INCONCLUSIVE),  # no band is declared
    ],
)
def test_each_kind_of_result_has_its_verdict(finding: Finding, expected: Verdict) -> None:
    (row,) = judged(HERE, {"a": finding})
    assert row.verdict is expected


def test_less_can_be_better() -> None:
    less = Threshold(more=False)
    rows = judged(HERE, {"a": of(-0.1, 0.02, 0.01, threshold=less), "b": of(0.1, 0.02, 0.01, threshold=less)})
    assert [row.verdict for row in rows] == [SUPPORTED, CONTRADICTED]


def test_all_six_are_what_every_one_of_them_is() -> None:
    gain, loss, wide = of(0.1, 0.02, 0.01), of(-0.1, 0.02, 0.01), of(0.0, 0.1, 0.1)
    for one, verdict in ((gain, SUPPORTED), (loss, CONTRADICTED), (wide, INCONCLUSIVE)):
        found = intersection(HERE, judged(HERE, {"a": one, "b": one}))
        assert (found.loss, found.verdict) == (ALL, verdict)
        assert (found.reason == "") == (verdict in DECIDED)
    mixed = intersection(HERE, judged(HERE, {"a": gain, "b": gain, "c": loss}))
    assert mixed.verdict is INCONCLUSIVE  # a loss that is opposed is told of
    assert mixed.reason == "supported in 2, contradicted in 1 of 3 losses"
    assert (mixed.finding.low, mixed.finding.high) == pytest.approx((-0.12, 0.12))
    assert mixed.finding.n == 8
    silent = intersection(HERE, judged(HERE, {"a": Finding("", unmeasured="no"), "b": Finding("", unmeasured="no")}))
    assert silent.verdict in SILENT
    assert np.isnan(silent.finding.estimate)


def test_the_sign_flip_is_one_sided_where_the_test_is() -> None:
    sample = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    words = [
        judged(HERE, {"a": of(0.3, 0.1, 0.1, sample=sample, one_sided=one_sided)})[0].reason
        for one_sided in (True, False)
    ]
    assert words == ["sign-flip: p .031", "sign-flip: n = 5: the least p, .062, cannot reach .05"]
