"""From an estimate with its interval to a verdict. `notes` has the rules of judging; nowhere else are they told."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from bench.report.claims.evidence import Setting
from bench.report.claims.rules import Rules
from bench.report.rendering import count
from bench.statistics import LEVEL, Numbers, holm, p_text, sign_flip

#: In place of a loss, in the row that is judged for a whole setting.
ALL = "mean of the family"
#: In place of a dataset, in the row that is judged over all settings.
OVERALL = "overall"


def notes(rules: Rules) -> list[str]:
    """The rules of judging, as claims.md prints them."""
    return [
        f"A setting is one dataset × backbone × resolution. Its family is {', '.join(rules.family)}. The verdict of a"
        " setting is that of the family's mean, never that of the loss that came out best; where a loss by itself is on"
        " the other side, the setting is mixed, and inconclusive. claims.csv has each loss, with p-values corrected"
        " within the family (Holm).",
        "Supported or contradicted: the whole 95 % interval lies on that side, and p ≤ .05 agrees. Not measured: what"
        " is judged, be it one loss or the whole family, has no results at all. Inconclusive: everything else, also"
        " where only a part of it has results. Seeds are paired: same initialisation, order and split.",
        "Overall, a claim is supported if it is supported in every setting; contradicted if it is contradicted in at"
        " least one and supported in none; not measured if it is measured in no setting of this profile; otherwise"
        " inconclusive. That gains hold everywhere is contradicted by one counterexample. A setting errs on one side"
        " with 2.5 %, in non-inferiority with 5 %, and there is no correction across settings.",
        "Metrics of single images have a bootstrap interval. In simulation it covered 76, 86 and 90 % with 3, 6 and 10"
        " seeds where seeds alone differ, so a verdict also needs the t test of the seeds.",
        "p is that of the mean over all losses, or that of a control after Holm; ratios of times have an interval"
        " alone. The sign-flip test asks nothing of the distribution but symmetry.",
    ]


class Verdict(StrEnum):
    """What the results say of a claim; see `notes`."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured"


_OPPOSITE = {Verdict.SUPPORTED: Verdict.CONTRADICTED, Verdict.CONTRADICTED: Verdict.SUPPORTED}


class Threshold(NamedTuple):
    """What an interval must lie beyond."""

    value: float = 0
    more: bool = True  # whether what lies above speaks for the claim
    closed: bool = False  # whether an interval that ends at the value, below it, is beyond it


class Finding(NamedTuple):
    """What a verdict is made from."""

    test: str
    threshold: Threshold = Threshold()
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int | None = 0
    p: float | None = math.nan  # under the hypothesis that the claim does not hold; None: the interval decides alone
    p_against: float | None = math.nan  # under the hypothesis that it holds
    sample: Numbers | None = None  # the differences to the threshold, for the sign-flip test
    notes: Sequence[str] = ()
    unmeasured: str = ""  # why nothing of what is judged has results
    obstacle: str = ""  # why there can be no verdict on either side


class Judged(NamedTuple):
    """A finding with its verdict: a row of claims.csv."""

    setting: Setting
    loss: str
    finding: Finding
    verdict: Verdict
    reason: str
    p_holm: float = math.nan


def judged(setting: Setting, family: Mapping[str, Finding]) -> list[Judged]:
    """The verdict on each finding, by loss; all were tested together."""
    p, p_against = (
        holm([math.nan if value is None else value for value in values])
        for values in ([f.p for f in family.values()], [f.p_against for f in family.values()])
    )
    tests = int(np.sum(~np.isnan(p)))
    found = []
    for (loss, finding), adjusted, adjusted_against in zip(family.items(), p, p_against, strict=True):
        verdict, reason = _verdict(finding, float(adjusted), float(adjusted_against))
        words = [reason, *finding.notes, _companion(finding, tests)]
        found.append(Judged(setting, loss, finding, verdict, _joined(words), float(adjusted)))
    return found


def unless_mixed(together: Judged, by_loss: Sequence[Judged]) -> Judged:
    """The verdict on the mean of a family, unless one of its losses is, by itself, on the other side."""
    opposite = _OPPOSITE.get(together.verdict)
    opposed = [one.loss for one in by_loss if one.verdict == opposite]
    if not opposed:
        return together
    reason = f"mixed: the mean is {together.verdict}, but by itself {', '.join(opposed)} {opposite}"
    return together._replace(verdict=Verdict.INCONCLUSIVE, reason=_joined([reason, together.reason]))


def over_settings(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim from those of its settings."""
    if set(verdicts) <= {Verdict.NOT_MEASURED}:
        return Verdict.NOT_MEASURED
    if Verdict.CONTRADICTED in verdicts and Verdict.SUPPORTED not in verdicts:
        return Verdict.CONTRADICTED
    return Verdict.SUPPORTED if set(verdicts) == {Verdict.SUPPORTED} else Verdict.INCONCLUSIVE


def everywhere(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim that something holds everywhere: one counterexample contradicts it."""
    return Verdict.CONTRADICTED if Verdict.CONTRADICTED in verdicts else over_settings(verdicts)


def counted(verdicts: Sequence[Verdict]) -> str:
    """How many settings have which verdict."""
    counts = [f"{verdict} in {verdicts.count(verdict)}" for verdict in Verdict if verdict in verdicts]
    return f"{', '.join(counts)} of {count(len(verdicts), 'setting')}"


def _verdict(finding: Finding, p: float, p_against: float) -> tuple[Verdict, str]:
    """The verdict, and the reason where there is none on either side."""
    low, high, threshold = finding.low, finding.high, finding.threshold
    if finding.unmeasured:
        return Verdict.NOT_MEASURED, finding.unmeasured
    if finding.obstacle:
        return Verdict.INCONCLUSIVE, finding.obstacle
    if math.isnan(low):
        return Verdict.INCONCLUSIVE, f"n = {finding.n}: no interval"
    above = low > threshold.value
    below = high < threshold.value or (threshold.closed and high == threshold.value)
    if not above and not below:
        return Verdict.INCONCLUSIVE, f"the interval holds {number(threshold.value)}"
    holds = above == threshold.more
    if finding.p is not None:
        p = p if holds else p_against
        if math.isnan(p):
            return Verdict.INCONCLUSIVE, "all seeds have the same difference: no spread to judge by"
        if p > LEVEL:
            return Verdict.INCONCLUSIVE, f"p (Holm) {p_text(p)} is above .05"
    return (Verdict.SUPPORTED if holds else Verdict.CONTRADICTED), ""


def _companion(finding: Finding, tests: int) -> str:
    """What the sign-flip test of the same differences says."""
    if finding.sample is None or finding.p is None or math.isnan(finding.p):
        return ""
    found = sign_flip(finding.sample, tests)
    return f"sign-flip: {found.why_not or f'p {p_text(found.p)}'}"


def _joined(words: Sequence[str]) -> str:
    return "; ".join(word for word in words if word)


def number(value: float) -> str:
    """Up to four decimals."""
    return f"{value:.4f}".rstrip("0").rstrip(".").replace("-", "−")
