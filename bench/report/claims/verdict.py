"""From an estimate with its interval to a verdict; `notes` tells the rules as claims.md prints them."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from bench.report.claims.evidence import Setting
from bench.report.claims.rules import Rules
from bench.report.rendering import count
from bench.statistics import LEVEL, Numbers, holm, p_text, sign_flip

#: In place of a loss, in the row that is judged for a whole setting: the intersection of the six, or the one of them
#: that the validation split picked.
ALL = "all six"
METHOD = "the method"
#: In place of a dataset, in the row that is judged over all settings.
OVERALL = "overall"


def notes(rules: Rules) -> list[str]:
    """The rules of judging, as claims.md prints them."""
    return [
        f"A setting is one dataset × backbone × resolution. {', '.join(rules.family)} are alternatives: each is judged"
        " by itself, with p-values corrected over the six (Holm). `all six` is their intersection: supported or"
        " contradicted where every one of them is. `the method` is the one of them that maps best on the validation"
        " split, by its SSIM, at the weight picked there; it is tested once. Where a profile tried weights, or"
        " names what another has picked, the verdict of a setting is that of the method, elsewhere that of all six.",
        "Supported or contradicted: the whole 95 % interval lies on that side, and p ≤ .05 agrees. Equivalent, against"
        " a control: the 90 % interval lies within the margin that is declared for the metric: two one-sided"
        " tests at 5 % (TOST). Inconclusive: everything else, also where a part of it has no results. Not judged: fewer"
        f" than {rules.least_seeds} seeds. Not measured: no results at all. Seeds are paired: same initialisation,"
        " order and split. On another kind of processor the bits differ, so pairs across two kinds are looser; they are"
        " counted beside the verdict.",
        "Overall, a claim is supported, contradicted or equivalent if it is that in every setting that is judged;"
        " otherwise inconclusive. That gains hold everywhere is contradicted by one counterexample. A setting errs on"
        " one side with 2.5 %, in non-inferiority with 5 %, and there is no correction across settings. A gain of the"
        " method errs somewhat more often where the same seeds picked it (docs/error-rates.md).",
        "Where cross-entropy itself hardly relies on a cue"
        f" (less than {100 * rules.least_reliance:g} points), nothing is said of predictions that follow it.",
        "Per-image metrics, accuracies and flips among them, have two intervals, Student's over seeds and that of a"
        " bootstrap over seeds and images; of each end the farther is told. In simulation the bootstrap alone covered"
        " 76, 86 and 90 % with 3, 6 and 10 seeds where seeds alone differ.",
        "p is that of a loss after Holm over the six, of a control after Holm over all controls of the setting, on the"
        " side on which it lies; ratios of times have an interval alone. The sign-flip test asks nothing of the"
        " distribution but symmetry; it is one-sided where the test is.",
    ]


class Verdict(StrEnum):
    """What the results say of a claim; see `notes`."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    NOT_JUDGED = "not judged"
    NOT_MEASURED = "not measured"


#: What says something of a claim.
DECIDED = (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.EQUIVALENT)
#: What says nothing, as nothing was tested.
SILENT = (Verdict.NOT_JUDGED, Verdict.NOT_MEASURED)


class Threshold(NamedTuple):
    """What an interval must lie beyond."""

    value: float = 0
    more: bool = True  # whether what lies above speaks for the claim
    closed: bool = False  # whether an interval that ends at the value, below it, is beyond it
    equivalence: float | None = None  # the margin around the value within which nothing speaks for it or against it


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
    inner: tuple[float, float] = (math.nan, math.nan)  # the 90 % interval, for equivalence
    sample: Numbers | None = None  # the differences to the threshold, for the sign-flip test
    one_sided: bool = False
    least: int = 0  # seeds that a verdict needs
    reference: str = ""  # what a loss was held against: another loss, or a number in words
    level: float = math.nan  # the number
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
    p_holm: float = math.nan  # corrected, on the side on which the estimate lies
    decides: bool = False  # whether it is the verdict of its setting
    picked: str = ""  # of `METHOD` the loss that it is


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
        holds = finding.threshold.more == (finding.estimate > finding.threshold.value)
        p_holm = float(adjusted if holds else adjusted_against)
        found.append(Judged(setting, loss, finding, verdict, _joined(words), p_holm))
    return found


def intersection(setting: Setting, by_loss: Sequence[Judged]) -> Judged:
    """The row of a whole family: what every one of it is, with their mean and the least and greatest end of theirs."""
    verdicts, findings = [one.verdict for one in by_loss], [one.finding for one in by_loss]
    ends = np.array([(f.estimate, f.low, f.high) for f in findings if not math.isnan(f.estimate)])
    estimate, low, high = (ends.mean(0)[0], ends.min(0)[1], ends.max(0)[2]) if len(ends) else [math.nan] * 3
    finding = Finding("each by itself", Threshold(), float(estimate), float(low), float(high))
    finding = finding._replace(n=min((f.n or 0 for f in findings), default=0))
    if findings:  # all were held against the same
        finding = finding._replace(reference=findings[0].reference, level=findings[0].level)
    why = "; ".join(dict.fromkeys(one.reason.split("; ")[0] for one in by_loss if one.verdict not in DECIDED))
    if len(set(verdicts)) == 1:
        return Judged(setting, ALL, finding, verdicts[0], why)
    return Judged(setting, ALL, finding, Verdict.INCONCLUSIVE, _joined([counted(verdicts, "losses"), why]))


def over_settings(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim from those of its settings: the same rule for every side."""
    spoken = {verdict for verdict in verdicts if verdict not in SILENT}
    if not spoken:
        return Verdict.NOT_JUDGED if Verdict.NOT_JUDGED in verdicts else Verdict.NOT_MEASURED
    return spoken.pop() if len(spoken) == 1 else Verdict.INCONCLUSIVE


def everywhere(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim that something holds everywhere: one counterexample contradicts it."""
    return Verdict.CONTRADICTED if Verdict.CONTRADICTED in verdicts else over_settings(verdicts)


def counted(verdicts: Sequence[Verdict], what: str = "") -> str:
    """How many settings, or of what else, have which verdict."""
    counts = [f"{verdict} in {verdicts.count(verdict)}" for verdict in Verdict if verdict in verdicts]
    return f"{', '.join(counts)} of {f'{len(verdicts)} {what}' if what else count(len(verdicts), 'setting')}"


def _untestable(finding: Finding) -> tuple[Verdict, str] | None:
    """The verdict, with its reason, on what has no interval to judge by."""
    n = finding.n
    if finding.unmeasured:
        return Verdict.NOT_MEASURED, finding.unmeasured
    if finding.obstacle:
        return Verdict.INCONCLUSIVE, finding.obstacle
    if n == 0 and finding.least:
        return Verdict.NOT_MEASURED, "no seed has a value"
    if n is not None and n < finding.least:
        return Verdict.NOT_JUDGED, f"n = {n}"
    return (Verdict.INCONCLUSIVE, f"n = {n}: no interval") if math.isnan(finding.low) else None


def _verdict(finding: Finding, p: float, p_against: float) -> tuple[Verdict, str]:
    """The verdict, and the reason where there is none on either side."""
    if untestable := _untestable(finding):
        return untestable
    low, high, threshold = finding.low, finding.high, finding.threshold
    margin = threshold.equivalence
    if (
        margin is not None
        and -margin < finding.inner[0] - threshold.value <= finding.inner[1] - threshold.value < margin
    ):
        return Verdict.EQUIVALENT, f"within ±{number(margin)}"
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
    sample = finding.sample if finding.threshold.more else -finding.sample
    found = sign_flip(sample, tests, one_sided=finding.one_sided)
    return f"sign-flip: {found.why_not or f'p {p_text(found.p)}'}"


def _joined(words: Sequence[str]) -> str:
    return "; ".join(word for word in words if word)


def number(value: float) -> str:
    """Up to four decimals."""
    return f"{value:.4f}".rstrip("0").rstrip(".").replace("-", "−")
