"""The verdicts as forest plots read them: effects of the losses, and contrasts to the controls."""

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from bench.names import METRICS, base, shown
from bench.report.claims.catalogue import catalogue
from bench.report.claims.kinds import Control, Gain, NonInferiority, OfMetric
from bench.report.claims.rules import Rules
from bench.report.claims.verdict import METHOD, Verdict
from bench.report.frames import Record, groups, having, records
from bench.report.results import SETTING
from bench.statistics import LEVEL, p_text

#: What a forest plot shows side by side, by claim, as far as it was tested in a setting.
EFFECTS = (
    *("accuracy is competitive", "accuracy with the true decoy is competitive"),
    *("robustness to spurious correlations improves: reliance on the decoy",),
    *("a colour, which no map can name, is relied on less",),
    *("spurious activation is suppressed: flip rate", "spurious activation is suppressed: decoy mass"),
    *("reconstruction improves in SSIM", "maps lie on the object: energy on ink", "maps are more coherent"),
)
#: The most panels that stand beside each other.
PANELS = 4
#: What the controls are held against in a figure.
CONTRASTS = ("accuracy", "reliance", "decoy_flip_rate", "decoy_accuracy")


def effects(verdicts: pd.DataFrame, rules: Rules) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """For each setting a name, a title and what `bench.report.forest_figures.forest` takes: losses − the baseline."""
    claims = {claim.sentence: claim for claim in catalogue(rules) if isinstance(claim, Gain | NonInferiority)}
    wanted = verdicts[verdicts["claim"].isin(EFFECTS) & verdicts["loss"].isin([*rules.family, METHOD])]
    for key, here in _by_setting(wanted):
        rows = []
        for sentence in [name for name in EFFECTS if name in set(here["claim"])][:PANELS]:
            claim = claims[sentence]
            margin = (
                rules.accuracy_margin.get(base(str(key[0])), math.nan)
                if isinstance(claim, NonInferiority)
                else math.nan
            )
            rows += [_effect(row, claim, margin, _name(row)) for row in records(having(here, claim=sentence))]
        yield (
            f"effects-{_stem(key)}",
            f"{_words(key)}: what each loss changes against {rules.baseline}",
            pd.DataFrame(rows),
        )


def contrasts(
    verdicts: pd.DataFrame, rules: Rules, weights: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The same for the controls, each below the loss that it is held against.

    Args:
        verdicts: claims.csv.
        rules: what was declared beforehand.
        weights: of each regulariser, by dataset and loss, as it stands beside the name.
    """
    claims = {claim.sentence: claim for claim in catalogue(rules) if isinstance(claim, Control)}
    wanted = verdicts[verdicts["claim"].isin([s for s, claim in claims.items() if claim.metric.name in CONTRASTS])]
    for key, here in _by_setting(wanted):
        rows = []
        for row in records(here):
            claim = claims[row["claim"]]
            margin = rules.equivalence.get(claim.metric.name, math.nan)
            guided = rules.controls[claim.control]
            names = [f"{loss} × {weights[row['dataset']][loss]:g}" for loss in (guided, claim.control)]
            rows.append(_effect(row, claim, margin, f"− {names[1]}") | {"group": names[0]})
        frame = pd.DataFrame(rows)
        labels = {METRICS[name].difference: k for k, name in enumerate(CONTRASTS)}
        frame = frame.sort_values("panel", key=lambda column: column.map(labels), kind="stable")
        yield f"contrasts-{_stem(key)}", f"{_words(key)}: losses against their controls", frame


def _effect(row: Record, claim: OfMetric, margin: float, label: str) -> Record:
    """A line, in the unit of the metric's differences."""
    metric = claim.metric
    numbers = {name: row[name] * metric.factor for name in ("estimate", "low", "high")}
    found = {"label": label, **numbers, "margin": margin * metric.factor, "verdict": row["verdict"]}
    one_sided = isinstance(claim, NonInferiority)
    found |= {"one_sided": one_sided, "note": _why_not(row, margin, one_sided=one_sided)}
    return found | {"panel": metric.difference, "better": metric.better, "group": ""}


def _why_not(row: Record, margin: float, *, one_sided: bool) -> str:
    """The corrected p where it alone speaks against a verdict: the interval lies on that side."""
    zero = -margin if one_sided else 0
    clear = row["low"] > zero or row["high"] < zero
    above = row["verdict"] == Verdict.INCONCLUSIVE and row["p_holm"] > LEVEL
    return f"p {p_text(row['p_holm'])}" if clear and above else ""


def _name(row: Record) -> str:
    """The loss, or of the method which it is."""
    return f"{row['loss']}: {row['picked']}" if row["loss"] == METHOD else row["loss"]


def _by_setting(verdicts: pd.DataFrame) -> Iterator[tuple[Sequence[str | int], pd.DataFrame]]:
    for key, here in groups(verdicts[verdicts["resolution"].notna()], SETTING):
        if here["estimate"].notna().any():
            yield key, here


def _stem(key: Sequence[str | int]) -> str:
    return "-".join(map(str, key))


def _words(key: Sequence[str | int]) -> str:
    dataset, backbone, resolution = key
    return f"{shown(str(dataset))}, {shown(str(backbone))}, {resolution} px"
