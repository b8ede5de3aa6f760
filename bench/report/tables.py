"""The tables of what the cells and sweeps measured: reconstruction, saliency, other methods and the weights.

In place of a missing number there is a word, and the reason is below the table. Losses keep the grid's order and no
value is set in bold: which loss is best is a question for a test, not for a typeface.
"""

import math
from collections.abc import Sequence

import pandas as pd

from bench import paper
from bench.names import COMPARISONS, METRICS, Metric, has_cue, shown
from bench.params import Params
from bench.report.frames import groups, having, in_order, records
from bench.report.rendering import NONE, Block, Table, decimals
from bench.report.results import (
    CELL,
    SETTING,
    absence,
    by_cell,
    finished,
    means,
    split_names,
    weight_means,
)
from bench.statistics import Interval


def _in_groups(*names: str) -> tuple[str, ...]:
    return tuple(metric.name for metric in METRICS.values() if metric.group in names)


ACCURACY = _in_groups("accuracy")
RECONSTRUCTION = _in_groups("reconstruction")
DECOYED = _in_groups("decoy")
SALIENCY = _in_groups("saliency", "count")
#: The same metrics by Grad-CAM, then by the others.
METHODS = ("ssim", "epg_ink", "decoy_mass", *_in_groups("method"))
#: The columns of the reconstruction table; its CSV has all of that group.
_SHOWN = (*COMPARISONS, "ssim_nonzero", *(f"class_mean_{name}" for name in COMPARISONS), "zero_map_rate")
_SWEPT = ("accuracy", "specificity")

_PAPER = f"The paper's own numbers: {paper.NUMBERS}."
_SPREAD = "mean ± half-width of the 95 % Student t interval over n seeds, without ± where only one seed has a value"


def summary(cells: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Tidy: one row per cell and metric, with mean, low, high, n (seeds with a value), seeds (expected) and status."""
    rows = []
    for key, cell in by_cell(cells):
        about, rest = dict(zip(CELL, key, strict=True)), {"seeds": len(cell), "status": _problem(cell) or "ok"}
        for metric, (found, n) in zip(metrics, means(cell, metrics), strict=True):
            rows.append({**about, "metric": metric, **found._asdict(), "n": n, **rest})
    return pd.DataFrame(rows)


def reconstruction(cells: pd.DataFrame, bounds: pd.DataFrame) -> Table:
    """How near the maps come to the class prototypes: a block per dataset × resolution, floors and ceilings below."""
    blocks, lacking = [], []
    for (dataset, resolution), group in groups(cells, ["dataset", "resolution"]):
        title = f"{shown(dataset)}, {resolution} px"
        here = having(bounds, dataset=dataset, resolution=resolution)
        rows = [_metrics_row(cell, [METRICS[name] for name in _SHOWN]) for _, cell in by_cell(group)]
        frame = pd.DataFrame(rows + _bound_rows(here))
        rule = len(rows) if len(here) else None
        blocks.append(Block(f"Reconstruction of the class prototypes: {title}", frame, rule))
        lacking += [f"{title}: {what}." for what in _lacking_bounds(here, in_order(group, "backbone"))]
    notes = [
        f"Test maps of the true label against the prototype of their class, in [0, 1]: {_SPREAD}. L2 is the mean"
        " squared error. The first columns are means over images; class-mean columns compare the mean map of each"
        " class.",
        "A floor is a map that knows nothing of the image: all images of a class have the same one. A ceiling is what"
        " the best single map of a grid reaches, for each distance by itself; a class mean, which need not span [0, 1]"
        " as a single map does, can lie above it.",
        "Different resolutions are not comparable: SSIM rises with resolution from the black background alone.",
        _PAPER,
        *lacking,
        *problems(cells),
    ]
    return Table("reconstruction", _reconstruction_tidy(cells, bounds), blocks, notes)


def saliency(cells: pd.DataFrame) -> Table:
    """What the maps show: a block per dataset × resolution, all losses, controls and baselines in one."""
    from bench.cell.evaluation import PROBED  # with torch, which nothing else here needs

    blocks = []
    for (dataset, resolution), group in groups(cells, ["dataset", "resolution"]):
        columns = [METRICS[name] for name in (DECOYED if has_cue(dataset) else ["accuracy"])]
        columns = [*columns, *(METRICS[name] for name in SALIENCY if name != "road" or group["road"].notna().any())]
        rows = [_metrics_row(cell, columns) for _, cell in by_cell(group)]
        blocks.append(Block(f"Maps on {shown(dataset)}, {resolution} px", pd.DataFrame(rows)))
    notes = [
        f"Test maps of the true label, on the first {PROBED} test images of a fixed random order, or on all where there"
        f" are fewer; accuracies on all test images: {_SPREAD}. bench/cell/saliency.py has the formulas.",
        "Decoy accuracy: with a patch whose grey names the label in training and a random one in the test. Flips: share"
        " of predictions that change when only the patch's grey does. Decoy mass: the patch's share of the map,"
        f" {METRICS['decoy_mass'].chance:g} % by chance.",
        "Energy on ink: share of the map on the image's foreground. Specificity: that, less the same map's energy on"
        f" the ink of other images of the class; {METRICS['specificity'].chance:g} for a map that is its class's"
        " template. Coherence: correlation of maps within a class, less that between classes, which a template makes"
        " largest. ROAD: accuracy with the least relevant pixels removed, less that with the most relevant.",
        "Undefined maps: how many, as a mean over seeds, have no mass and are left out of every column about maps. Lone"
        " images are alone in their class, and have no specificity.",
        "Energy on ink and the baselines rrr and hint know each image's ink; the other losses know labels alone."
        " oracle-ssim knows the prototypes without decoys. The targets of permuted, global mean, blob and noise do not"
        " show the class.",
        *problems(cells),
    ]
    tidy = summary(cells, ["accuracy", *DECOYED, *SALIENCY])
    return Table("saliency", tidy, blocks, notes)


def methods(cells: pd.DataFrame) -> Table:
    """Maps by methods that no loss guides, of the cells that have them: is it the map that changed, or the model?"""
    from bench.cell.evaluation import PROBED  # with torch, which nothing else here needs

    blocks = []
    for (dataset, resolution), group in groups(cells, ["dataset", "resolution"]):
        names = [name for name in METHODS if has_cue(dataset) or not name.endswith("decoy_mass")]
        rows = [_metrics_row(cell, [METRICS[name] for name in names]) for _, cell in by_cell(group)]
        blocks.append(Block(f"Maps by other methods on {shown(dataset)}, {resolution} px", pd.DataFrame(rows)))
    notes = [
        "Grad-CAM is what the losses guide. HiResCAM and LayerCAM read the same layer of the same models, and no loss"
        " has seen them: what moves them as well has changed the model, not its map alone.",
        f"Maps of the true label: {_SPREAD}. SSIM is to the class's prototype; Grad-CAM's over all test images, all"
        f" else over the first {PROBED} of a fixed random order, or all where there are fewer.",
        *problems(cells),
    ]
    return Table("methods", summary(cells, METHODS), blocks, notes)


def sweep(rows: pd.DataFrame, chosen: pd.DataFrame, profile: Params) -> Table:
    """What each weight reaches on the validation split: a block for each setting and metric.

    Args:
        rows: sweep.csv.
        chosen: what `bench.report.choice.choose` makes of it, with the weights `used` where those are known.
        profile: what both were trained with.
    """
    blocks = []
    for (dataset, backbone, resolution), here in groups(rows, SETTING):
        mine = having(chosen, dataset=dataset, backbone=backbone, resolution=resolution)
        setting = f"{shown(dataset)}, {shown(backbone)}, {resolution} px"
        for metric in (METRICS[name] for name in _SWEPT):
            title = f"Validation {metric.heading}, by weight: {setting}"
            blocks.append(Block(title, _by_weight(here, mine, metric)))
    notes = [
        f"Means over {rows['seed'].nunique()} seeds; each loss has the same weights, seeds and training, of"
        f" {_epochs(profile)}. The test split is not looked at. {NONE}: not tried.",
        "Chosen: of the weights whose mean accuracy is at least that of ce less one standard error, over seeds and"
        " validation images, the one that brings the loss's own regulariser lowest; where there is none, the least"
        " weight, and (none competes).",
        *(
            f"{row['loss']}, weight {row['weight']:g}, seed {row['seed']:g}: {row['status']}."
            if pd.notna(row["weight"])
            else f"{row['loss']}: {row['status']}."
            for row in records(rows[rows["status"] != "ok"])
        ),
    ]
    return Table("sweep", rows, blocks, notes)


def _epochs(profile: Params) -> str:
    """How long a weight is tried, beside how long the cells train."""
    cells = profile.swept()
    tried = {sweep.epochs for sweep in profile.sweeps().values() if sweep.cells()}
    trained = {profile.trained(cell.backbone, cell.resolution).epochs for cell in cells}
    words = [" or ".join(map(str, sorted(epochs))) for epochs in (tried, trained)]
    return f"{words[0]} epochs, where a cell has {words[1]}"


def _by_weight(rows: pd.DataFrame, chosen: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """A row for each loss, a column for each weight; ce has weight 0."""
    weights = sorted(rows["weight"].dropna().unique())
    lines = []
    for (loss,), here in groups(rows, ["loss"]):
        tried = weight_means(here, [metric.name]).droplevel("loss")[metric.name]
        line = {"loss": loss}
        for weight in weights:
            mean = float(tried.get(weight, math.nan))
            line[f"{weight:g}"] = _untried(here, weight) if math.isnan(mean) else _rounded(mean, metric)
        for row in records(chosen[(chosen["loss"] == loss) & chosen["weight"].notna()]):
            line["chosen"] = f"{row['weight']:g}" + ("" if row["competitive"] else " (none competes)")
            if row.get("used", row["weight"]) != row["weight"]:
                line["chosen"] += f" (the cells have {row['used']:g})"
        lines.append(line)
    return pd.DataFrame(lines).fillna(NONE)


def _untried(rows: pd.DataFrame, weight: float) -> str:
    """Why a loss has no mean at a weight, in a word."""
    tried = rows[rows["weight"] == weight]
    if len(finished(tried)) < len(tried):
        return "failed"
    return "undefined" if len(tried) else NONE


def _metrics_row(cell: pd.DataFrame, metrics: Sequence[Metric]) -> dict[str, str]:
    """A cell as one row, with a column for each metric."""
    done = len(finished(cell))
    first = cell.iloc[0]
    row = {"backbone": shown(first["backbone"]), "loss": first["loss"], "n": _count(done, len(cell))}
    for metric, (found, n) in zip(metrics, means(cell, [metric.name for metric in metrics]), strict=True):
        if n:
            # A finished seed can be without a value: where all maps are zero, there is none over the non-zero ones.
            row[metric.heading] = _number(found, metric) + ("" if n == done else f" (n={n})")
        else:
            row[metric.heading] = NONE if done else absence(cell)
    return row


def _bound_rows(bounds: pd.DataFrame) -> list[dict[str, str]]:
    """The floors, then the ceilings, as rows of the reconstruction table."""
    rows = []
    for kind in ("floor", "ceiling"):
        for bound in records(bounds[bounds["kind"] == kind]):
            names = ", ".join(shown(name) for name in split_names(bound["backbones"]))
            row = {"backbone": kind, "loss": f"{bound['name']} ({names})" if names else bound["name"], "n": NONE}
            for metric in (METRICS[name] for name in _SHOWN):
                value = bound.get(metric.name, math.nan)
                row[metric.heading] = NONE if math.isnan(value) else _rounded(value, metric)
            rows.append(row)
    return rows


def _lacking_bounds(bounds: pd.DataFrame, backbones: Sequence[str]) -> list[str]:
    """What a block should have below it and has not."""
    ceilings = bounds[bounds["kind"] == "ceiling"]
    covered = {name for names in ceilings["backbones"] for name in split_names(names)}
    lacking = [] if (bounds["kind"] == "floor").any() else ["the floors are missing"]
    return lacking + [f"the ceiling of {shown(name)}'s grid is missing" for name in backbones if name not in covered]


def _reconstruction_tidy(cells: pd.DataFrame, bounds: pd.DataFrame) -> pd.DataFrame:
    """`summary`, with floors and ceilings as further rows; `kind` says which, and `name` is the loss or the bound."""
    losses = summary(cells, RECONSTRUCTION).rename(columns={"loss": "name"})
    losses.insert(3, "kind", "loss")
    long = bounds.rename(columns={"backbones": "backbone"}).melt(
        [*SETTING, "kind", "name"], COMPARISONS, "metric", "mean"
    )
    here = long.merge(cells[["dataset", "resolution"]].drop_duplicates(), on=["dataset", "resolution"])
    counts = {"n": "Int64", "seeds": "Int64"}  # empty in the rows of the bounds
    return pd.concat([losses, here.reindex(columns=losses.columns)], ignore_index=True).astype(counts)


def _problem(cell: pd.DataFrame) -> str:
    """The whole of what is wrong with a cell, with its seeds; "" if nothing is."""
    by_status: dict[str, list[str]] = {}
    for status, seed in zip(cell["status"], cell["seed"], strict=True):
        if status != "ok":
            by_status.setdefault(" ".join(str(status).split()), []).append(str(seed))
    return "; ".join(
        f"{status} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})" for status, seeds in by_status.items()
    )


def problems(cells: pd.DataFrame) -> list[str]:
    """A note for the cells of each setting that lack some of their seeds for the same reason."""
    losses: dict[tuple[str, str], list[str]] = {}
    for (dataset, backbone, resolution, loss), cell in by_cell(cells):
        if found := _problem(cell):
            setting = f"{shown(dataset)}, {shown(backbone)}, {resolution} px"
            losses.setdefault((setting, found), []).append(loss)
    return [f"{setting}, {', '.join(these)}: {found}." for (setting, found), these in losses.items()]


def _number(found: Interval, metric: Metric) -> str:
    """mean ± half-width, or the mean alone where there is no interval."""
    mean = _rounded(found.mean, metric)
    return mean if math.isnan(found.half_width) else f"{mean} ± {_rounded(found.half_width, metric)}"


def _rounded(value: float, metric: Metric) -> str:
    return decimals(value * metric.factor, metric.decimals)


def _count(n: int, seeds: int) -> str:
    return str(n) if n == seeds else f"{n} of {seeds}"
