"""From the collected numbers and the cells' maps to tables, figures, verdicts and a page that shows them.

All of it is presentation: it reads what the cells measured, and computes nothing but means, intervals and tests.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy
from matplotlib.figure import Figure

from bench import params
from bench.errors import BenchError
from bench.files import written_aside
from bench.names import ABLATED, BACKBONES, DATASETS, PAPER_BACKBONES, PAPER_LOSSES, has_cue, shown
from bench.params import Cell, Params
from bench.report import (
    captions,
    figures,
    headlines,
    loss_tables,
    path_figures,
    shortcut_figures,
    tables,
    timing_figures,
    timing_table,
)
from bench.report.choice import choose, picked
from bench.report.claims import effects
from bench.report.claims import page as claims
from bench.report.claims.evidence import Evidence, Images, Setting
from bench.report.claims.judge import judge
from bench.report.claims.rules import RULES
from bench.report.forest_figures import forest
from bench.report.frames import groups, in_order, records
from bench.report.rendering import Table, markdown, write
from bench.report.results import (
    SETTING,
    finished,
    read_bounds,
    read_cells,
    read_epochs,
    read_sweep,
    read_timing,
    read_trainings,
)
from bench.statistics import Numbers


class Results(NamedTuple):
    """What a profile measured: cells.csv, epochs.csv, bounds.csv, timing.csv, sweep.csv, and where the maps are."""

    profile: Params
    cells: pd.DataFrame
    epochs: pd.DataFrame
    bounds: pd.DataFrame
    timing: pd.DataFrame
    swept: pd.DataFrame

    @property
    def begun(self) -> pd.DataFrame:
        """The cells of every setting of which some cell has results."""
        settings = self._settings
        return self.cells[[key in settings for key in self.cells[list(SETTING)].itertuples(index=False, name=None)]]

    @property
    def waiting(self) -> list[tuple[str, str, int]]:
        """The settings of which no cell has results."""
        settings = self._settings
        return [key for key, _ in groups(self.cells, SETTING) if key not in settings]

    @property
    def _settings(self) -> set[tuple[str, str, int]]:
        return set(finished(self.cells)[list(SETTING)].itertuples(index=False, name=None))

    @property
    def paper(self) -> pd.DataFrame:
        """The begun cells of the paper's own grid, without controls, decoys and other places of the map."""
        grid, begun = set(self.profile.grid.cells()), self.begun
        return begun[[Cell(*key) in grid for key in begun[list(Cell._fields)].itertuples(index=False)]]

    @property
    def trained(self) -> bool:
        """Whether any seed of any cell has results."""
        return len(finished(self.cells)) > 0


def report(params_path: Path) -> None:
    """Write tables/, figures/, claims.csv, claims.md and README.md into results/<profile>/, each whole or not at all.

    Reads cells.csv, trainings.csv, epochs.csv, bounds.csv, timing.csv and sweep.csv there,
    runs/<profile>/*/{maps,images}.safetensors and data/<dataset>.safetensors.
    Raises `BenchError` if one of the CSV files or a dataset is missing or damaged; a cell without results is shown as
    such. Where no cell has any yet, the page says so, and what was timed is shown all the same.
    """
    profile = params.load(params_path)
    cells = read_cells(profile.results / "cells.csv")
    bounds = read_bounds(profile.results / "bounds.csv")
    timing = read_timing(profile.results / "timing.csv")
    trainings = read_trainings(profile.results / "trainings.csv")
    epochs, swept = read_epochs(profile.results / "epochs.csv"), read_sweep(profile.results / "sweep.csv")
    results = Results(profile, cells, epochs, bounds, timing, swept)
    made = list(_tables(results))
    with written_aside(profile.results / "tables") as directory:
        directory.mkdir()
        for table in made:
            write(table, directory)
    with written_aside(profile.results / "figures") as directory:
        directory.mkdir()
        names = []
        with figures.style(), figures.saving(directory) as save:
            for name, figure in _figures(results):
                save(name, figure)
                names.append(name)
            method = {setting: losses[0] for setting, losses in _picked(results).items()}
            evidence = Evidence(cells, bounds, timing, _by_image(results), RULES, method, trainings)
            verdicts = judge(evidence)
            for name, title, rows in effects.effects(verdicts, RULES):
                save(name, forest(rows, title, "accuracy counts as kept down to this margin"))
                names.append(name)
            for name, title, rows in effects.contrasts(verdicts, RULES, profile.weights):
                save(name, forest(rows, title, "band of equivalence"))
                names.append(name)
    claims.write(verdicts, RULES, profile.results)
    with written_aside(profile.results / "README.md") as page:
        page.write_text(_page(results, made, names, claims.overview(verdicts)), "utf-8", newline="\n")


def _picked(results: Results) -> dict[Setting, list[str]]:
    """The loss of each kind that validation picked, the better first: by the profile's own sweeps, or elsewhere."""
    elsewhere = results.profile.picked
    settings = [Setting(*key) for key, _ in groups(results.cells, SETTING)]
    own = picked(results.swept, choose(results.swept, RULES), RULES)
    found = {setting: elsewhere[setting.dataset] for setting in settings if setting.dataset in elsewhere}
    return found | {Setting(*key): losses for key, losses in own.items()}


def _tables(results: Results) -> Iterator[Table]:
    """All tables of the profile; those of what was not measured are left out."""
    if results.trained:
        compared = results.begun[_beside_the_papers(results.begun)]
        headline = headlines.headline(compared, results.bounds, _picked(results), results.profile)
        if headline is not None:
            yield headline
        if len(compared):
            yield loss_tables.compared(compared, results.bounds, results.profile)
        bounded = results.begun["dataset"].isin(set(results.bounds["dataset"]))
        if bounded.any():
            yield tables.reconstruction(results.begun[bounded], results.bounds)
        yield tables.saliency(results.begun)
        ablated = results.begun[results.begun["backbone"] == ABLATED]
        if len(ablated):
            yield tables.methods(ablated)
    if len(results.timing):
        yield timing_table.timing(results.timing)
    if len(results.swept):
        chosen = choose(results.swept, RULES)
        weights = results.profile.weights  # that the cells have
        used = [weights.get(row["dataset"], {}).get(row["loss"], math.nan) for row in records(chosen)]
        yield tables.sweep(results.swept, chosen.assign(used=used), results.profile)


def _beside_the_papers(cells: pd.DataFrame) -> pd.Series:
    """Of each row, whether it is in the tables of the paper's losses on its own kind of data, with two controls."""
    losses = [*PAPER_LOSSES, "permuted-ssim", "blob-ssim"]
    clean = ~cells["dataset"].map(has_cue).astype(bool)
    return clean & cells["backbone"].isin(PAPER_BACKBONES) & cells["loss"].isin(losses)


def _figures(results: Results) -> Iterator[tuple[str, Figure]]:
    """All figures of the profile, by the stem of their files."""
    yield from timing_figures.drawn(results.timing).items()
    for (dataset, backbone, resolution), here in groups(results.swept, SETTING):
        if len(finished(here)):
            yield f"path-{dataset}-{backbone}-{resolution}", path_figures.path(here, choose(here, RULES))
    if results.trained:
        yield from _cell_figures(results)


def _cell_figures(results: Results) -> Iterator[tuple[str, Figure]]:
    """What the cells measured."""
    from bench.report import example_figures, mean_maps  # with torch, which nothing else here needs

    grid = results.profile.grid
    yield from shortcut_figures.drawn(results.begun, results.epochs)
    for dataset in in_order(results.paper, "dataset"):
        if not has_cue(dataset):  # with a cue there are four accuracies
            yield f"accuracy-{dataset}", figures.accuracy(results.paper, dataset)
        yield f"reconstruction-{dataset}", figures.reconstruction(results.paper, results.bounds, dataset)
    measured = mean_maps.Measured(results.profile.runs, results.cells, results.bounds)
    for (dataset,), of_dataset in groups(_with_maps(results.begun), ["dataset"]):
        for classes in mean_maps.classes_of(dataset, in_order(of_dataset, "resolution")):
            here = of_dataset[of_dataset["resolution"] == classes.resolution]
            for (backbone,), of_backbone in groups(here, ["backbone"]):
                setting = f"{dataset}-{backbone}-{classes.resolution}"
                yield f"mean-maps-{setting}", mean_maps.of_backbone(measured, classes, backbone)
                yield f"saliency-{setting}", figures.saliency(of_backbone)
                tested = results.profile.trained(backbone, classes.resolution).test_images
                examples = example_figures.examples(results.profile.runs, of_backbone, tested)
                if examples is not None:
                    yield f"examples-{setting}", examples
            if dataset in grid.dataset and not has_cue(dataset) and classes.resolution in grid.resolution:
                begun = [backbone for backbone in grid.backbone if backbone in here["backbone"].unique()]
                yield f"overview-{dataset}-{classes.resolution}", mean_maps.overview(measured, classes, begun)


def _with_maps(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells whose maps have figures: networks without a place for maps have none, nor has every dose of a cue."""
    plain = cells["backbone"].map(lambda name: BACKBONES[name].group != "check")
    whole = cells["dataset"].map(lambda name: DATASETS[name].truth == 1)
    return cells[(plain & whole).astype(bool)]


def _by_image(results: Results) -> Images:
    """The metrics that single images have, (seeds,S) each, of every cell that is whole."""
    found = {}
    for (dataset, backbone, loss, resolution), cell in groups(results.cells, Cell._fields):
        if len(finished(cell)) < len(cell):
            continue
        path = results.profile.runs / Cell(dataset, backbone, loss, resolution).name / "images.safetensors"
        try:
            found[Setting(dataset, backbone, resolution), loss] = unpacked(safetensors.numpy.load_file(path))
        except FileNotFoundError:
            raise BenchError(f"{path} is missing: dvc pull fetches it") from None
        except (safetensors.SafetensorError, OSError) as error:
            raise BenchError(f"{path} is damaged ({error}): python -m bench cell makes it again") from error
    return found


def unpacked(images: Mapping[str, Any]) -> dict[str, Numbers]:
    """The metrics of single images of a cell, (seeds,S) each; of bits, 0 or 1 for each test image."""
    tested = int(images["tested"][0])
    found: dict[str, Numbers] = {}
    for name, values in images.items():
        if name.startswith("correct"):
            found[name] = np.unpackbits(values, axis=1, count=tested).astype(np.float64)
        elif name != "tested":
            found[name] = values.astype(np.float64)
    if "correct_true" in found:
        found["reliance"] = found["correct_true"] - found["correct_decoy"]
    return found


def _page(results: Results, made: Sequence[Table], names: Sequence[str], verdicts: str) -> str:
    """An index in Markdown: the overview, the verdicts, the tables, and every figure."""
    parts = [
        f"# Results of the profile `{results.profile.profile}`",
        "Made by `dvc repro`. `cells.csv` has every seed's numbers, `epochs.csv` what was followed in training,"
        " `bounds.csv` the floors and ceilings,"
        " `timing.csv` every timing and `sweep.csv` every weight tried; `claims.csv` every test;"
        " `tables/` holds these tables as CSV, Markdown and LaTeX, and `figures/` each figure as PNG and PDF.",
    ]
    overviews = [name for name in names if name.startswith("overview-")]
    parts += [f"![Mean map of each class, by backbone and loss](figures/{name}.png)" for name in overviews]
    if not results.trained:
        parts.append(f"No cell of this profile has results: {_states(results.cells)}.")
    elif results.waiting:
        places = [f"{shown(dataset)}, {shown(backbone)}, {px} px" for dataset, backbone, px in results.waiting]
        parts.append(f"No cell has results of: {'; '.join(places)}.")
    parts.append(f"## Claims\n\n{verdicts}\n\nEvery test behind these verdicts: [claims.md](claims.md).")
    parts += [f"## {table.name.capitalize()}\n\n{markdown(table).rstrip()}" for table in made]
    parts += captions.section(names)
    return "\n\n".join(parts) + "\n"


def _states(cells: pd.DataFrame) -> str:
    """How many cells are missing, failed …, say "84 missing"."""
    states = tables.summary(cells, ["accuracy"])["status"].map(lambda status: status.rsplit(" (", 1)[0])
    return ", ".join(f"{count} {state}" for state, count in states.value_counts().items())
