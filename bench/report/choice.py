"""Which weight of a sweep is taken.

The rule was fixed before any test result was seen. It leans towards strong guidance: a weight at the edge of the margin
on the validation split may well be beyond it on the test split, so what "accuracy is competitive" says of weights that
were chosen so, it says of the rule as well.
"""

import pandas as pd

from bench.names import DECOY
from bench.report.claims.rules import Rules
from bench.report.frames import groups
from bench.report.results import SETTING


def choose(swept: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """For each loss of a sweep, the largest weight that leaves the validation accuracy competitive.

    That is: its mean over seeds is above that of the baseline − the margin of `rules.accuracy_margin`; where no weight
    is, the least one. A weight at which a training failed is not chosen.

    Args:
        swept: sweep.csv.
        rules: the baseline and the margins.

    Returns:
        One row for each dataset, backbone, resolution and loss: `weight` (NaN where no training ended), `accuracy`,
        `competitive` (whether any was).
    """
    chosen = []
    for key, here in groups(swept, SETTING):
        margin = rules.accuracy_margin[key[0].removeprefix(DECOY)]
        least = here.loc[here["loss"] == rules.baseline, "accuracy"].mean() - margin
        for (loss,), tried in groups(here[here["loss"] != rules.baseline], ["loss"]):
            means = tried.groupby("weight")["accuracy"].agg(lambda values: values.mean(skipna=False))
            good = means[means > least]
            weight = good.index.max() if len(good) else means.dropna().index.min()  # of nothing: NaN
            row = dict(zip(SETTING, key, strict=True)) | {"loss": loss, "weight": weight}
            chosen.append(row | {"accuracy": means.get(weight), "competitive": len(good) > 0})
    return pd.DataFrame(chosen, columns=[*SETTING, "loss", "weight", "accuracy", "competitive"])
