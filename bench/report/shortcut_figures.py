"""The figures of a shortcut: what a cue that names the label in training does to predictions in the test."""

import math
from collections.abc import Iterator
from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.names import BACKBONES, CONDITIONS, DATASETS, LOSSES, METRICS, has_cue, shown
from bench.report.drawing import (
    BASELINE,
    GROUPS,
    REFERENCE,
    Block,
    Row,
    blocks_of,
    course,
    dot_plot,
    group_keys,
    height_of,
    keys,
    losses_of,
    multiples,
    reference,
    reference_key,
    seed_counts,
    seeds_text,
    upright,
)
from bench.report.frames import groups, having, in_order
from bench.report.results import SETTING, finished, means
from bench.statistics import Interval, mean_interval

_TITLES = {
    "true_accuracy": "cue is true",
    "decoy_accuracy": "cue is random",
    "reversed_accuracy": "cue is reversed",
    "clean_accuracy": "no cue",
}
_MARKERS = "osD^vP*X"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9")  # Okabe and Ito's palette


def drawn(cells: pd.DataFrame, epochs: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """All of them for the cells on images with cues, by the stem of their files."""
    cells = cells[cells["dataset"].map(has_cue).astype(bool)]
    checks = cells["backbone"].map(lambda name: BACKBONES[name].group == "check").astype(bool)
    for (dataset, backbone, resolution), here in groups(cells[~checks], SETTING):
        if DATASETS[dataset].truth == 1:  # the others are in the figure by dose
            setting = f"{dataset}-{backbone}-{resolution}"
            yield f"conditions-{setting}", conditions(here, having(cells[checks], dataset=dataset))
            followed = having(epochs, dataset=dataset, backbone=backbone, resolution=resolution)
            if len(followed):
                yield f"epochs-{setting}", over_epochs(followed)
    same = finished(cells[~checks]).assign(images=lambda frame: frame["dataset"].map(lambda name: DATASETS[name][2:4]))
    for ((base, cue), backbone, resolution), here in groups(same, ["images", "backbone", "resolution"]):
        if _dosed(here):
            yield f"dose-{cue}-{base}-{backbone}-{resolution}", by_dose(here)


def conditions(cells: pd.DataFrame, known: pd.DataFrame) -> Figure:
    """Test accuracy with true, random and reversed cues and without, and the reliance on them; a line per loss.

    Args:
        cells: of one dataset, backbone and resolution.
        known: of networks that are known to fall for the cue, below the others.
    """
    blocks = [*blocks_of(cells, in_order(cells, "loss")), *_known(known)]
    names = [*(f"{condition}_accuracy" for condition in CONDITIONS), "reliance"]
    figure = Figure(figsize=(2.3 + 2.05 * len(names), 1.5 + 0.2 * height_of(blocks)), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        metric = METRICS[name]
        dot_plot(panel, blocks, metric)
        reference(panel, cells, metric)
        panel.set_title(_TITLES.get(name, "reliance: true − random"))
        panel.set_xlabel((METRICS["accuracy"] if name in _TITLES else metric).heading)
    first = cells.iloc[0]
    setting = f"{shown(first['dataset'])}, {shown(first['backbone'])}, {first['resolution']} px, {seeds_text(cells)}"
    figure.suptitle(f"{setting}: test accuracy by what the cue says (each panel has its own scale)")
    handles = [*keys(pd.concat([cells, known])), reference_key()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _known(known: pd.DataFrame) -> list[Block]:
    cells = groups(known, ["backbone", "resolution", "loss"])
    rows = [
        Row(f"{shown(name)}, {px} px: {loss} (n = {len(cell)})", cell, far=True) for (name, px, loss), cell in cells
    ]
    return [("known to fall for it", rows)] if rows else []


def over_epochs(epochs: pd.DataFrame) -> Figure:
    """Reliance after every epoch: a small panel per loss, with the baseline in grey in each."""
    losses = losses_of(epochs)
    compared = [loss for loss in losses if loss != BASELINE] or losses
    figure, panels = multiples(len(compared), 6, (1.75, 1.55), "epoch", shared=True)
    for (panel,), loss in zip(panels, compared, strict=True):
        _, colour = GROUPS[LOSSES[loss].group]
        for name, drawn_in in ((BASELINE, REFERENCE), (loss, colour)) if loss != BASELINE else ((loss, REFERENCE),):
            found = _reliance(having(epochs, loss=name))
            course(panel, list(found), list(found.values()), drawn_in, band=True)
        panel.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        panel.set_title(loss, fontsize=8, color=colour)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.grid()
    figure.supylabel(upright(METRICS["reliance"].heading), fontsize=9)
    first, trainings = epochs.iloc[0], epochs.drop_duplicates(["loss", "seed"])
    setting = f"{shown(first['dataset'])}, {shown(first['backbone'])}, {first['resolution']} px"
    figure.suptitle(f"{setting}, {seeds_text(trainings)}: reliance on the cue as training goes on")
    between = "mean over seeds" + (", 95 % t interval as a band" if max(seed_counts(trainings)) > 1 else "")
    base = Line2D([], [], color=REFERENCE, label=f"{BASELINE}; {between}")
    figure.legend(handles=[base, *group_keys(compared)], loc="outside lower center", ncols=5)
    return figure


def _reliance(epochs: pd.DataFrame) -> dict[int, Interval]:
    """By epoch, over seeds."""
    true, random = (epochs[f"{condition}_accuracy"] for condition in ("true", "decoy"))
    by_epoch = ((true - random) * METRICS["reliance"].factor).groupby(epochs["epoch"])
    return {int(str(epoch)): mean_interval(values.dropna().tolist()) for epoch, values in by_epoch}


def _dosed(cells: pd.DataFrame) -> list[str]:
    """The losses that have more than one of the datasets."""
    return [loss for loss in losses_of(cells) if len(in_order(having(cells, loss=loss), "dataset")) > 1]


def by_dose(cells: pd.DataFrame) -> Figure:
    """Reliance, and the accuracies behind it, against the share of training images whose cue is true.

    Args:
        cells: one backbone and resolution on datasets that differ in that share alone. A loss that was trained with one
            share only is left out.
    """
    doses = sorted(in_order(cells, "dataset"), key=lambda name: -DATASETS[name].truth)
    losses = _dosed(cells)
    names = ["reliance", *(f"{condition}_accuracy" for condition in CONDITIONS)]
    figure = Figure(figsize=(0.6 + 2.3 * len(names), 3.3), layout="constrained")
    panels = figure.subplots(1, len(names))
    colours, markers = cycle(_COLOURS), cycle(_MARKERS)
    handles = []
    for k, loss in enumerate(losses):
        colour, marker = REFERENCE if loss == BASELINE else next(colours), next(markers)
        dodge = 0.09 * (k - (len(losses) - 1) / 2)  # so that intervals do not hide each other
        for panel, name in zip(panels, names, strict=True):
            found = {x: _mean(having(cells, loss=loss, dataset=dose), name) for x, dose in enumerate(doses)}
            known = {x: interval for x, interval in found.items() if not math.isnan(interval.mean)}
            course(panel, [x + dodge for x in known], list(known.values()), colour, marker)
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=4, label=loss))
    for panel, name in zip(panels, names, strict=True):
        panel.set_xticks(range(len(doses)), [f"{100 * DATASETS[dose].truth:g}" for dose in doses])
        panel.set_xlabel("true cues in training, %")
        panel.set_ylabel(upright((METRICS["accuracy"] if name in _TITLES else METRICS[name]).heading))
        panel.set_title(_TITLES.get(name, "reliance: true − random"))
        panel.margins(x=0.12)
        panel.grid(axis="y")
    first = having(cells, loss=losses[0]).iloc[0]
    here = cells[cells["loss"].isin(losses)]
    setting = f"{shown(doses[0])}, {shown(first['backbone'])}, {first['resolution']} px, {seeds_text(here)}"
    figure.suptitle(f"{setting}: when some cues lie in training as well (means over seeds, 95 % t intervals)")
    figure.legend(handles=handles, loc="outside lower center", ncols=8)
    return figure


def _mean(cell: pd.DataFrame, name: str) -> Interval:
    """Of a metric over the seeds of a cell, in its unit."""
    ((found, _),) = means(cell, [name])
    return Interval(*(end * METRICS[name].factor for end in found))
