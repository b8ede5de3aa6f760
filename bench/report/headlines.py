"""The paper's tables in one: cross-entropy beside the loss of each kind that validation picked."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench import paper
from bench.names import COMPARISONS, METRICS, kind_of, shown
from bench.params import Params
from bench.report.claims.evidence import Setting
from bench.report.frames import groups
from bench.report.paper_tables import mean_of, text_of, usual
from bench.report.rendering import NONE, Block, Table
from bench.report.results import SETTING, absence
from bench.report.tables import problems, summary

#: What is compared: the least that says whether it costs accuracy, and whether the maps come nearer.
_SHOWN = ("accuracy", "ssim")
_KINDS = {"ce": "ce", "prototype": "Prototype", "batchcam": "Batch-CAM"}


def headline(cells: pd.DataFrame, picked: Mapping[Setting, Sequence[str]], profile: Params) -> Table | None:
    """A row for each setting; None where validation has picked nothing.

    Args:
        cells: cells.csv, of the paper's losses and networks on images without cues.
        picked: by setting, the loss of each kind that validation picked.
        profile: what they were trained with.
    """
    rows, used, chosen = [], [], {}
    for key, here in groups(cells, SETTING):
        setting = Setting(*key)
        if setting not in picked:
            continue
        losses = {kind_of(loss): loss for loss in ("ce", *picked[setting])}
        mine = here[here["loss"].isin(losses.values())]
        if mine.empty:
            continue
        seeds = max(len(cell) for _, cell in groups(mine, ["loss"]))
        row = {"dataset": shown(setting.dataset), "backbone": shown(setting.backbone), "px": str(setting.resolution)}
        row |= {"images × epochs": _training(profile, setting), "n": str(seeds)}
        for metric in (METRICS[name] for name in _SHOWN):
            for kind, heading in _KINDS.items():
                cell = mine[mine["loss"] == losses.get(kind)]
                one = mean_of(cell, metric) if len(cell) else None
                text = (text_of(one, metric, seeds) if one and one.n else absence(cell)) if one else NONE
                row[f"{metric.label}: {heading}"] = text or NONE
            if metric.name == "accuracy" and (setting.dataset, setting.backbone) in paper.USUAL:
                row["usual"] = usual(setting.dataset, setting.backbone)
        rows.append(row)
        used.append(mine)
        chosen[shown(setting.dataset)] = " and ".join(picked[setting])
    if not rows:
        return None
    taken, frame = pd.concat(used), pd.DataFrame(rows).fillna(NONE)
    notes = [
        "Mean ± half-width of the 95 % Student t interval over n seeds, on test images; SSIM of each image's map of its"
        " true label to its class's prototype. Of each kind of loss, the one that was picked on the validation split:"
        f" {'; '.join(f'{losses} on {dataset}' for dataset, losses in chosen.items())}. All losses: tables/grid.md.",
        *([f"Usual: the accuracy of ce in %, {paper.USUAL_IS}."] if "usual" in frame else []),
        *problems(taken),
    ]
    return Table(
        "headline",
        summary(taken, ["accuracy", *COMPARISONS]),
        [Block("Accuracy and likeness of the maps", frame)],
        notes,
    )


def _training(profile: Params, setting: Setting) -> str:
    """4,000 × 1."""
    training = profile.training[setting.backbone][f"px{setting.resolution}"]
    images = "all" if training.train_images is None else f"{training.train_images:,}"
    return f"{images} × {training.epochs}"
