"""The figure of a sweep: what each weight of a regulariser costs in accuracy, and what it does for its objective."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from bench.names import LOSSES, METRICS, shown
from bench.report.choice import standard_error
from bench.report.drawing import BASELINE, GROUPS, REFERENCE, course, group_keys, losses_of, multiples, upright
from bench.report.frames import having, records
from bench.statistics import Interval, mean_interval

ByWeight = Mapping[float, Interval]

_COLUMNS = 6
_FACTOR = METRICS["accuracy"].factor
#: Points of accuracy around the baseline that are shown: what lies outside would hide what lies within.
_BELOW, _ABOVE = 3.0, 1.0
_RING: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 10, "markerfacecolor": "none"}
#: By whether any weight of the loss keeps the baseline's accuracy.
_RINGS = {
    True: {**_RING, "markeredgecolor": ".1", "label": "chosen weight"},
    False: {**_RING, "markeredgecolor": ".7", "label": "the least weight, as none keeps the accuracy"},
}
_BELOW_SCALE: dict[str, Any] = {"linestyle": "", "marker": "v", "markersize": 5, "color": ".3"}
_FAILED: dict[str, Any] = {"linestyle": "", "marker": "x", "markersize": 5, "color": ".3"}


class _Baseline(NamedTuple):
    """Its validation accuracy in %: mean over seeds and standard error, NaN where it was not trained."""

    mean: float
    error: float


def path(swept: pd.DataFrame, chosen: pd.DataFrame) -> Figure:
    """Validation accuracy, and below it the loss's own objective, against the weight: a small panel for each loss.

    Args:
        swept: sweep.csv of one dataset, backbone and resolution.
        chosen: what `bench.report.choice.choose` makes of it.
    """
    losses = [loss for loss in losses_of(swept) if loss != BASELINE] or losses_of(swept)
    baseline = _baseline(having(swept, loss=BASELINE)["accuracy"].dropna(), swept["dataset"].iloc[0])
    accuracies = {loss: _by_weight(having(swept, loss=loss), "accuracy", _FACTOR) for loss in losses}
    scale = _scale(baseline, accuracies.values())
    weights = sorted(set(swept["weight"].dropna()) - {0.0})
    figure, panels = multiples(len(losses), _COLUMNS, (1.75, 2.5), "weight", lines=2)
    for (upper, lower), loss in zip(panels, losses, strict=True):
        here, picked = having(swept, loss=loss), having(chosen, loss=loss)
        objective = _by_weight(here, "objective")
        for panel, found in ((upper, accuracies[loss]), (lower, objective)):
            _through_weights(panel, found, picked, loss)
            _logarithmic(panel, weights)
        _accuracy_panel(upper, accuracies[loss], here, baseline, scale)
        upper.set_title(loss, fontsize=8, color=GROUPS[LOSSES[loss].group][1])
        place = upper.get_subplotspec()
        leftmost = place is not None and place.is_first_col()
        upper.tick_params(labelbottom=False, labelleft=leftmost)
        if not objective:
            lower.text(0.5, 0.5, "not measured", transform=lower.transAxes, ha="center", va="center", fontsize=7)
            lower.set_yticks([])
        if leftmost:
            upper.set_ylabel(upright(METRICS["accuracy"].heading), fontsize=8)
            lower.set_ylabel(upright("own objective ↓"), fontsize=8)
    first, n = swept.iloc[0], int(swept.groupby(["loss", "weight"]).size().max())
    setting = f"{shown(first['dataset'])}, {shown(first['backbone'])}, {first['resolution']} px, n = {n}"
    intervals = "means over seeds with 95 % t intervals" if n > 1 else "one seed, no intervals"
    figure.suptitle(f"{setting}: each loss by its weight, on the validation split\n{intervals}")
    marks = {label: mark for upper, _ in panels for mark, label in zip(*upper.get_legend_handles_labels(), strict=True)}
    figure.legend(handles=[*group_keys(losses), *marks.values()], loc="outside lower center", ncols=3)
    return figure


def _baseline(accuracies: pd.Series, dataset: str) -> _Baseline:
    return _Baseline(_FACTOR * accuracies.mean(), _FACTOR * standard_error(accuracies, dataset))


def _by_weight(swept: pd.DataFrame, metric: str, factor: int = 1) -> dict[float, Interval]:
    """Means over seeds with their intervals; none for a weight at which a seed failed."""
    whole = {weight: here[metric] * factor for weight, here in swept.groupby("weight") if here[metric].notna().all()}
    return {float(str(weight)): mean_interval(values.tolist()) for weight, values in whole.items()}


def _scale(baseline: _Baseline, accuracies: Iterable[ByWeight]) -> tuple[float, float]:
    """From where to where the accuracies go, for all panels."""
    found = [interval for by_weight in accuracies for interval in by_weight.values()]
    ends = [end for interval in found for end in interval if not math.isnan(end)]
    if math.isnan(baseline.mean):
        around = max((interval.mean for interval in found), default=0.0)
    else:
        around = baseline.mean
        ends += [around - baseline.error, around + baseline.error]
    low, high = max(around - _BELOW, min(ends, default=around)), min(around + _ABOVE, max(ends, default=around))
    pad = 0.06 * (high - low) or 0.1
    return low - pad, high + pad


def _through_weights(panel: Axes, found: ByWeight, picked: pd.DataFrame, loss: str) -> None:
    """Means with intervals against the weight, and a ring around the chosen one."""
    course(panel, list(found), list(found.values()), GROUPS[LOSSES[loss].group][1])
    for row in records(picked):
        if row["weight"] in found:
            panel.plot(row["weight"], found[row["weight"]].mean, **_RINGS[bool(row["competitive"])])


def _accuracy_panel(
    panel: Axes, found: ByWeight, swept: pd.DataFrame, baseline: _Baseline, scale: tuple[float, float]
) -> None:
    """The baseline's band, and at the lower edge what has no place above it."""
    if not math.isnan(baseline.mean):
        label = f"{BASELINE}: mean ± one standard error"
        ends = (baseline.mean - baseline.error, baseline.mean + baseline.error)
        panel.axhspan(*ends, facecolor=REFERENCE, edgecolor=REFERENCE, alpha=0.25, label=label, zorder=0)
    panel.set_ylim(scale)
    for weight, interval in found.items():
        if interval.mean < scale[0]:
            panel.plot(weight, scale[0], **_BELOW_SCALE, clip_on=False, label="below the scale, at this number")
            panel.annotate(
                f"{interval.mean:.1f}",
                (weight, scale[0]),
                (0, 4),
                textcoords="offset points",
                fontsize=6.5,
                ha="center",
            )
    for weight in set(swept["weight"].dropna()) - set(found):
        panel.plot(weight, scale[0], **_FAILED, clip_on=False, label="a training failed")


def _logarithmic(panel: Axes, weights: Sequence[float]) -> None:
    """A logarithmic scale with a tick for each weight."""
    panel.set_xscale("log")
    panel.set_xticks(weights, [f"{weight:g}" for weight in weights])
    panel.xaxis.set_minor_locator(NullLocator())
    if weights:
        panel.set_xlim(weights[0] / 1.6, weights[-1] * 1.6)
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.tick_params(labelsize=7)
    panel.grid()
