"""The rules of judging, without results."""

import pytest

from bench.report.claims.verdict import Verdict, counted, everywhere, notes, over_settings
from tests.report.claims.synthetic import DECLARED

YES, NO, OPEN, NONE = Verdict


@pytest.mark.parametrize(
    ("verdicts", "overall", "in_all"),
    [
        ([YES, YES], YES, YES),
        ([YES, OPEN], OPEN, OPEN),
        ([YES, NONE], OPEN, OPEN),
        ([YES, NO], OPEN, NO),
        ([NO, OPEN], NO, NO),
        ([NO, NONE], NO, NO),
        ([OPEN, NONE], OPEN, OPEN),
        ([OPEN], OPEN, OPEN),
        ([NONE, NONE], NONE, NONE),
        ([], NONE, NONE),
    ],
)
def test_the_verdict_over_all_settings(verdicts: list[Verdict], overall: Verdict, in_all: Verdict) -> None:
    assert over_settings(verdicts) == overall
    assert everywhere(verdicts) == in_all


def test_the_settings_are_counted_by_verdict() -> None:
    assert counted([OPEN, YES, OPEN, NONE]) == "supported in 1, inconclusive in 2, not measured in 1 of 4 settings"
    assert counted([NO]) == "contradicted in 1 of 1 setting"


def test_the_rules_name_every_verdict_and_the_family() -> None:
    text = " ".join(notes(DECLARED)).lower()
    for verdict in Verdict:
        assert verdict in text
    for loss in DECLARED.family:
        assert loss in text
