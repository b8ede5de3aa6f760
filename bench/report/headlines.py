"""The paper's tables in one: cross-entropy, the loss of each kind that validation picked, and the wrong class."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.names import COMPARISONS, METRICS, kind_of, shown
from bench.params import Params
from bench.report.claims.evidence import Setting
from bench.report.frames import groups, having
from bench.report.loss_tables import FROM_EVIDENCE, USUAL, between, mean_of, text_of, usual
from bench.report.rendering import NONE, Block, Table, amount
from bench.report.results import SETTING, absence
from bench.report.tables import problems, summary

#: What is compared: the least that says whether it costs accuracy, and whether the maps come nearer.
_SHOWN = ("accuracy", "ssim")
_CONTROL = "permuted-ssim"
_KINDS = {"ce": "ce", "prototype": "Prototype", "batchcam": "Batch-CAM", kind_of(_CONTROL): "wrong class"}


def headline(
    cells: pd.DataFrame, bounds: pd.DataFrame, picked: Mapping[Setting, Sequence[str]], profile: Params
) -> Table | None:
    """A row for each setting; None where validation has picked nothing.

    Args:
        cells: cells.csv, of the paper's losses, controls and networks on images without cues.
        bounds: bounds.csv.
        picked: by setting, the loss of each kind that validation picked.
        profile: what they were trained with.
    """
    rows, used, chosen = [], [], {}
    for key, here in groups(cells, SETTING):
        setting = Setting(*key)
        if setting not in picked:
            continue
        losses = {kind_of(loss): loss for loss in ("ce", *picked[setting], _CONTROL)}
        mine = here[here["loss"].isin(losses.values())]
        if mine.empty:
            continue
        by_kind = {heading: mine[mine["loss"] == losses.get(kind)] for kind, heading in _KINDS.items()}
        rows.append(_row(setting, by_kind, bounds, profile))
        used.append(mine)
        chosen[shown(setting.dataset)] = " and ".join(picked[setting])
    if not rows:
        return None
    taken, frame = pd.concat(used), pd.DataFrame(rows).fillna(NONE)
    notes = [
        "Mean ± half-width of the 95 % Student t interval over n seeds, on test images; SSIM of each image's map of its"
        " true label to its class's prototype. Floor: the nearest of the pictures that are the same whatever the image"
        f" shows. Wrong class: {_CONTROL}, whose target is the next class's prototype; its SSIM is to the right one.",
        "Of each kind of loss, the one that was picked on the validation split"
        f"{f' {FROM_EVIDENCE}' if profile.picked else ''}:"
        f" {'; '.join(f'{losses} on {dataset}' for dataset, losses in chosen.items())}. All losses: tables/losses.md.",
        *([f"{USUAL}."] if "usual for ce" in frame else []),
        *problems(taken),
    ]
    title = "Accuracy and likeness of the maps"
    return Table("headline", summary(taken, ["accuracy", *COMPARISONS]), [Block(title, frame)], notes)


def _row(
    setting: Setting, by_kind: Mapping[str, pd.DataFrame], bounds: pd.DataFrame, profile: Params
) -> dict[str, str]:
    seeds = max(len(cell) for cell in by_kind.values())
    row = {"dataset": shown(setting.dataset), "backbone": shown(setting.backbone), "px": str(setting.resolution)}
    training = profile.training[setting.backbone][f"px{setting.resolution}"]
    row |= {"trained on": ", ".join(amount(training)), "n": str(seeds)}
    for metric in (METRICS[name] for name in _SHOWN):
        for kind, cell in by_kind.items():
            one = mean_of(cell, metric) if len(cell) else None
            text = (text_of(one, metric, seeds) if one and one.n else absence(cell)) if one else NONE
            row[f"{metric.label}: {kind}"] = text or NONE
            if (metric.name, kind) == ("accuracy", "ce"):
                row |= usual(setting.dataset, setting.backbone)
    here = having(bounds, dataset=setting.dataset, resolution=setting.resolution)
    return row | {"SSIM: floor": between(here, setting.backbone, METRICS["ssim"])["floor"]}
