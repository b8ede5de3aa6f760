"""The paper's tables: a row for each dataset, backbone and resolution, a column for each loss."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from bench import paper
from bench.names import COMPARISONS, LOSSES, METRICS, Metric, shown
from bench.params import Params
from bench.report.frames import groups, having, in_order
from bench.report.rendering import NONE, Block, Table, amount, decimals
from bench.report.results import SETTING, Mean, absence, has_grid, means
from bench.report.tables import ACCURACY, problems, summary
from bench.statistics import Interval

#: What stands under the heading of `usual`.
USUAL = f"Usual for ce: the accuracy in %, to one decimal, {paper.USUAL_IS}"
#: Where a profile's weights and picks are from that tries none itself.
FROM_EVIDENCE = "in the profile evidence, with SimpleCNN at 23 px; nothing was tuned for other rows"
#: Behind the best of a row, and behind every mean that lies within the interval of the best.
BEST = " *"


def compared(cells: pd.DataFrame, bounds: pd.DataFrame, profile: Params) -> Table:
    """Accuracy and reconstruction, a block each: settings in rows, losses in columns, floor and ceiling at the end.

    Args:
        cells: cells.csv, of the paper's losses and the controls that are to stand beside them.
        bounds: bounds.csv.
        profile: what they were trained with.
    """
    blocks = []
    for metric in (METRICS[name] for name in ("accuracy", *COMPARISONS)):
        rows = []
        for (dataset, backbone, resolution), here in groups(cells, SETTING):
            by_loss = {loss: cell for (loss,), cell in groups(here, ["loss"])}
            seeds = max(len(cell) for cell in by_loss.values())
            row = {"dataset": shown(dataset), "backbone": shown(backbone), "px": str(resolution), "n": str(seeds)}
            row |= _texts(by_loss, metric, seeds)
            if metric.name == "accuracy":
                row |= usual(dataset, backbone)
            else:
                row |= between(having(bounds, dataset=dataset, resolution=resolution), backbone, metric)
            rows.append(row)
        blocks.append(Block(f"Test {metric.heading}", _in_columns(rows, in_order(cells, "loss"))))
    notes = [
        "Mean ± half-width of the 95 % Student t interval over n seeds, without ± where only one seed has a value; a"
        " cell with fewer seeds says so. * marks the best of the paper's losses in a row, and those whose mean lies"
        " within the interval of the best. Seeds are paired across losses (same initialisation, order and split), so"
        " the tests in claims.md, seed by seed, see more than whether these intervals overlap.",
        "Accuracy is the share of the test images classified correctly, in %. L1, L2 (the mean squared error) and SSIM"
        " compare each test image's map of its true label with the prototype of that class. Floor: the best of the maps"
        " that know nothing of the image. Ceiling: the best single map of that backbone's grid; where it is worse than"
        " the floor, that grid is too coarse to come as near as one fixed picture of full resolution does. Different"
        " resolutions are not comparable: SSIM rises with resolution from the black background alone.",
        *_outside(cells, profile),
        *([f"The weight of each loss was picked {FROM_EVIDENCE}."] if profile.picked else []),
        f"The paper's own numbers: {paper.NUMBERS}.",
        *problems(cells),
    ]
    return Table("losses", summary(cells, [*ACCURACY, *COMPARISONS]), blocks, notes)


def _texts(by_loss: Mapping[str, pd.DataFrame], metric: Metric, seeds: int) -> dict[str, str]:
    """Each mean with its interval, and the number of seeds where it is not the row's; or why there is none."""
    found = {loss: mean_of(cell, metric) for loss, cell in by_loss.items()}
    best = _best({loss: one.interval for loss, one in found.items() if one.n}, metric)
    return {
        loss: (text_of(one, metric, seeds) if one.n else absence(by_loss[loss]) or NONE)
        + (BEST if loss in best else "")
        for loss, one in found.items()
    }


def _best(known: Mapping[str, Interval], metric: Metric) -> set[str]:
    """The best of the paper's losses, and those whose mean lies within its interval; without an interval, none."""
    judged = {loss: one for loss, one in known.items() if LOSSES[loss].group == "paper"}
    if len(judged) < 2:
        return set()
    choose = max if metric.better == "more" else min
    best = choose(judged.values(), key=lambda one: one.mean)
    return {loss for loss, one in judged.items() if best.low <= one.mean <= best.high}


def mean_of(cell: pd.DataFrame, metric: Metric) -> Mean:
    """In the metric's unit."""
    ((found, n),) = means(cell, [metric.name])
    return Mean(Interval(*(metric.factor * value for value in found)), n)


def text_of(one: Mean, metric: Metric, seeds: int) -> str:
    """97.22 ± 0.31 (n=4)."""
    digits, (interval, n) = metric.decimals, one
    spread = "" if math.isnan(interval.half_width) else f" ± {decimals(interval.half_width, digits)}"
    return f"{decimals(interval.mean, digits)}{spread}" + ("" if n == seeds else f" (n={n} of {seeds})")


def between(bounds: pd.DataFrame, backbone: str, metric: Metric) -> dict[str, str]:
    """The best floor and the ceiling of a backbone's grid."""
    best = max if metric.better == "more" else min
    floors = bounds.loc[bounds["kind"] == "floor", metric.name].dropna().tolist()
    ceilings = bounds.loc[(bounds["kind"] == "ceiling") & has_grid(bounds, backbone), metric.name].dropna().tolist()
    ends = {"floor": floors, "ceiling": ceilings}
    return {name: decimals(best(values), metric.decimals) if values else NONE for name, values in ends.items()}


def _in_columns(rows: Sequence[dict[str, str]], losses: Sequence[str]) -> pd.DataFrame:
    """Losses in the grid's order between what a row is of and what it is held against."""
    frame = pd.DataFrame(rows).fillna(NONE)
    first = ["dataset", "backbone", "px", "n"]
    last = [name for name in frame if name not in first and name not in losses]
    return frame[[*first, *losses, *last]]


def usual(dataset: str, backbone: str) -> dict[str, str]:
    """The accuracy that cross-entropy usually reaches, in %, under its heading; nothing where that is not known."""
    if (dataset, backbone) not in paper.USUAL:
        return {}
    low, high = paper.USUAL[dataset, backbone]
    return {"usual for ce": f"{low:g} to {high:g}"}


def _outside(cells: pd.DataFrame, profile: Params) -> list[str]:
    """What the usual range is, and which baselines lie outside of theirs, with what they were trained on."""
    found, known = [], False
    for (dataset, backbone, resolution), here in groups(having(cells, loss="ce"), SETTING):
        if (dataset, backbone) not in paper.USUAL:
            continue
        known = True
        (reached, n), (low, high) = mean_of(here, METRICS["accuracy"]), paper.USUAL[dataset, backbone]
        if n and not low <= round(reached.mean, 1) <= high:  # to the precision of the ranges
            trained = ", ".join(amount(profile.trained(backbone, resolution)))
            found.append(f"{shown(dataset)}, {shown(backbone)}, {resolution} px ({reached.mean:.1f}; {trained})")
    outside = f"Outside it: {'; '.join(found)}" if found else "None lies outside it"
    return [f"{USUAL}. {outside}."] if known else []
