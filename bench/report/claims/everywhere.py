"""The kind of claims that gains hold along a whole axis of the grid: made from the verdicts on those gains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bench import paper
from bench.names import PAPER_BACKBONES, shown
from bench.report.claims.evidence import Evidence, Setting
from bench.report.claims.kinds import Claim, OfMetric
from bench.report.claims.rules import Rules
from bench.report.claims.verdict import ALL, SILENT, Finding, Judged, Verdict, everywhere


class Axis(NamedTuple):
    """Where along an axis of the grid the paper says that gains hold, and how such a value is shown."""

    values: Sequence[Any]
    shown: Callable[[Any], str]


AXES = {"backbone": Axis(PAPER_BACKBONES, shown), "resolution": Axis(paper.RESOLUTIONS, "{} px".format)}


@dataclass(frozen=True)
class Everywhere(Claim):
    """Each of some gains holds at all of the paper's values of an axis."""

    gains: tuple[OfMetric, ...]
    axis: Literal["backbone", "resolution"]

    def judged(self, evidence: Evidence, before: Mapping[Claim, Sequence[Judged]]) -> list[Judged]:
        """A row for each gain and each setting of which the axis is left open."""
        groups = dict.fromkeys(self._open(setting) for setting in self.gains[0].settings(evidence))
        return [self._agreement(group, gain, before[gain]) for group in groups for gain in self.gains]

    def verdict(self, verdicts: Sequence[Verdict]) -> Verdict:
        """See `Claim`."""
        return everywhere(verdicts)

    def reading(self, rules: Rules) -> str:
        """See `Claim`."""
        return f"Made from the verdicts above: what was gained at each {self.axis}, n of them."

    def lacking(self) -> str:
        """See `Claim`."""
        return self.gains[0].lacking()

    def _open(self, setting: Setting) -> Setting:
        return setting._replace(**{self.axis: getattr(Setting(), self.axis)})

    def _agreement(self, group: Setting, gain: Claim, rows: Sequence[Judged]) -> Judged:
        """The verdict on a gain that must hold in each of these rows that is of this group."""
        axis = AXES[self.axis]
        here = {
            getattr(row.setting, self.axis): row for row in rows if row.decides and self._open(row.setting) == group
        }
        here = {value: row for value, row in here.items() if value in axis.values}
        measured = {value: row.verdict for value, row in here.items() if row.verdict not in SILENT}
        finding = Finding(f"verdicts by {self.axis}: {gain.sentence}", n=len(measured))
        lacking = f"measured in {len(measured)} of {len(axis.values)} {self.axis}s"
        if all(row.verdict in SILENT for row in here.values()):
            return Judged(group, ALL, finding, Verdict.NOT_MEASURED, lacking, decides=True)
        if len(measured) < len(axis.values) and Verdict.CONTRADICTED not in measured.values():
            return Judged(group, ALL, finding, Verdict.INCONCLUSIVE, lacking, decides=True)
        reason = ", ".join(f"{axis.shown(value)}: {verdict}" for value, verdict in measured.items())
        return Judged(group, ALL, finding, everywhere(list(measured.values())), reason, decides=True)
