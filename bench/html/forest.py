"""The tests behind each answer as tables whose rows draw their interval: a forest plot that sorts and filters."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from bench.names import shown
from bench.report.claims.catalogue import catalogue
from bench.report.claims.kinds import Claim, OfMetric
from bench.report.claims.rules import RULES
from bench.report.claims.times import OfTimes
from bench.report.claims.verdict import OVERALL, SILENT, number
from bench.report.frames import Record, groups, having, records
from bench.report.ledger import Profile
from bench.report.questions import Question
from bench.report.rendering import NONE
from bench.statistics import p_text

#: Where there is no difference, by whether times are compared.
_NO_DIFFERENCE = {False: 0.0, True: 1.0}
_RATIO = "ratio of times"
#: The factor of a metric whose differences are told in points.
_POINTS = 100
#: Of a panel's width, how much stays free at each side, %.
_MARGIN = 4


class Bar(NamedTuple):
    """Where an interval and its estimate are drawn, in % of the width; both ends are the estimate's without one."""

    low: float
    high: float
    middle: float


class Line(NamedTuple):
    """One test as readers see it, and its numbers to sort by."""

    profile: str
    data: str
    network: str
    px: str
    compared: str
    estimate: str  # with its interval
    n: str
    p: str
    verdict: str
    why: str  # the claim, the test and what kept it from a verdict
    decides: bool
    value: float
    bar: Bar


class Panel(NamedTuple):
    """The tests of one question that share a scale."""

    label: str
    caption: str  # what the estimate is, and which direction is better
    none: float  # the place in % where there is no difference
    ticks: list[tuple[float, str]]  # place in %, and its number
    lines: list[Line]


def panels(question: Question, profiles: Sequence[Profile]) -> list[Panel]:
    """What was tested for a question, by what is measured, the rows that decide first; without what has no estimate.

    Args:
        question: one of the ledger's.
        profiles: in the order of what they are worth.
    """
    claims = {claim.sentence: claim for claim in catalogue(RULES)}
    by_scale: dict[tuple[str, bool], list[tuple[Profile, Record, Claim]]] = {}
    for sentence in question.claims:
        claim = claims[sentence]
        for profile, row in tests(sentence, profiles):
            by_scale.setdefault((_label(claim), isinstance(claim, OfTimes)), []).append((profile, row, claim))
    return [_panel(label, ratio=ratio, found=found) for (label, ratio), found in by_scale.items()]


def tests(sentence: str, profiles: Sequence[Profile]) -> Iterator[tuple[Profile, Record]]:
    """The tests of a claim that have an estimate, by profile."""
    for profile in profiles:
        here = having(profile.claims, claim=sentence)
        for row in records(here[here["estimate"].notna() & (here["dataset"] != OVERALL)]):
            yield profile, row


def unmeasured(question: Question, profiles: Sequence[Profile]) -> list[str]:
    """A phrase for each profile in which settings of a question could not be judged, with how many and why."""
    phrases = []
    for profile in profiles:
        here = profile.claims[profile.claims["claim"].isin(question.claims) & profile.claims["decides"]]
        silent = here[here["verdict"].isin([str(verdict) for verdict in SILENT])]
        counts = [f"{len(rows)} {verdict}" for (verdict,), rows in groups(silent, ["verdict"])]
        if counts:
            phrases.append(f"{profile.params.profile}: {', '.join(counts)} of {len(here)}")
    return phrases


def _label(claim: Claim) -> str:
    """What is measured; times are compared on one scale."""
    return claim.metric.difference if isinstance(claim, OfMetric) else _RATIO


def _panel(label: str, *, ratio: bool, found: Sequence[tuple[Profile, Record, Claim]]) -> Panel:
    first = found[0][2]
    factor, caption = 1, "A time ÷ that of what it is compared with; less is better."
    if isinstance(first, OfMetric):
        factor = first.metric.factor
        better = "more" if first.metric.better == "more" else "less"
        caption = f"Difference in {label}; {better} is better."
        if factor == _POINTS:
            caption += " Margins and limits in the words of a test are shares: 0.01 is a point."
    zero = _NO_DIFFERENCE[ratio]
    frame = pd.DataFrame([row for _, row, _ in found])[["estimate", "low", "high"]].astype(float) * factor
    scale = _Scale([zero, *(value for value in frame.to_numpy().ravel().tolist() if math.isfinite(value))])
    lines = [_line(profile, row, factor, scale) for profile, row, _ in found]
    lines.sort(key=lambda line: not line.decides)  # stable
    return Panel(label, caption, scale.place(zero), scale.ticks(zero), lines)


def _line(profile: Profile, row: Record, factor: int, scale: "_Scale") -> Line:
    estimate, low, high = (float(row[name]) * factor for name in ("estimate", "low", "high"))
    has_interval = not (math.isnan(low) or math.isnan(high))
    ends = (low, high) if has_interval else (estimate, estimate)
    digits = 2 if factor == _POINTS else 4
    return Line(
        profile=profile.params.profile,
        data=shown(row["dataset"]) if isinstance(row["dataset"], str) else NONE,
        network=shown(row["backbone"]) if isinstance(row["backbone"], str) else NONE,
        px=NONE if pd.isna(row["resolution"]) else str(row["resolution"]),
        compared=_compared(row) if isinstance(row["loss"], str) else NONE,
        estimate=_end(estimate, digits) + (f" [{_end(low, digits)}, {_end(high, digits)}]" if has_interval else ""),
        n=NONE if pd.isna(row["n"]) else str(row["n"]),
        p=NONE if math.isnan(row["p_holm"]) else p_text(row["p_holm"]),
        verdict=row["verdict"],
        why=". ".join(word for word in (row["claim"], row["test"], row["reason"]) if isinstance(word, str) and word),
        decides=bool(row["decides"]),
        value=estimate,
        bar=Bar(scale.place(ends[0]), scale.place(ends[1]), scale.place(estimate)),
    )


def _compared(row: Record) -> str:
    """What was tested; of the method, which loss it is."""
    return f"{row['loss']}: {row['picked']}" if row["picked"] else row["loss"]


def _end(value: float, digits: int) -> str:
    """An estimate, or an end of its interval; one-sided ones are open."""
    return number(round(value, digits) + 0.0) if math.isfinite(value) else ("−∞" if value < 0 else "∞")


class _Scale:
    """From values to places in % of a panel's width."""

    def __init__(self, values: Sequence[float]) -> None:
        self.low, self.high = min(values), max(values)

    def place(self, value: float) -> float:
        """Of a value, also of an infinite one."""
        span = (self.high - self.low) or 1
        share = (min(max(value, self.low), self.high) - self.low) / span
        return round(_MARGIN + (100 - 2 * _MARGIN) * share, 1)

    def ticks(self, zero: float) -> list[tuple[float, str]]:
        """Both ends, and no difference unless it is close to one of them."""
        near = 0.2 * (self.high - self.low)
        ends = [value for value in dict.fromkeys([self.low, self.high]) if value == zero or abs(value - zero) > near]
        return [(self.place(value), f"{value:.3g}".replace("-", "−")) for value in sorted({zero, *ends})]
