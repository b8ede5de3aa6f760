"""The kinds of claims on what the cells measured; times.py and everywhere.py have the others.

A kind knows how to find its settings, make its findings and word its reading.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.names import Metric, base, shown
from bench.report.claims.evidence import Evidence, Setting, Where
from bench.report.claims.paired import Question, finding
from bench.report.claims.rules import Rules
from bench.report.claims.verdict import (
    METHOD,
    OVERALL,
    Finding,
    Judged,
    Verdict,
    counted,
    intersection,
    judged,
    over_settings,
)
from bench.report.frames import having
from bench.report.results import has_grid

#: What is measured of predictions that follow a cue.
_OF_SHORTCUTS = ("reliance", "decoy_flip_rate", "decoy_accuracy")
#: Stands among the floors, but takes a class's prototype to make, which a map that knows nothing does not have.
_NO_FLOOR = "wrong class's prototype"


def no_shortcut(evidence: Evidence, setting: Setting, metric: Metric) -> str:
    """Why nothing can be said of a shortcut in a setting: the baseline does not take it. "" where it does."""
    rules = evidence.rules
    if metric.name not in _OF_SHORTCUTS or not evidence.has(setting, rules.baseline):
        return ""
    reliance = pd.Series(evidence.by_seed(setting, rules.baseline, "reliance")).mean()
    if math.isnan(reliance) or reliance >= rules.least_reliance:
        return ""
    points, least = reliance * 100, rules.least_reliance * 100
    return f"no shortcut to drop: {rules.baseline} relies on it by {points:.1f} points, less than {least:g}"


@dataclass(frozen=True)
class Claim(ABC):
    """One sentence, and how it is tested."""

    sentence: str
    source: str

    @abstractmethod
    def judged(self, evidence: Evidence, before: Mapping["Claim", Sequence[Judged]]) -> list[Judged]:
        """For each setting the rows of single losses, then that of the whole; `before` has the claims judged so far."""

    @abstractmethod
    def reading(self, rules: Rules) -> str:
        """What a positive estimate means, and what speaks for the claim."""

    @abstractmethod
    def lacking(self) -> str:
        """What a profile in which the claim has no setting does not have."""

    def verdict(self, verdicts: Sequence[Verdict]) -> Verdict:
        """The verdict over all settings."""
        return over_settings(verdicts)

    def overall(self, of_settings: Sequence[Judged]) -> Judged:
        """The row over all settings."""
        verdicts = [row.verdict for row in of_settings]
        reason = counted(verdicts) if verdicts else f"no {self.lacking()} in this profile"
        return Judged(Setting(OVERALL), "", Finding("", n=None), self.verdict(verdicts), reason)


@dataclass(frozen=True)
class OfMetric(Claim):
    """On a metric of cells.csv."""

    metric: Metric
    where: Where

    def settings(self, evidence: Evidence) -> list[Setting]:
        """Where it is tested."""
        return evidence.settings(self.where)

    def lacking(self) -> str:
        """See `Claim`."""
        return self.where.value

    def _reading(self, difference: str) -> str:
        side = "above" if self.metric.better == "more" else "below"
        return f"Estimate: `{self.metric.name}`, {difference}; {side} 0 speaks for the claim."


class OfFamily(OfMetric):
    """On each loss of the family."""

    @abstractmethod
    def question(self, evidence: Evidence, setting: Setting) -> Question:
        """What the family is held against."""

    def judged(self, evidence: Evidence, before: Mapping[Claim, Sequence[Judged]]) -> list[Judged]:
        """A row for each loss of the family, one for all of them, and one for that which validation picked."""
        return [row for setting in self.settings(evidence) for row in self._in_setting(evidence, setting)]

    def _in_setting(self, evidence: Evidence, setting: Setting) -> list[Judged]:
        family, question = evidence.rules.family, self.question(evidence, setting)
        findings = {loss: finding(evidence, setting, loss, self.metric, question) for loss in family}
        by_loss = judged(setting, findings)
        together, picked = intersection(setting, by_loss), evidence.picked.get(setting)
        if picked is None:
            return [*by_loss, together._replace(decides=True)]
        (method,) = judged(setting, {METHOD: findings[picked]})  # tested once: nothing to correct for
        return [*by_loss, together, method._replace(decides=True, picked=picked)]


class Gain(OfFamily):
    """The losses are better than the baseline."""

    def question(self, evidence: Evidence, setting: Setting) -> Question:
        """Against the baseline."""
        baseline = evidence.rules.baseline
        return Question(baseline, baseline, obstacle=no_shortcut(evidence, setting, self.metric))

    def reading(self, rules: Rules) -> str:
        """See `Claim`."""
        return self._reading(f"loss − {rules.baseline}")


class NonInferiority(OfFamily):
    """The losses are worse than the baseline by less than a margin, in what it is declared for: accuracies."""

    def question(self, evidence: Evidence, setting: Setting) -> Question:
        """Against the baseline, with the margin of the dataset."""
        baseline, margin = evidence.rules.baseline, evidence.rules.accuracy_margin.get(base(setting.dataset))
        obstacle = f"no margin is set for {shown(setting.dataset)}" if margin is None else ""
        return Question(baseline, baseline, margin, obstacle=obstacle)

    def reading(self, rules: Rules) -> str:
        """See `Claim`."""
        return (
            f"Estimate: `{self.metric.name}`, loss − {rules.baseline}; the ends are one-sided 95 % bounds, and"
            " above −margin speaks for the claim; p is that of a difference at or below it, or where the estimate is"
            " below it, at or above it."
        )


class Floors(OfFamily):
    """The losses are better than a map that knows nothing."""

    def question(self, evidence: Evidence, setting: Setting) -> Question:
        """Against the strongest floor; with an obstacle where the backbone's grid could not come above it."""
        here = having(evidence.bounds, dataset=setting.dataset, resolution=setting.resolution)
        more = self.metric.better == "more"
        is_floor = (here["kind"] == "floor") & (here["name"] != _NO_FLOOR)
        column = self.metric.name.removeprefix("class_mean_")  # a floor is one map for a class, and so its own mean
        floors = here[is_floor].set_index("name")[column].dropna()
        if floors.empty:
            return Question(math.nan, "the floor", obstacle="no floor is known")
        strongest, best = (floors.max(), floors.idxmax()) if more else (floors.min(), floors.idxmin())
        name = f"the floor, {best} ({strongest:.3f})"
        if self.metric.name.startswith("class_mean_"):
            return Question(strongest, name)  # a mean need not span [0, 1] as a single map does: no ceiling binds it
        ceilings = here.loc[has_grid(here, setting.backbone), self.metric.name].dropna()
        if ceilings.empty:
            unknown = "no ceiling is known: whether the grid is too coarse cannot be said"
            return Question(strongest, name, obstacle=unknown)
        ceiling = float(ceilings.max() if more else ceilings.min())
        if ceiling < strongest if more else ceiling > strongest:
            return Question(
                strongest, name, obstacle=f"grid too coarse: the best it can reach, {ceiling:.3f}, is worse"
            )
        return Question(strongest, name)

    def reading(self, rules: Rules) -> str:
        """See `Claim`."""
        return self._reading("loss − the strongest floor")


class Specificity(OfFamily):
    """The losses are above a level: what counts as specific to the instance."""

    def question(self, evidence: Evidence, setting: Setting) -> Question:
        """Against the level."""
        return Question(evidence.rules.least_specificity, f"{evidence.rules.least_specificity:g}")

    def reading(self, rules: Rules) -> str:
        """See `Claim`."""
        return f"Estimate: `{self.metric.name}` of a loss − {rules.least_specificity:g}; above 0 speaks for the claim."


@dataclass(frozen=True)
class Control(OfMetric):
    """A loss of the method is better than a control of it, wherever that is among the cells."""

    control: str

    def settings(self, evidence: Evidence) -> list[Setting]:
        """Where the profile has the control."""
        return [setting for setting in super().settings(evidence) if evidence.expects(setting, self.control)]

    def judged(self, evidence: Evidence, before: Mapping[Claim, Sequence[Judged]]) -> list[Judged]:
        """A row for each setting; tested together are all controls that the setting has."""
        return [row for setting in self.settings(evidence) for row in self._in_setting(evidence, setting)]

    def _in_setting(self, evidence: Evidence, setting: Setting) -> list[Judged]:
        rules = evidence.rules
        margin, obstacle = rules.equivalence.get(self.metric.name), no_shortcut(evidence, setting, self.metric)
        by_control = {
            self._pair(rules, control): finding(
                evidence, setting, guided, self.metric, Question(control, control, None, margin, obstacle)
            )
            for control, guided in rules.controls.items()
            if evidence.expects(setting, control)
        }
        rows = judged(setting, by_control)
        return [row._replace(decides=True) for row in rows if row.loss == self._pair(rules, self.control)]

    def reading(self, rules: Rules) -> str:
        """See `Claim`."""
        return self._reading(self._pair(rules, self.control))

    def lacking(self) -> str:
        """See `Claim`."""
        return f"{super().lacking()} with {self.control}"

    @staticmethod
    def _pair(rules: Rules, control: str) -> str:
        return f"{rules.controls[control]} − {control}"
