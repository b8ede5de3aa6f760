"""The kinds of claims on what timing.csv measured: ratios of times, each with an interval and without a p."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.names import CE_STEP, EXPLAIN, FORWARD, LOOP
from bench.report.claims.evidence import Evidence, Setting, Timed
from bench.report.claims.kinds import Claim
from bench.report.claims.rules import Rules
from bench.report.claims.verdict import ALL, Finding, Judged, Threshold, Verdict, intersection, judged
from bench.report.frames import Record


@dataclass(frozen=True)
class OfTimes(Claim):
    """On a ratio of times, which must lie below a limit."""

    limit: float
    closed: bool = False  # whether the limit itself still speaks for the claim

    @abstractmethod
    def timed(self, evidence: Evidence) -> list[Judged]:
        """The rows of what was timed."""

    def judged(self, evidence: Evidence, before: Mapping[Claim, Sequence[Judged]]) -> list[Judged]:
        """A row for each device without timings, and those of what was timed."""
        silent = [
            Judged(Setting(), ALL, Finding("timing"), Verdict.NOT_MEASURED, reason, decides=True)
            for reason in evidence.untimed()
        ]
        return [*silent, *self.timed(evidence)]

    def reading(self, rules: Rules) -> str:
        """See `Claim`."""
        return f"Estimate: ratio of times; {'up to' if self.closed else 'below'} {self.limit:g} speaks for the claim."

    def lacking(self) -> str:
        """See `Claim`."""
        return "timings"

    @property
    def threshold(self) -> Threshold:
        """What the interval must lie below."""
        return Threshold(self.limit, more=False, closed=self.closed)

    def ratio(self, test: str, row: Record | None, name: str) -> Finding:
        """A ratio of timing.csv with its interval."""
        if row is None:
            return Finding(test, unmeasured="not among the timings")
        if row["status"] != "ok":
            return Finding(test, unmeasured=str(row["status"]).removeprefix("not measured: "))
        middle, low, high = (float(row[column]) for column in (name, f"{name}_low", f"{name}_high"))
        if math.isnan(middle):
            return Finding(test, obstacle="what it is divided by was not measured")
        return Finding(test, self.threshold, middle, low, high, int(row["rounds"]), None, None)


class Steps(OfTimes):
    """A guided step ÷ a cross-entropy step."""

    def timed(self, evidence: Evidence) -> list[Judged]:
        """For each group a row for each loss, and one for all of them."""
        return [row for group in evidence.timed("step") for row in self._in_group(group, evidence.rules.family)]

    def _in_group(self, group: Timed, family: Sequence[str]) -> list[Judged]:
        test = f"step ÷ {CE_STEP} step, {group.words}"
        by_loss = judged(
            group.setting,
            {loss: self.ratio(test, group.by_contender.get(loss), "floor_ratio") for loss in family},
        )
        together = intersection(group.setting, by_loss)
        return [*by_loss, together._replace(finding=together.finding._replace(test=test), decides=True)]


@dataclass(frozen=True)
class Calls(OfTimes):
    """`explain` ÷ the plain forward pass or the old loop over images, where those were compared."""

    against: str = FORWARD

    def timed(self, evidence: Evidence) -> list[Judged]:
        """A row for each group."""
        groups = [group for group in evidence.timed("maps") if self.against in group.by_contender]
        rows = [row for group in groups for row in judged(group.setting, {EXPLAIN: self._finding(group)})]
        return [row._replace(decides=True) for row in rows]

    def _finding(self, group: Timed) -> Finding:
        test, row = f"{EXPLAIN} ÷ {self.against}, {group.words}", group.by_contender.get(EXPLAIN)
        if self.against != LOOP:
            return self.ratio(test, row, "floor_ratio")
        speedup = self.ratio(test, row, "speedup")  # the inverse of what is claimed
        return speedup._replace(estimate=1 / speedup.estimate, low=1 / speedup.high, high=1 / speedup.low)
