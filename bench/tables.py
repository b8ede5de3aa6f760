"""The tables: accuracy, reconstruction and saliency, mean ± interval over seeds, as CSV, Markdown and LaTeX.

The CSV files are tidy and unrounded, with the names of the parameters; Markdown and LaTeX are for readers. A missing
number is told where it would stand, and the reason beneath the table. Losses keep the grid's order and no value is set
in bold: which loss is best is a question for a test, not for a typeface.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.collect import BOUNDS, COMPARISONS, METRICS, SALIENCY, SWEPT
from bench.decoys import PREFIX as DECOY
from bench.errors import BenchError
from bench.evaluate import PROBED
from bench.intervals import Interval, mean_interval
from bench.sweep import METRICS as SWEPT_METRICS

ACCURACY = ("accuracy", "worst_class_accuracy")
RECONSTRUCTION = tuple(m for m in METRICS if m not in (*ACCURACY, *SALIENCY))
CELL = ("dataset", "backbone", "resolution", "loss")

#: How the names of the parameters are written for readers.
DISPLAY = {
    "digits": "digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "simple_cnn": "SimpleCNN",
    "resnet18": "ResNet-18",
    "convnextv2_tiny": "ConvNeXt-V2-Tiny",
    "decoy_digits": "decoy digits",
    "decoy_mnist": "decoy MNIST",
    "decoy_fashion_mnist": "decoy Fashion-MNIST",
    "resnet18_earlier": "ResNet-18, one stage earlier",
    "convnextv2_tiny_earlier": "ConvNeXt-V2-Tiny, one stage earlier",
}

#: Columns of the reconstruction table: metric → (heading, factor, decimals). ↑ means that more is better.
_SHOWN = {
    "l1": ("L1 ↓", 1, 3),
    "l2": ("L2 ↓", 1, 3),
    "ssim": ("SSIM ↑", 1, 3),
    "ssim_nonzero": ("SSIM of non-zero maps ↑", 1, 3),
    "class_mean_l1": ("class-mean L1 ↓", 1, 3),
    "class_mean_l2": ("class-mean L2 ↓", 1, 3),
    "class_mean_ssim": ("class-mean SSIM ↑", 1, 3),
    "zero_map_rate": ("zero maps, %", 100, 1),
}

#: The same of the saliency table; the first ones only where there are decoys.
_DECOYED = {
    "decoy_accuracy": ("decoy accuracy, % ↑", 100, 2),
    "clean_accuracy": ("without decoys, % ↑", 100, 2),
    "decoy_gap": ("lost to decoys, points ↓", 100, 2),
    "decoy_flip_rate": ("flips with the decoy, % ↓", 100, 1),
    "decoy_mass": ("decoy mass, % ↓", 100, 2),
}
_SALIENT = {
    "epg_ink": ("energy on ink ↑", 1, 3),
    "specificity": ("specificity ↑", 1, 3),
    "coherence": ("coherence ↑", 1, 3),
    "road": ("ROAD ↑", 1, 3),
    "undefined_maps": ("undefined maps", 1, 1),
    "lone_images": ("lone images", 1, 0),
}

_NONE = "–"
_PAPER = "The paper's own numbers: not available (only its abstracts and figure captions could be read)."
_SPREAD = "mean ± half-width of the 95 % Student t interval over n seeds, without ± where only one seed has a value"

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "±": "$\\pm$",
    "×": "$\\times$",
    "÷": "$\\div$",
    "−": "$-$",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
    "–": "--",
    "—": "---",
    "…": "\\ldots{}",
}


class Block(NamedTuple):
    """What is printed as one table: a title, the cells as text, and the row that a rule goes above, if any."""

    title: str
    cells: pd.DataFrame
    rule_above: int | None


class Table(NamedTuple):
    """One table: the stem of its files, its tidy numbers, what readers see, and the notes beneath."""

    name: str
    tidy: pd.DataFrame
    blocks: list[Block]
    notes: list[str]


def read_cells(path: Path) -> pd.DataFrame:
    """cells.csv; raise `BenchError` if it is missing or is not what `collect` writes."""
    return _read(path, [*CELL, "seed", "status", *METRICS])


def read_bounds(path: Path) -> pd.DataFrame:
    """bounds.csv, which may have no rows; raise `BenchError` if it is missing or is not what `collect` writes."""
    return _read(path, BOUNDS, may_be_empty=True)


def read_sweep(path: Path) -> pd.DataFrame:
    """sweep.csv, which may have no rows; raise `BenchError` if it is missing or is not what `collect` writes."""
    return _read(path, [*SWEPT, *SWEPT_METRICS], may_be_empty=True)


def _read(path: Path, columns: Sequence[str], may_be_empty: bool = False) -> pd.DataFrame:
    """A CSV file with at least these columns, and, but where it may be empty, at least one row."""
    remedy = "python -m bench collect makes it"
    if not path.is_file():
        raise BenchError(f"{path} is not there: {remedy}")
    try:
        frame = pd.read_csv(path, dtype={"status": str, "backbones": str})
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be read ({' '.join(str(error).split())}): {remedy} anew") from error
    absent = [column for column in columns if column not in frame]
    if absent or (frame.empty and not may_be_empty):
        raise BenchError(f"{path} lacks {', '.join(absent) if absent else 'rows'}: {remedy} anew")
    return frame.fillna({"status": "", "backbones": ""})


def shown(name: str) -> str:
    """A dataset's or backbone's name as readers know it."""
    return DISPLAY.get(name, name)


def in_order(cells: pd.DataFrame, column: str) -> list[Any]:
    """The values of a column in the order of the grid, which is that of the file."""
    return cells[column].drop_duplicates().tolist()


def finished(cell: pd.DataFrame) -> pd.DataFrame:
    """The seeds of a cell that have results."""
    return cell[cell["status"] == "ok"]


def absence(cell: pd.DataFrame) -> str:
    """In a word or two, why seeds of a cell have no results: "missing", "failed"; "" if all have."""
    statuses = cell.loc[cell["status"] != "ok", "status"]
    return ", ".join(dict.fromkeys(str(status).split(":")[0].strip() or "no status" for status in statuses))


def interval(cell: pd.DataFrame, metric: str) -> tuple[Interval, int]:
    """Mean and interval of a metric over the finished seeds of a cell, and over how many."""
    values = finished(cell)[metric].dropna().tolist()
    return mean_interval(values), len(values)


def summary(cells: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """Tidy: one row per cell and metric, with mean, low, high, n (seeds with a value), seeds (expected) and status."""
    rows = []
    for key, cell in _by_cell(cells):
        for metric in metrics:
            found, n = interval(cell, metric)
            row = dict(zip(CELL, key, strict=True)) | {"metric": metric} | found._asdict()
            rows.append(row | {"n": n, "seeds": len(cell), "status": _problem(cell) or "ok"})
    return pd.DataFrame(rows)


def accuracy(cells: pd.DataFrame) -> Table:
    """Test accuracy in %: rows dataset × backbone × resolution, columns the losses."""
    losses = in_order(cells, "loss")
    rows = []
    for (dataset, backbone, resolution), group in groups(cells, CELL[:3]):
        by_loss = dict(groups(group, ["loss"]))
        seeds = max(len(cell) for cell in by_loss.values())
        row = {"dataset": shown(dataset), "backbone": shown(backbone), "px": str(resolution), "n": str(seeds)}
        rows.append(row | {loss: _accuracy(by_loss[loss,], seeds) if (loss,) in by_loss else _NONE for loss in losses})
    notes = [
        f"Share of the test images classified correctly, in %: {_SPREAD}. A cell with fewer seeds says so.",
        "Seeds are paired across losses (same initialisation, order and split), so losses are compared by their"
        " differences seed by seed, not by whether their intervals overlap.",
        _PAPER,
        *_problems(cells),
    ]
    return Table("accuracy", summary(cells, ACCURACY), [Block("Test accuracy in %", pd.DataFrame(rows), None)], notes)


def reconstruction(cells: pd.DataFrame, bounds: pd.DataFrame) -> Table:
    """How near the maps come to the class prototypes: a block per dataset × resolution, floors and ceilings beneath."""
    blocks, lacking = [], []
    for (dataset, resolution), group in groups(cells, ["dataset", "resolution"]):
        title = f"{shown(dataset)}, {resolution} px"
        here = bounds[(bounds["dataset"] == dataset) & (bounds["resolution"] == resolution)]
        rows = [_metrics_row(cell, _SHOWN) for _, cell in _by_cell(group)]
        frame = pd.DataFrame(rows + _bound_rows(here))
        blocks.append(
            Block(f"Reconstruction of the class prototypes: {title}", frame, len(rows) if len(here) else None)
        )
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
        *_problems(cells),
    ]
    return Table("reconstruction", _reconstruction_tidy(cells, bounds), blocks, notes)


def saliency(cells: pd.DataFrame) -> Table:
    """What the maps show: a block per dataset × resolution, all losses, controls and baselines beneath each other."""
    cells = cells.assign(decoy_gap=cells["clean_accuracy"] - cells["decoy_accuracy"])
    blocks = []
    for (dataset, resolution), group in groups(cells, ["dataset", "resolution"]):
        decoyed = str(dataset).startswith(DECOY)
        columns = (_DECOYED if decoyed else {"accuracy": ("accuracy, % ↑", 100, 2)}) | _SALIENT
        if group["road"].isna().all():
            del columns["road"]
        rows = [_metrics_row(cell, columns) for _, cell in _by_cell(group)]
        blocks.append(Block(f"Maps on {shown(dataset)}, {resolution} px", pd.DataFrame(rows), None))
    notes = [
        f"Test maps of the true label, on the first {PROBED} test images of a fixed random order, or on all where there"
        f" are fewer; accuracies on all test images: {_SPREAD}. bench/saliency.py has the formulas.",
        "Decoy accuracy: with a patch whose grey names the label in training and a random one in the test. Flips: share"
        " of predictions that change when only the patch's grey does. Decoy mass: the patch's share of the map, 2.04 %"
        " by chance.",
        "Energy on ink: share of the map on the image's foreground. Specificity: that, less the same map's energy on"
        " the ink of other images of the class; 0 for a map that is its class's template. Coherence: correlation of"
        " maps within a class, less that between classes, which a template makes largest. ROAD: accuracy with the least"
        " relevant pixels removed, less that with the most relevant.",
        "Undefined maps: how many, as a mean over seeds, have no mass and are left out of every column about maps. Lone"
        " images are alone in their class, and have no specificity.",
        "Energy on ink and the baselines rrr and hint know each image's ink; the other losses know labels alone."
        " oracle-ssim knows the prototypes without decoys. The targets of permuted, global mean, blob and noise do not"
        " show the class.",
        *_problems(cells),
    ]
    return Table("saliency", summary(cells, ["accuracy", "decoy_gap", *SALIENCY]), blocks, notes)


def sweep(rows: pd.DataFrame, chosen: pd.DataFrame) -> Table:
    """What each weight reaches on the validation split: a block for the accuracy, and one for the specificity."""
    blocks = []
    place = ["dataset", "backbone", "resolution"]
    for key, here in groups(rows, place):
        title = f"{shown(key[0])}, {shown(key[1])}, {key[2]} px"
        mine = chosen[(chosen[place] == pd.Series(dict(zip(place, key, strict=True)))).all(axis=1)]
        for metric, what, factor, decimals in (
            ("accuracy", "accuracy in %", 100, 2),
            ("specificity", "instance specificity", 1, 3),
        ):
            frame = _by_weight(here, mine, metric, factor, decimals)
            blocks.append(Block(f"Validation {what} by weight: {title}", frame, None))
    notes = [
        f"Means over {rows['seed'].nunique()} seeds; each loss has the same weights, seeds and training. The test split"
        " is not looked at. –: not tried.",
        "Chosen: the largest weight with a mean accuracy above that of ce − the margin of the claims; where there is"
        " none, the least weight, and (none competes).",
        *(
            f"{row['loss']}, weight {row['weight']:g}, seed {row['seed']:g}: {row['status']}."
            if pd.notna(row["weight"])
            else f"{row['loss']}: {row['status']}."
            for row in rows[rows["status"] != "ok"].to_dict("records")
        ),
    ]
    return Table("sweep", rows, blocks, notes)


def weight_means(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Means over seeds by loss and weight of a sweep; NaN for a weight at which a seed failed."""
    groups = rows.groupby(["loss", "weight"])
    found = groups[list(metrics)]
    return found.mean().where(found.count().eq(groups.size(), axis=0))


def _by_weight(rows: pd.DataFrame, chosen: pd.DataFrame, metric: str, factor: float, decimals: int) -> pd.DataFrame:
    """A row for each loss, a column for each weight; ce stands under weight 0."""
    weights = sorted(rows["weight"].dropna().unique())
    lines = []
    for loss in in_order(rows, "loss"):
        means = weight_means(rows[rows["loss"] == loss], [metric]).droplevel("loss")[metric]
        line = {"loss": loss}
        for weight in weights:
            mean = means.get(weight, math.nan)
            tried = rows[(rows["loss"] == loss) & (rows["weight"] == weight)]
            word = "failed" if len(finished(tried)) < len(tried) else "undefined" if len(tried) else _NONE
            line[f"{weight:g}"] = word if math.isnan(mean) else f"{mean * factor:.{decimals}f}"
        for row in chosen[(chosen["loss"] == loss) & chosen["weight"].notna()].to_dict("records"):
            line["chosen"] = f"{row['weight']:g}" + ("" if row["competitive"] else " (none competes)")
            if row.get("used", row["weight"]) != row["weight"]:
                line["chosen"] += f" (the cells have {row['used']:g})"
        lines.append(line)
    return pd.DataFrame(lines).fillna(_NONE)


def write(table: Table, directory: Path) -> None:
    """<name>.csv, <name>.md and <name>.tex."""
    table.tidy.to_csv(directory / f"{table.name}.csv", index=False, lineterminator="\n")
    (directory / f"{table.name}.md").write_text(markdown(table), "utf-8", newline="\n")
    (directory / f"{table.name}.tex").write_text(latex(table), "utf-8", newline="\n")


def markdown(table: Table) -> str:
    """Titles, tables and notes in GitHub's Markdown."""
    parts = []
    for block in table.blocks:
        cells = block.cells.map(lambda text: text.replace("|", "\\|"))
        parts.append(f"**{block.title}**")
        parts.append(cells.to_markdown(index=False, disable_numparse=True, colalign=_alignment(block.cells)))
    parts.append("\n".join(f"* {note}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def latex(table: Table) -> str:
    r"""One floating table per block, the notes under the last; to be `\input`."""
    parts = ["% \\usepackage{booktabs,graphicx}"]
    for number, block in enumerate(table.blocks, 1):
        notes = [_escape(note) for note in table.notes] if number == len(table.blocks) else []
        label = f"tab:{table.name}" + (f"-{number}" if len(table.blocks) > 1 else "")
        below = "".join(f"\\par\\smallskip{{\\footnotesize\\raggedright {note}\\par}}\n" for note in notes)
        parts.append(
            f"\\begin{{table}}[htbp]\n\\centering\n\\caption{{{_escape(block.title)}}}\n\\label{{{label}}}\n"
            f"\\resizebox{{\\textwidth}}{{!}}{{%\n{_tabular(block)}}}\n{below}\\end{{table}}"
        )
    return "\n\n".join(parts) + "\n"


def groups(cells: pd.DataFrame, columns: Sequence[str]) -> Iterable[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Rows that agree in these columns, by the first column's order, then the next one's; each order is the grid's."""
    order = {column: {value: i for i, value in enumerate(in_order(cells, column))} for column in columns}
    groups = [(key, group) for key, group in cells.groupby(list(columns), sort=False)]
    return sorted(groups, key=lambda item: [order[c][value] for c, value in zip(columns, item[0], strict=True)])


def _by_cell(cells: pd.DataFrame) -> Iterable[tuple[tuple[Any, ...], pd.DataFrame]]:
    return groups(cells, CELL)


def _accuracy(cell: pd.DataFrame, seeds: int) -> str:
    """97.22 ± 0.31, and n where it is not the row's."""
    found, n = interval(cell, "accuracy")
    if n == 0:
        return absence(cell) or _NONE
    short = "" if n == seeds else f" (n={_count(n, len(cell))})"
    return _number(found, 100, 2) + short


def _metrics_row(cell: pd.DataFrame, columns: Mapping[str, tuple[str, float, int]]) -> dict[str, str]:
    """A cell as one row, with a column for each metric."""
    done = len(finished(cell))
    first = cell.iloc[0]
    row = {"backbone": shown(first["backbone"]), "loss": first["loss"], "n": _count(done, len(cell))}
    for metric, (heading, factor, decimals) in columns.items():
        found, n = interval(cell, metric)
        # A finished seed can be without a value: where all maps are zero, there is none over the non-zero ones.
        fewer = "" if n == done else f" (n={n})"
        row[heading] = _number(found, factor, decimals) + fewer if n else _NONE if done else absence(cell)
    return row


def _bound_rows(bounds: pd.DataFrame) -> list[dict[str, str]]:
    """The floors, then the ceilings, as rows of the reconstruction table."""
    rows = []
    for kind in ("floor", "ceiling"):
        for bound in bounds[bounds["kind"] == kind].to_dict("records"):
            names = ", ".join(shown(name) for name in split_names(bound["backbones"])) if kind == "ceiling" else ""
            row = {"backbone": kind, "loss": f"{bound['name']} ({names})" if names else bound["name"], "n": _NONE}
            for metric, (heading, factor, decimals) in _SHOWN.items():
                known = metric in COMPARISONS and not math.isnan(bound[metric])
                row[heading] = f"{bound[metric] * factor:.{decimals}f}" if known else _NONE
            rows.append(row)
    return rows


def _lacking_bounds(bounds: pd.DataFrame, backbones: Sequence[str]) -> list[str]:
    """What a block should have beneath it and has not."""
    ceilings = bounds[bounds["kind"] == "ceiling"]
    covered = {name for names in ceilings["backbones"] for name in split_names(names)}
    lacking = [] if (bounds["kind"] == "floor").any() else ["the floors are missing"]
    return lacking + [f"the ceiling of {shown(name)}'s grid is missing" for name in backbones if name not in covered]


def _reconstruction_tidy(cells: pd.DataFrame, bounds: pd.DataFrame) -> pd.DataFrame:
    """`summary`, with floors and ceilings as further rows; `kind` says which, and `name` is the loss or the bound."""
    losses = summary(cells, RECONSTRUCTION).rename(columns={"loss": "name"})
    losses.insert(3, "kind", "loss")
    long = bounds.rename(columns={"backbones": "backbone"}).melt(
        ["dataset", "backbone", "resolution", "kind", "name"], COMPARISONS, "metric", "mean"
    )
    here = long.merge(cells[["dataset", "resolution"]].drop_duplicates(), on=["dataset", "resolution"])
    counts = {"n": "Int64", "seeds": "Int64"}  # empty in the rows of the bounds
    return pd.concat([losses, here.reindex(columns=losses.columns)], ignore_index=True).astype(counts)


def split_names(names: str) -> list[str]:
    """The backbones of a ceiling, from the text that names them."""
    return [name.strip() for name in names.split(",") if name.strip()]


def _problem(cell: pd.DataFrame) -> str:
    """The whole of what is wrong with a cell, with its seeds; "" if nothing is."""
    rest = cell[cell["status"] != "ok"]
    reasons = rest.groupby("status", sort=False)["seed"].apply(lambda seeds: ", ".join(map(str, seeds)))
    return "; ".join(
        f"{' '.join(str(status).split())} (seed{'s' if ',' in seeds else ''} {seeds})"
        for status, seeds in reasons.items()
    )


def _problems(cells: pd.DataFrame) -> list[str]:
    """A note for each cell that has not all its seeds."""
    notes = []
    for (dataset, backbone, resolution, loss), cell in _by_cell(cells):
        if problem := _problem(cell):
            notes.append(f"{shown(dataset)}, {shown(backbone)}, {resolution} px, {loss}: {problem}.")
    return notes


def _number(found: Interval, factor: float, decimals: int) -> str:
    """mean ± half-width, or the mean alone where there is no interval."""
    mean = f"{found.mean * factor:.{decimals}f}"
    half = found.half_width * factor
    return mean if math.isnan(half) else f"{mean} ± {half:.{decimals}f}"


def _count(n: int, seeds: int) -> str:
    return str(n) if n == seeds else f"{n} of {seeds}"


def _alignment(cells: pd.DataFrame) -> list[str]:
    """Names to the left, numbers to the right."""
    return ["left" if column in ("dataset", "backbone", "loss", "read at") else "right" for column in cells]


def _tabular(block: Block) -> str:
    """The block as a tabular with booktabs' rules."""
    escaped = block.cells.map(_escape).rename(columns=_escape)
    letters = "".join(side[0] for side in _alignment(block.cells))
    lines = escaped.style.hide(axis="index").to_latex(hrules=True, column_format=letters).splitlines(keepends=True)
    if block.rule_above is not None:
        # \begin, \toprule, the headings and \midrule come before the first row.
        lines.insert(4 + block.rule_above, "\\midrule\n")
    return "".join(lines)


def _escape(text: str) -> str:
    """Text as LaTeX prints it with its plain fonts; a character that they lack becomes a question mark."""
    return "".join(_LATEX.get(character, character if character.isascii() else "?") for character in text)
