"""Which weight of a sweep is taken.

The one-standard-error rule of Breiman et al. (Classification and Regression Trees, 1984): of the weights that cost no
accuracy that could be seen, the one that does most. It does not sit on the margin that the claims test against.
"""

import math

import pandas as pd

from bench.names import VALIDATION, base, kind_of
from bench.report.claims.rules import Rules
from bench.report.frames import groups, records
from bench.report.results import SETTING

COLUMNS = [*SETTING, "loss", "weight", "accuracy", "competitive"]


def choose(swept: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """For each loss of a sweep, the weight that brings its own regulariser lowest among those that cost no accuracy.

    A weight costs none where its mean validation accuracy over seeds is at least that of the baseline less one
    `standard_error` of the baseline's. Where no weight is so, the least one is taken; where a loss has no regulariser
    to look at, the largest that is so. A weight at which a training failed is not chosen.

    Args:
        swept: sweep.csv.
        rules: the baseline.

    Returns:
        One row for each dataset, backbone, resolution and loss: `weight` (NaN where no training ended), `accuracy`,
        `competitive` (whether any was).
    """
    chosen = []
    for key, here in groups(swept, SETTING):
        baseline = here.loc[here["loss"] == rules.baseline, "accuracy"]
        least = baseline.mean() - standard_error(baseline, str(key[0]))
        for (loss,), tried in groups(here[here["loss"] != rules.baseline], ["loss"]):
            by_weight = tried.groupby("weight")[["accuracy", "objective"]]
            means = by_weight.mean().where(by_weight.count().eq(tried.groupby("weight").size(), axis=0))
            good = means[means["accuracy"] >= least]
            if good.empty:
                weight = means["accuracy"].dropna().index.min()  # of nothing: NaN
            else:
                known = good["objective"].notna().any()
                weight = good["objective"].idxmin() if known else good.index.max()
            found = (loss, weight, means["accuracy"].get(weight), not good.empty)
            chosen.append((*key, *found))
    return pd.DataFrame(chosen, columns=COLUMNS)


def standard_error(accuracies: pd.Series, dataset: str) -> float:
    """Of a mean validation accuracy ā over n seeds: √(s² / n + ā (1 − ā) / m), with m validation images.

    As in Breiman et al. it holds what other images would have changed: all seeds are tried on the same ones, so their
    standard deviation s knows nothing of that. Of a single seed s counts as 0; NaN where there is none.
    """
    mean, n = accuracies.mean(), accuracies.count()
    variance = accuracies.var() if n > 1 else 0.0
    return math.sqrt(variance / n + mean * (1 - mean) / VALIDATION[base(dataset)]) if n else math.nan


def picked(swept: pd.DataFrame, chosen: pd.DataFrame, rules: Rules) -> dict[tuple[str, str, int], list[str]]:
    """By setting, of either kind of loss the one whose maps are nearest the prototypes on the validation split.

    Each at its weight: first those whose weight costs no accuracy, and of these by the mean SSIM over seeds. The better
    kind stands first; its loss is "the method" of the setting.
    """
    found = {}
    tried = swept.groupby([*SETTING, "loss", "weight"])["ssim"].mean()
    for key, here in groups(chosen[chosen["loss"].isin(rules.family)], SETTING):
        reached = {
            row["loss"]: (row["competitive"], ssim)
            for row in records(here)
            if not math.isnan(ssim := tried.get((*key, row["loss"], row["weight"]), math.nan))
        }
        best: dict[str, str] = {}
        for loss in sorted(reached, key=reached.__getitem__, reverse=True):
            best.setdefault(kind_of(loss), loss)
        if best:
            found[key] = [*best.values()]
    return found
