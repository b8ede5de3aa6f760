"""From the collected numbers and the cells' maps to tables, figures and a page that shows them.

All of it is presentation: it reads what the cells measured, and computes nothing but means and intervals.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy
from matplotlib.figure import Figure
from torch import Tensor

from batchcam import resize_maps
from bench import claims, datasets, figures, images, params, tables
from bench.choice import choose
from bench.errors import BenchError
from bench.files import written_aside
from bench.params import Cell, Params
from bench.tables import Table, shown
from bench.timing import figures as timing_figures
from bench.timing import table as timing_table


class Results(NamedTuple):
    """What a profile measured: cells.csv, bounds.csv, timing.csv and sweep.csv, and where the maps are."""

    profile: Params
    cells: pd.DataFrame
    bounds: pd.DataFrame
    timing: pd.DataFrame
    swept: pd.DataFrame

    @property
    def paper(self) -> pd.DataFrame:
        """The cells of the paper's own grid, without controls, decoys and other places of the map."""
        grid = set(self.profile.grid.cells())
        return self.cells[[Cell(*key) in grid for key in self.cells[list(Cell._fields)].itertuples(index=False)]]


class Classes(NamedTuple):
    """The classes of a dataset at a resolution: their names, and prototypes (classes,px,px)."""

    dataset: str
    resolution: int
    names: tuple[str, ...]
    prototypes: Tensor


def report(params_path: Path) -> None:
    """Write tables/, figures/, claims.csv, claims.md and README.md into results/<profile>/, each whole or not at all.

    Reads cells.csv, bounds.csv, timing.csv and sweep.csv there, runs/<profile>/*/{maps,images}.safetensors and
    data/<dataset>.safetensors.
    Raises `BenchError` if one of the CSV files or a dataset is missing or damaged; a cell without results is shown as
    such. Where no cell has any yet, the page says so, and what was timed is shown all the same.
    """
    profile = params.load(params_path)
    cells = tables.read_cells(profile.results / "cells.csv")
    bounds = tables.read_bounds(profile.results / "bounds.csv")
    timing = timing_table.read(profile.results / "timing.csv")
    swept = tables.read_sweep(profile.results / "sweep.csv")
    results = Results(profile, cells, bounds, timing, swept)
    made = _cell_tables(results) if _trained(cells) else []
    made += [timing_table.timing(timing)] if len(timing) else []
    made += [tables.sweep(swept, _chosen(profile, swept))] if len(swept) else []
    with written_aside(profile.results / "tables") as directory:
        directory.mkdir()
        for table in made:
            tables.write(table, directory)
    with written_aside(profile.results / "figures") as directory, figures.style():
        directory.mkdir()
        _draw(results, directory)
        names = sorted(path.stem for path in directory.glob("*.png"))
    verdicts = claims.claims(cells, bounds, timing, _by_image(results), profile.claims)
    claims.write(verdicts, profile.claims, profile.results)
    with written_aside(profile.results / "README.md") as page:
        page.write_text(_page(results, made, names, claims.overview(verdicts)), "utf-8", newline="\n")


def _chosen(profile: Params, swept: pd.DataFrame) -> pd.DataFrame:
    """The weight that the sweep chooses for each loss, and the one that its cells have."""
    chosen = choose(swept, profile.claims)
    return chosen.assign(used=chosen["loss"].map(profile.weights))


def _cell_tables(results: Results) -> list[Table]:
    """What was measured on trained models."""
    bounded = results.cells["dataset"].isin(set(results.bounds["dataset"]))
    found = [tables.accuracy(results.paper)] if len(results.paper) else []
    found += [tables.reconstruction(results.cells[bounded], results.bounds)] if bounded.any() else []
    return [*found, tables.saliency(results.cells)]


def _by_image(results: Results) -> dict[tuple[Any, ...], dict[str, np.ndarray]]:
    """The metrics that single images have, (seeds,S) each, of every cell that left them."""
    found: dict[tuple[Any, ...], dict[str, np.ndarray]] = {}
    for key, cell in tables.groups(results.cells, Cell._fields):
        path = results.profile.runs / Cell(*key).name / "images.safetensors"
        if (cell["status"] != "ok").any():
            continue
        try:
            found[key] = safetensors.numpy.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise BenchError(f"{path} is damaged ({error}): python -m bench cell makes it anew") from error
    return found


def _trained(cells: pd.DataFrame) -> bool:
    """Whether any seed of any cell has results."""
    return bool((cells["status"] == "ok").any())


def _draw(results: Results, directory: Path) -> None:
    """All figures of the profile."""
    for name, figure in timing_figures.drawn(results.timing).items():
        figures.save(figure, directory, name)
    swept = results.swept
    for (dataset, backbone, resolution), here in tables.groups(swept, ["dataset", "backbone", "resolution"]):
        if (here["status"] == "ok").any():
            drawn = figures.front(here, choose(here, results.profile.claims))
            figures.save(drawn, directory, f"front-{dataset}-{backbone}-{resolution}")
    if _trained(results.cells):
        _draw_cells(results, directory)


def _draw_cells(results: Results, directory: Path) -> None:
    """What the cells measured."""
    grid = results.profile.grid
    for dataset in grid.dataset:
        figures.save(figures.accuracy(results.paper, dataset), directory, f"accuracy-{dataset}")
        figures.save(
            figures.reconstruction(results.paper, results.bounds, dataset), directory, f"reconstruction-{dataset}"
        )
    for (dataset,), of_dataset in tables.groups(results.cells, ["dataset"]):
        data = datasets.load(Path("data", f"{dataset}.safetensors"))
        for (resolution,), here in tables.groups(of_dataset, ["resolution"]):
            P = images.prototypes(data.train, resolution)
            classes = Classes(dataset, resolution, data.class_names, P)
            for backbone in tables.in_order(here, "backbone"):
                place = f"{dataset}-{backbone}-{resolution}"
                figures.save(_mean_maps(results, classes, backbone), directory, f"mean-maps-{place}")
                figures.save(figures.saliency(here[here["backbone"] == backbone]), directory, f"saliency-{place}")
            # One dataset is enough for an overview, and the largest resolution has the finest maps.
            if grid.cells() and dataset == grid.dataset[0] and resolution == max(grid.resolution):
                figures.save(_overview(results, classes), directory, "overview")


def _mean_maps(results: Results, classes: Classes, backbone: str) -> Figure:
    """The figure of a backbone: a row of mean maps for every loss."""
    cells = results.cells
    place = {"dataset": classes.dataset, "backbone": backbone, "resolution": classes.resolution}
    losses = tables.in_order(cells[(cells[list(place)] == pd.Series(place)).all(axis=1)], "loss")
    rows, grids, seeds = _rows(results, classes, backbone, losses)
    grid = f"map grid {' and '.join(grids)}" if grids else "no maps"
    title = f"{shown(classes.dataset)}, {shown(backbone)}, {classes.resolution} px, {grid}: mean map of each class"
    note = [
        figures.paper_figure(classes.dataset, backbone, classes.resolution),
        f"Test images, maps of the true label; {_over(seeds)}.",
        f"SSIM: of the mean map of a class to its prototype, mean over classes{' and seeds' if seeds > 1 else ''}."
        f"{_comparison(results.bounds, classes, backbone)}",
    ]
    return figures.mean_maps(classes.prototypes, rows, classes.names, title, "\n".join(note))


def _overview(results: Results, classes: Classes) -> Figure:
    """The figure of all backbones, with a few of the losses."""
    losses = [loss for loss in results.profile.grid.loss if loss in figures.OVERVIEW]
    found = {shown(b): _rows(results, classes, b, losses) for b in results.profile.grid.backbone}
    blocks = {name: rows for name, (rows, _, _) in found.items()}
    seeds = ", ".join(f"{name} {n}" for name, (_, _, n) in found.items())
    title = f"{shown(classes.dataset)}, {classes.resolution} px: mean Grad-CAM map of each class"
    note = (
        "Test images, maps of the true label. SSIM: of the mean map of a class to its prototype,\n"
        f"mean over classes and seeds. Number of seeds: {seeds}."
    )
    return figures.overview(classes.prototypes, blocks, classes.names, title, note)


def _rows(
    results: Results, classes: Classes, backbone: str, losses: Sequence[str]
) -> tuple[list[figures.Row], list[str], int]:
    """A row of mean maps per loss; the sizes of the grids, "3×3"; and how many seeds were expected."""
    rows, grids, seeds = [], [], 0
    for loss in losses:
        cells = results.cells
        same = {"dataset": classes.dataset, "backbone": backbone, "loss": loss, "resolution": classes.resolution}
        cell = cells[(cells[list(same)] == pd.Series(same)).all(axis=1)]
        maps = _class_means(results.profile.runs / Cell(**same).name / "maps.safetensors")  # type: ignore[arg-type]
        seeds = max(seeds, len(cell))
        found, n = tables.interval(cell, "class_mean_ssim")
        if n == 0 or maps is None:
            rows.append(figures.Row(loss, tables.absence(cell) or "missing"))
            continue
        grids.append(f"{maps.shape[-2]}×{maps.shape[-1]}")
        short = "" if n == len(cell) else f"\nn = {n} of {len(cell)}"
        mean = resize_maps(maps.mean(dim=0), classes.resolution)
        rows.append(figures.Row(f"{loss}\nSSIM {found.mean:.2f}{short}", mean))
    return rows, list(dict.fromkeys(grids)), seeds


def _class_means(path: Path) -> Tensor | None:
    """Mean maps of a cell, (seeds,classes,h,w) float32; None if the cell left none."""
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            maps: Tensor = file.get_tensor("class_means").float()
    except (safetensors.SafetensorError, OSError) as error:
        raise BenchError(f"{path} is damaged ({error}): python -m bench cell makes it anew") from error
    return maps


def _over(seeds: int) -> str:
    return f"mean over {seeds} seeds" if seeds > 1 else "one seed"


def _comparison(bounds: pd.DataFrame, classes: Classes, backbone: str) -> str:
    """What the SSIM of a figure can be held against: the strongest floor, and the ceiling of the grid."""
    here = bounds[(bounds["dataset"] == classes.dataset) & (bounds["resolution"] == classes.resolution)]
    floors = here[here["kind"] == "floor"].sort_values("ssim")
    own = here["backbones"].map(lambda names: backbone in tables.split_names(names)).astype(bool)  # of no row: no bool
    ceilings = here[own & (here["kind"] == "ceiling")]
    parts = [f"{row['name']} {row['ssim']:.2f}" for _, row in floors.tail(1).iterrows()]
    parts += [f"best single map of a {row['name']} {row['ssim']:.2f}" for _, row in ceilings.iterrows()]
    return f" For comparison: {', '.join(parts)}." if parts else ""


def _page(results: Results, made: Sequence[Table], names: Sequence[str], verdicts: str) -> str:
    """An index in Markdown: the overview, the verdicts, the tables, and every figure."""
    plots = [name for name in names if name.startswith(("accuracy-", "reconstruction-", "saliency-", "front-"))]
    timings = [name for name in names if name.startswith("timing-")]
    maps = [name for name in names if name.startswith("mean-maps-")]
    parts = [
        f"# Results of the profile `{results.profile.profile}`",
        "Made by `dvc repro`. `cells.csv` has every seed's numbers, `bounds.csv` the floors and ceilings,"
        " `timing.csv` every timing and `sweep.csv` every weight tried; `claims.csv` every test;"
        " `tables/` holds these tables as CSV, Markdown and LaTeX, and `figures/` each figure as PNG and PDF.",
    ]
    if "overview" in names:
        parts.append("![Mean map of each class, by backbone and loss](figures/overview.png)")
    if not _trained(results.cells):
        parts.append(f"No cell of this profile has results: {_states(results.cells)}.")
    parts.append(f"## Claims\n\n{verdicts}\n\nEvery test behind these verdicts: [claims.md](claims.md).")
    parts += [f"## {table.name.capitalize()}\n\n{tables.markdown(table).rstrip()}" for table in made]
    if plots or timings:
        parts += ["## Figures", *(f"![{name}](figures/{name}.png)" for name in [*plots, *timings])]
    if maps:
        parts.append("Mean map of each class beside its prototype, for every loss:")
        parts.append("\n".join(f"* [{name}](figures/{name}.png)" for name in maps))
    return "\n\n".join(parts) + "\n"


def _states(cells: pd.DataFrame) -> str:
    """How many cells are missing, failed …, say "84 missing"."""
    states = tables.summary(cells, ["accuracy"])["status"].map(lambda status: status.rsplit(" (", 1)[0])
    return ", ".join(f"{count} {state}" for state, count in states.value_counts().items())
