"""Which weight of a sweep is taken.

The rule was fixed before any test result was seen. It leans towards strong guidance: a weight at the edge of the margin
on the validation split may well be beyond it on the test split, so what "accuracy is competitive" says of weights that
were chosen so, it says of the rule as well.
"""

import pandas as pd

from bench.decoys import PREFIX as DECOY
from bench.params import Claims


def choose(rows: pd.DataFrame, claims: Claims) -> pd.DataFrame:
    """For each loss of a sweep, the largest weight that leaves the validation accuracy competitive.

    That is: its mean over seeds is above that of the baseline − the margin of `claims.accuracy_margin`; where no weight
    is, the least one. A weight at which a training failed is not chosen.

    Args:
        rows: sweep.csv.

    Returns:
        One row for each dataset, backbone, resolution and loss: `weight` (NaN where no training ended), `accuracy`,
        `competitive` (whether any was).
    """
    chosen = []
    place = ["dataset", "backbone", "resolution"]
    for key, here in rows.groupby(place, sort=False):
        margin = claims.accuracy_margin[str(key[0]).removeprefix(DECOY)]  # type: ignore[index]
        least = here.loc[here["loss"] == claims.baseline, "accuracy"].mean() - margin
        for loss, cell in here[here["loss"] != claims.baseline].groupby("loss", sort=False):
            means = cell.groupby("weight")["accuracy"].agg(lambda values: values.mean(skipna=False))
            good = means[means > least]
            weight = good.index.max() if len(good) else means.dropna().index.min()  # of nothing: NaN
            row = dict(zip(place, key, strict=True)) | {"loss": loss, "weight": weight, "accuracy": means.get(weight)}
            chosen.append(row | {"competitive": len(good) > 0})
    return pd.DataFrame(chosen, columns=[*place, "loss", "weight", "accuracy", "competitive"])
