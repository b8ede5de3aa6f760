"""A verdict on every claim of the paper, computed from the results.

A setting is one dataset × backbone × resolution. Its six losses are the family that was declared beforehand: for each
metric their p-values are corrected by Holm. No claim is judged on the loss that came out best: a setting's verdict is
that of the paired difference of the mean over the family; where a loss of it is, by itself, on the other side, the
setting is mixed and its verdict inconclusive.

A verdict is "supported" or "not supported" where the whole 95 % interval lies on that side and p ≤ .05 agrees, else
"inconclusive", with the reason. Overall, a claim is

* supported, if it is supported in every setting;
* not supported, if it is not supported in at least one setting and supported in none;
* inconclusive otherwise, and where nothing was measured.

That something holds everywhere is refuted by one counterexample: not supported in one place is then not supported
overall.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from bench.decoys import PREFIX as DECOY
from bench.files import written_aside
from bench.intervals import (
    LEVEL,
    Numbers,
    bootstrap_interval,
    holm,
    non_inferiority,
    p_text,
    paired_difference,
    sign_flip,
)
from bench.params import Claims, PaperBackbone
from bench.tables import absence, finished, shown, split_names
from bench.timing import inference, training
from bench.timing.rows import records

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
#: The loss of a row that is judged for its setting.
ALL = "mean of the family"
#: The dataset of a row that is judged for all settings.
OVERALL = "overall"
COLUMNS = [
    "claim",
    "source",
    "dataset",
    "backbone",
    "resolution",
    "loss",
    "test",
    "estimate",
    "low",
    "high",
    "n",
    "p",
    "p_holm",
    "verdict",
    "reason",
]

#: The backbones that the paper's gains are said to hold for.
_BACKBONES: tuple[str, ...] = get_args(PaperBackbone)
#: Its resolutions, in pixels, as far as the captions of its figures tell.
_RESOLUTIONS = (23, 112)
#: What v1 says to be gained at once.
_GAINS = (
    "accuracy improves",
    "reconstruction improves in L1",
    "reconstruction improves in L2",
    "reconstruction improves in SSIM",
)
#: Stands among the floors, but takes a class's prototype to make, which a map that knows nothing does not have.
_NO_FLOOR = "wrong class's prototype"
#: What leaves a seed's mean of these metrics without some images, by the column that counts them.
_LEFT_OUT = {"undefined_maps": "maps without a value", "lone_images": "images alone in their class"}
_LACKING = {
    "decoy_mass": ["undefined_maps"],
    "coherence": ["undefined_maps"],
    "specificity": ["undefined_maps", "lone_images"],
}
_CELL = ["dataset", "backbone", "resolution", "loss"]
_TIMED = ["device", "backbone", "layer", "resolution", "batch"]
_NONE = "–"

#: (dataset, backbone, loss, resolution) → metric → (seeds, images)
Images = Mapping[tuple[str, str, str, int], Mapping[str, Numbers]]
Row = dict[str, Any]


class Claim(NamedTuple):
    """One sentence, and how it is tested."""

    sentence: str
    source: str
    kind: Literal["difference", "non-inferiority", "floor", "level", "control", "step", "call", "everywhere"]
    metric: str  # a column of cells.csv or of timing.csv; or the axis along which gains hold
    more: bool = True  # whether more of it speaks for the claim
    where: Literal["clean", "decoy", "all"] = "all"
    images: str = ""  # the metric's name at image level
    control: str = ""
    limit: float = 0  # of a ratio of times
    closed: bool = False  # whether the limit itself still speaks for the claim


class Setting(NamedTuple):
    """Where a claim is tested."""

    dataset: str
    backbone: str
    resolution: Any  # NA where it is all of them


class Question(NamedTuple):
    """What the losses of a setting are tested against."""

    reference: str | float  # another loss, or a number
    name: str  # the reference in words
    margin: float | None = None  # of non-inferiority
    obstacle: str = ""  # why there can be no verdict


class Sample(NamedTuple):
    """Differences paired by seed, also by image where those are known."""

    by_seed: Numbers
    by_image: Numbers | None = None
    notes: Sequence[str] = ()


class Finding(NamedTuple):
    """What a verdict is made from."""

    test: str
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    p: float | None = math.nan  # under the hypothesis that the claim does not hold; None: the interval decides alone
    p_against: float | None = math.nan  # under the hypothesis that it holds
    threshold: float = 0  # what the interval must lie beyond
    sample: Numbers | None = None  # the differences to the threshold, for the sign-flip test
    notes: Sequence[str] = ()
    obstacle: str = ""


def catalogue(settings: Claims) -> list[Claim]:
    """Every claim that is judged, in the order of the tables."""
    suppressed = "spurious activation is suppressed"
    robust = "robustness to spurious correlations improves"
    return [
        Claim("accuracy improves", "v1", "difference", "accuracy", where="clean"),
        Claim("accuracy is competitive", "v2", "non-inferiority", "accuracy", where="clean"),
        # On clean data alone: where the prototypes hold decoys, to reproduce those would count as a gain.
        Claim("reconstruction improves in L1", "v1", "difference", "l1", more=False, where="clean"),
        Claim("reconstruction improves in L2", "v1", "difference", "l2", more=False, where="clean"),
        Claim("reconstruction improves in SSIM", "v1", "difference", "ssim", where="clean"),
        Claim("reconstruction beats the floors in L1", "figures 2–5", "floor", "l1", more=False, where="clean"),
        Claim("reconstruction beats the floors in L2", "figures 2–5", "floor", "l2", more=False, where="clean"),
        Claim("reconstruction beats the floors in SSIM", "figures 2–5", "floor", "ssim", where="clean"),
        Claim("gains hold for all three backbones", "v1", "everywhere", "backbone", where="clean"),
        Claim("gains hold at both resolutions", "v1", "everywhere", "resolution", where="clean"),
        Claim("maps are more coherent", "v2", "difference", "coherence"),
        Claim(f"{suppressed}: decoy mass", "v2", "difference", "decoy_mass", False, "decoy", "decoy_mass"),
        Claim(f"{suppressed}: flip rate", "v2", "difference", "decoy_flip_rate", False, "decoy", "decoy_flip"),
        Claim(f"{robust}: decoy accuracy", "v2", "difference", "decoy_accuracy", where="decoy"),
        Claim(f"{robust}: accuracy lost to decoys", "v2", "difference", "decoy_gap", False, "decoy"),
        Claim("overhead is minimal", "v2", "step", "floor_ratio", False, limit=settings.overhead, closed=True),
        Claim("training time falls", "v1", "step", "floor_ratio", False, limit=1),
        Claim("inference time falls: below a plain forward pass", "v1", "call", "floor_ratio", False, limit=1),
        Claim("inference time falls: below the old loop over images", "v1", "call", "speedup", False, limit=1),
        *(claim for control in settings.controls for claim in _beyond(control, settings)),
        Claim("maps stay specific to the instance", "ours", "level", "specificity", images="specificity"),
    ]


def _beyond(control: str, settings: Claims) -> list[Claim]:
    """That the method gains more than a control, in each thing that can be gained."""
    sentence = f"{settings.controlled} gains more than {control}: "
    return [
        Claim(f"{sentence}accuracy", "ours", "control", "accuracy", where="clean", control=control),
        Claim(f"{sentence}decoy accuracy", "ours", "control", "decoy_accuracy", where="decoy", control=control),
        Claim(f"{sentence}coherence", "ours", "control", "coherence", control=control),
        Claim(f"{sentence}decoy mass", "ours", "control", "decoy_mass", False, "decoy", "decoy_mass", control),
        Claim(f"{sentence}flip rate", "ours", "control", "decoy_flip_rate", False, "decoy", "decoy_flip", control),
    ]


def claims(
    cells: pd.DataFrame, bounds: pd.DataFrame, timing: pd.DataFrame, images: Images, settings: Claims
) -> pd.DataFrame:
    """The columns `COLUMNS`: per claim and setting a row for each loss and one for their mean; then one overall.

    Args:
        cells: cells.csv, from `bench.tables.read_cells`; a metric that it lacks was not measured.
        bounds: bounds.csv, from `bench.tables.read_bounds`.
        timing: timing.csv, from `bench.timing.table.read`.
        images: the image-level metrics; rows are the seeds from 0 on, and columns the same images in all cells of a
            dataset and resolution.
        settings: what was declared beforehand.
    """
    if {"clean_accuracy", "decoy_accuracy"} <= set(cells):
        cells = cells.assign(decoy_gap=cells["clean_accuracy"] - cells["decoy_accuracy"])
    evidence = Evidence(cells, bounds, timing, images, settings)
    rows: list[Row] = []
    for claim in catalogue(settings):
        found = _rows(claim, evidence, rows)
        rows += [*found, _overall(claim, [row for row in found if _is_judged(row, settings)])]
    counts = {"resolution": "Int64", "n": "Int64"}
    return pd.DataFrame(rows, columns=COLUMNS).astype(counts)


class Evidence:
    """The results, as claims ask for them."""

    def __init__(
        self, cells: pd.DataFrame, bounds: pd.DataFrame, timing: pd.DataFrame, images: Images, settings: Claims
    ) -> None:
        self.bounds, self.timing, self.images, self.settings = bounds, timing, images, settings
        self.absent = {(Setting(*key[:3]), key[3]): absence(cell) for key, cell in _groups(cells, _CELL)}
        self.cells = {
            (Setting(*key[:3]), key[3]): cell.set_index("seed").to_dict()
            for key, cell in _groups(finished(cells), _CELL)
        }

    def settings_in(self, where: str) -> list[Setting]:
        """Where the profile has the baseline and some of the family, of clean data, decoyed data or all.

        The paper says nothing of maps that are read elsewhere, and so such backbones are not judged.
        """
        baseline, family = self.settings.baseline, self.settings.family
        found = list(dict.fromkeys(s for s, loss in self.absent if loss in family and (s, baseline) in self.absent))
        found = [s for s in found if s.backbone in _BACKBONES]
        return [s for s in found if where == "all" or s.dataset.startswith(DECOY) == (where == "decoy")]

    def missing(self, setting: Setting, losses: Iterable[str]) -> str:
        """Which of these cells have no results, and why; "" if all have some."""
        by_reason: dict[str, list[str]] = {}
        for loss in losses:
            if (setting, loss) not in self.cells:
                by_reason.setdefault(self.absent.get((setting, loss), "not in this profile"), []).append(loss)
        number = sum(map(len, by_reason.values()))
        reasons = "; ".join(f"{reason}: {', '.join(found)}" for reason, found in by_reason.items())
        return f"{_count(number, 'cell')} without results ({reasons})" if number else ""

    def by_seed(self, setting: Setting, loss: str, metric: str) -> dict[Any, float]:
        """A metric of the finished seeds, NaN where it is not defined or not measured."""
        columns = self.cells[setting, loss]
        found = columns.get(metric) or dict.fromkeys(columns["status"])
        return {seed: math.nan if value is None else float(value) for seed, value in found.items()}

    def by_image(self, setting: Setting, losses: Sequence[str], metric: str) -> list[Numbers]:
        """The (seeds, images) of each of these losses; none at all where one of them lacks it."""
        dataset, backbone, resolution = setting
        by_metric = [self.images.get((dataset, backbone, loss, resolution), {}) for loss in losses]
        if not all(metric in found for found in by_metric):
            return []
        return [np.asarray(found[metric], dtype=np.float64) for found in by_metric]


def _groups(frame: pd.DataFrame, columns: list[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Rows that agree in these columns, in the order in which they first stand there."""
    return [(key, group) for key, group in frame.groupby(columns, sort=False)]


def _rows(claim: Claim, evidence: Evidence, before: Sequence[Row]) -> list[Row]:
    """All rows of a claim but the overall one."""
    places = evidence.settings_in(claim.where)
    match claim.kind:
        case "control":
            return [row for setting in places for row in _control_rows(claim, evidence, setting)]
        case "step":
            return _device_rows(claim, evidence) + _step_rows(claim, evidence)
        case "call":
            return _device_rows(claim, evidence) + _call_rows(claim, evidence)
        case "everywhere":
            return _everywhere_rows(claim, before, places)
        case _:
            return [row for setting in places for row in _family_rows(claim, evidence, setting)]


def _family_rows(claim: Claim, evidence: Evidence, setting: Setting) -> list[Row]:
    """A row for each loss of the family, and one for the mean over all of them."""
    family, question = evidence.settings.family, _question(claim, evidence, setting)
    by_loss: dict[str, Finding] = {loss: _finding(claim, evidence, setting, [loss], question) for loss in family}
    together = _finding(claim, evidence, setting, family, question)
    rows = _judged(claim, setting, by_loss)
    return rows + _unless_mixed(_judged(claim, setting, {ALL: together}), rows)


def _unless_mixed(together: list[Row], by_loss: Sequence[Row]) -> list[Row]:
    """The mean of a family says nothing where one of its losses is, by itself, on the other side."""
    (row,) = together
    other = {SUPPORTED: NOT_SUPPORTED, NOT_SUPPORTED: SUPPORTED}.get(row["verdict"])
    opposed = [one["loss"] for one in by_loss if one["verdict"] == other]
    if not opposed:
        return together
    reason = f"mixed: the mean is {row['verdict']}, but by itself {', '.join(opposed)} {other}"
    return [row | {"verdict": INCONCLUSIVE, "reason": "; ".join(note for note in (reason, row["reason"]) if note)}]


def _control_rows(claim: Claim, evidence: Evidence, setting: Setting) -> list[Row]:
    """The row of one control; the family is all controls that the setting has."""
    settings = evidence.settings
    here = [control for control in settings.controls if (setting, control) in evidence.absent]
    by_control = {
        f"{settings.controlled} − {control}": _finding(
            claim, evidence, setting, [settings.controlled], Question(control, control)
        )
        for control in here
    }
    rows = _judged(claim, setting, by_control)
    return [row for row, control in zip(rows, here, strict=True) if control == claim.control]


def _question(claim: Claim, evidence: Evidence, setting: Setting) -> Question:
    """What the family is tested against here."""
    settings = evidence.settings
    if claim.kind == "floor":
        return _floor(evidence.bounds, setting, claim)
    if claim.kind == "difference":
        return Question(settings.baseline, settings.baseline)
    if claim.kind == "level":
        return Question(settings.least_specificity, f"{settings.least_specificity:g}")
    margins: Mapping[Any, float] = settings.accuracy_margin
    margin = margins.get(setting.dataset)
    obstacle = f"no margin is set for {shown(setting.dataset)}" if margin is None else ""
    return Question(settings.baseline, settings.baseline, margin, obstacle)


def _floor(bounds: pd.DataFrame, setting: Setting, claim: Claim) -> Question:
    """The strongest floor in the claim's metric; with an obstacle where the backbone's grid could not come above it."""
    here = bounds[(bounds["dataset"] == setting.dataset) & (bounds["resolution"] == setting.resolution)]
    floors = here[(here["kind"] == "floor") & (here["name"] != _NO_FLOOR)].set_index("name")[claim.metric].dropna()
    if floors.empty:
        return Question(math.nan, "the floor", obstacle="no floor is known")
    best = floors.idxmax() if claim.more else floors.idxmin()
    strongest, name = float(floors[best]), f"the floor, {best} ({floors[best]:.3f})"
    own = here["backbones"].map(lambda names: setting.backbone in split_names(names)).astype(bool)
    ceilings = here.loc[own & (here["kind"] == "ceiling"), claim.metric].dropna()
    if ceilings.empty:
        return Question(strongest, name, obstacle="no ceiling is known: whether the grid is too coarse cannot be said")
    ceiling = float(ceilings.max() if claim.more else ceilings.min())
    if ceiling < strongest if claim.more else ceiling > strongest:
        return Question(strongest, name, obstacle=f"grid too coarse: the best it can reach, {ceiling:.3f}, is worse")
    return Question(strongest, name)


def _finding(claim: Claim, evidence: Evidence, setting: Setting, losses: Sequence[str], question: Question) -> Finding:
    """The mean of these losses against what is asked."""
    test = f"difference to {question.name}"
    involved = [*losses, *([question.reference] if isinstance(question.reference, str) else [])]
    if missing := evidence.missing(setting, involved):
        return Finding(test, obstacle=missing)
    sample = _sample(claim, evidence, setting, losses, question.reference)
    return _tested(test, sample, question)


def _sample(
    claim: Claim, evidence: Evidence, setting: Setting, losses: Sequence[str], reference: str | float
) -> Sample:
    """Differences between the mean of these losses and the reference, by image where the claim has them."""
    involved = [*losses, reference] if isinstance(reference, str) else list(losses)
    if found := evidence.by_image(setting, involved, claim.images):
        common = min(len(one) for one in found)
        found = [one[:common] for one in found]
        against = found[-1] if isinstance(reference, str) else reference
        by_image = np.mean(found[: len(losses)], axis=0) - against
        some = ~np.isnan(by_image).all(axis=1)
        return Sample(np.nanmean(by_image[some], axis=1), by_image)
    by_loss = [evidence.by_seed(setting, loss, claim.metric) for loss in involved]
    seeds = sorted(set().union(*by_loss))
    values = np.array([[found.get(seed, math.nan) for seed in seeds] for found in by_loss])
    base = values[-1] if isinstance(reference, str) else reference
    differences = values[: len(losses)].mean(axis=0) - base
    without = int(np.isnan(differences).sum())
    notes = [f"{without} of {_count(len(seeds), 'seed')} without a pair of values"] if without else []
    differences = differences[~np.isnan(differences)]
    return Sample(differences, None, notes + _left_out(claim, evidence, setting, involved))


def _left_out(claim: Claim, evidence: Evidence, setting: Setting, losses: Sequence[str]) -> list[str]:
    """How many images the means go without, summed over these cells' seeds."""
    notes = []
    for column in _LACKING.get(claim.metric, []):
        number = int(np.nansum([value for x in losses for value in evidence.by_seed(setting, x, column).values()]))
        if number:
            trainings = sum(len(evidence.by_seed(setting, x, column)) for x in losses)
            notes.append(f"{number} {_LEFT_OUT[column]} are left out, over {_count(trainings, 'training')}")
    return notes


def _tested(test: str, sample: Sample, question: Question) -> Finding:
    """The differences to 0; or to −margin, each end a one-sided bound."""
    margin = question.margin
    if margin is None:
        t, confidence, threshold = paired_difference(sample.by_seed, 1 - LEVEL), 1 - LEVEL, 0.0
        p_against, how = t.p, "paired t by seed"
    else:
        t, confidence, threshold = non_inferiority(sample.by_seed, margin, 1 - LEVEL), 1 - 2 * LEVEL, -margin
        p_against, how = 1 - t.p, f"margin {margin:g}, one-sided paired t by seed"
    estimate, low, high, notes = t.mean, t.low, t.high, list(sample.notes)
    if sample.by_image is not None:
        estimate, low, high, _, undefined = bootstrap_interval(sample.by_image, confidence)
        how = f"bootstrap of seeds, then images; p: {how}"
        notes += [f"{undefined} of {sample.by_image.size} pairs of images without a value"] if undefined else []
    return Finding(
        f"{test}; {how}",
        *(estimate, low, high, t.n, t.p, p_against, threshold),
        sample=sample.by_seed - threshold,
        notes=notes,
        obstacle=question.obstacle,
    )


def _device_rows(claim: Claim, evidence: Evidence) -> list[Row]:
    """A row for each device that has no timings."""
    timing = evidence.timing
    absent = timing[timing["contender"].isna()] if len(timing) else timing
    nowhere = Setting("", "", pd.NA)
    findings = [Finding("timing", obstacle=f"{row['device'].upper()}: {row['status']}") for row in records(absent)]
    return [row for finding in findings for row in _judged(claim, nowhere, {ALL: finding})]


def _timed(timing: pd.DataFrame, kind: str) -> Iterable[tuple[Setting, str, dict[str, Row]]]:
    """The groups of a kind: where, in words, and its rows by contender."""
    if timing.empty:
        return
    for (device, backbone, layer, resolution, batch), group in _groups(timing[timing["kind"] == kind], _TIMED):
        words = f"{device.upper()}, read at {layer}, batch {batch}; median over rounds"
        yield Setting("", backbone, resolution), words, {row["contender"]: row for row in records(group)}


def _step_rows(claim: Claim, evidence: Evidence) -> list[Row]:
    """A guided step ÷ a cross-entropy step: a row for each loss, and one for the mean over all of them.

    The file has no rounds, so the interval of the mean runs between the means of the ends. That is not too narrow: the
    standard error of a mean is at most the mean of the standard errors.
    """
    rows = []
    for setting, words, by_contender in _timed(evidence.timing, "step"):
        test = f"step ÷ {training.FLOOR} step, {words}"
        found: dict[str, Finding] = {
            loss: _ratio(test, by_contender.get(loss), "floor_ratio", claim.limit) for loss in evidence.settings.family
        }
        rows += _judged(claim, setting, found) + _judged(claim, setting, {ALL: _mean_ratio(test, found, claim.limit)})
    return rows


def _call_rows(claim: Claim, evidence: Evidence) -> list[Row]:
    """`explain` ÷ the plain forward pass or the old loop, where those were compared."""
    rows = []
    for setting, words, by_contender in _timed(evidence.timing, "maps"):
        if claim.metric == "speedup" and inference.LOOP not in by_contender:
            continue
        against = inference.FLOOR if claim.metric == "floor_ratio" else inference.LOOP
        test = f"{inference.OURS} ÷ {against}, {words}"
        finding = _ratio(test, by_contender.get(inference.OURS), claim.metric, claim.limit)
        rows += _judged(claim, setting, {inference.OURS: finding})
    return rows


def _ratio(test: str, row: Row | None, metric: str, limit: float) -> Finding:
    """A ratio of timing.csv with its interval; of a speedup the inverse."""
    if row is None:
        return Finding(test, obstacle="not measured")
    if row["status"] != "ok":
        return Finding(test, obstacle=f"not measured: {row['status']}")
    middle, low, high = (float(row[name]) for name in (metric, f"{metric}_low", f"{metric}_high"))
    if math.isnan(middle):
        return Finding(test, obstacle="not measured: what it is divided by")
    if metric == "speedup":
        middle, low, high = 1 / middle, 1 / high, 1 / low
    return Finding(test, middle, low, high, int(row["rounds"]), None, None, limit)


def _mean_ratio(test: str, by_loss: Mapping[str, Finding], limit: float) -> Finding:
    """The mean over the losses, or which of them lack timings."""
    absent = [loss for loss, finding in by_loss.items() if math.isnan(finding.estimate)]
    if absent:
        return Finding(test, obstacle=f"{len(absent)} of {len(by_loss)} losses not measured ({', '.join(absent)})")
    found = list(by_loss.values())
    estimate, low, high = (float(np.mean([getattr(f, end) for f in found])) for end in ("estimate", "low", "high"))
    return Finding(test, estimate, low, high, min(f.n for f in found), None, None, limit)


def _everywhere_rows(claim: Claim, before: Sequence[Row], places: Sequence[Setting]) -> list[Row]:
    """Whether the verdicts on each of v1's gains agree along an axis of the grid."""
    backbones = claim.metric == "backbone"
    rows = []
    for group in dict.fromkeys(s._replace(backbone="") if backbones else s._replace(resolution=pd.NA) for s in places):
        for gain in _GAINS:
            found = [row for row in before if row["claim"] == gain and row["loss"] == ALL and _is_in(row, group)]
            test = f"verdicts by {claim.metric}: {gain}"
            row = _row(claim, group, ALL, Finding(test))
            rows.append(row | _agreement(found, claim.metric))
    return rows


def _is_in(row: Row, group: Setting) -> bool:
    """Whether a row's setting is one of a group, in which the backbone or the resolution is left open."""
    backbones = (group.backbone,) if group.backbone else _BACKBONES
    same = row["dataset"] == group.dataset and row["backbone"] in backbones
    if group.resolution is pd.NA and row["resolution"] not in _RESOLUTIONS:
        return False
    return same and (group.resolution is pd.NA or row["resolution"] == group.resolution)


def _agreement(rows: Sequence[Row], axis: str) -> Row:
    """The verdict of a gain that must hold in each of these rows."""
    verdicts = {row[axis]: row["verdict"] for row in rows if not math.isnan(row["estimate"])}
    needed = len(_BACKBONES) if axis == "backbone" else 2
    reason = ", ".join(f"{shown(place) if axis == 'backbone' else f'{place} px'}: {v}" for place, v in verdicts.items())
    if len(verdicts) < needed and NOT_SUPPORTED not in verdicts.values():
        return {
            "n": len(verdicts),
            "verdict": INCONCLUSIVE,
            "reason": f"measured in {len(verdicts)} of {needed} {axis}s",
        }
    return {"n": len(verdicts), "verdict": _in_all(list(verdicts.values())), "reason": reason}


def _in_all(verdicts: Sequence[str]) -> str:
    """One counterexample refutes that something holds everywhere."""
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if set(verdicts) == {SUPPORTED} else INCONCLUSIVE


def _judged(claim: Claim, setting: Setting, family: Mapping[str, Finding]) -> list[Row]:
    """The rows of findings that were tested together, each with its verdict."""
    p, p_against = (
        holm([math.nan if v is None else v for v in values])
        for values in ([f.p for f in family.values()], [f.p_against for f in family.values()])
    )
    tests = int(np.sum(~np.isnan(p)))
    rows = []
    for (loss, finding), adjusted, adjusted_against in zip(family.items(), p, p_against, strict=True):
        verdict, reason = _verdict(claim, finding, float(adjusted), float(adjusted_against))
        notes = [reason, *finding.notes, _companion(finding, tests)]
        row = _row(claim, setting, loss, finding) | {"p_holm": float(adjusted), "verdict": verdict}
        rows.append(row | {"reason": "; ".join(note for note in notes if note)})
    return rows


def _row(claim: Claim, setting: Setting, loss: str, finding: Finding) -> Row:
    row = {"claim": claim.sentence, "source": claim.source, **setting._asdict(), "loss": loss, "test": finding.test}
    row |= {"estimate": finding.estimate, "low": finding.low, "high": finding.high, "n": finding.n}
    return row | {"p": math.nan if finding.p is None else finding.p, "p_holm": math.nan, "verdict": "", "reason": ""}


def _verdict(claim: Claim, finding: Finding, p: float, p_against: float) -> tuple[str, str]:
    """The verdict, and the reason where there is none on either side."""
    low, high, threshold = finding.low, finding.high, finding.threshold
    if finding.obstacle:
        return INCONCLUSIVE, finding.obstacle
    if math.isnan(low):
        return INCONCLUSIVE, f"n = {finding.n}: no interval"
    above, below = low > threshold, high < threshold or (claim.closed and high == threshold)
    if not above and not below:
        return INCONCLUSIVE, f"the interval holds {_number(threshold)}"
    holds = above == claim.more
    if finding.p is not None:
        p = p if holds else p_against
        if math.isnan(p):
            return INCONCLUSIVE, "all seeds have the same difference: no spread to judge by"
        if p > LEVEL:
            return INCONCLUSIVE, f"p (Holm) {p_text(p)} is above .05"
    return (SUPPORTED if holds else NOT_SUPPORTED), ""


def _companion(finding: Finding, tests: int) -> str:
    """What the sign-flip test of the same differences says."""
    if finding.sample is None or finding.p is None or math.isnan(finding.p):
        return ""
    found = sign_flip(finding.sample, tests)
    return f"sign-flip: {found.why_not or f'p {p_text(found.p)}'}"


def _overall(claim: Claim, rows: Sequence[Row]) -> Row:
    """The verdict over all settings."""
    verdicts = [row["verdict"] for row in rows]
    counts = {verdict: verdicts.count(verdict) for verdict in (SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE)}
    if claim.kind == "everywhere":
        verdict = _in_all(verdicts)
    elif counts[NOT_SUPPORTED] and not counts[SUPPORTED]:
        verdict = NOT_SUPPORTED
    else:
        verdict = SUPPORTED if verdicts and counts[SUPPORTED] == len(verdicts) else INCONCLUSIVE
    reason = ", ".join(f"{word} in {number}" for word, number in counts.items() if number)
    reason = f"{reason} of {_count(len(rows), 'setting')}" if rows else f"not measured: {_lacking(claim)}"
    row = _row(claim, Setting(OVERALL, "", pd.NA), "", Finding(""))
    return row | {"n": pd.NA, "verdict": verdict, "reason": reason}


def _lacking(claim: Claim) -> str:
    """What a profile would need for the claim to have a setting."""
    if claim.kind in ("step", "call"):
        return "no timings in this profile"
    dataset = {"clean": "clean dataset", "decoy": "decoy dataset", "all": "dataset"}[claim.where]
    with_control = f" with {claim.control}" if claim.control else ""
    return f"no {dataset}{with_control} in this profile"


def _is_judged(row: Row, settings: Claims) -> bool:
    """Whether a row is that of a whole setting, not of one loss in it."""
    return row["loss"] not in settings.family and row["dataset"] != OVERALL


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def write(frame: pd.DataFrame, settings: Claims, directory: Path) -> None:
    """claims.csv, unrounded, and claims.md."""
    with written_aside(directory / "claims.csv") as aside:
        frame.to_csv(aside, index=False, lineterminator="\n")
    with written_aside(directory / "claims.md") as aside:
        aside.write_text(markdown(frame, settings), "utf-8", newline="\n")


def markdown(frame: pd.DataFrame, settings: Claims) -> str:
    """For readers: the verdicts overall, and beneath a table for each claim with its settings."""
    rows = records(frame)
    parts = ["# Verdicts on the claims", "\n".join(f"* {note}" for note in _notes(settings)), overview(frame)]
    for claim in catalogue(settings):
        own = [row for row in rows if row["claim"] == claim.sentence]
        parts.append(f"## {claim.sentence[0].upper()}{claim.sentence[1:]} ({claim.source})")
        parts.append(f"Overall {own[-1]['verdict']}: {own[-1]['reason']}. {_reading(claim, settings)}")
        if lines := _lines(own, settings):
            parts.append(_grid(lines))
    return "\n\n".join(parts) + "\n"


def overview(frame: pd.DataFrame) -> str:
    """The verdict on each claim over all settings, as a table for readers."""
    lines = [
        {"claim": row["claim"], "source": row["source"], "verdict": row["verdict"], "settings": row["reason"]}
        for row in records(frame)
        if row["dataset"] == OVERALL
    ]
    return _grid(lines)


def _notes(settings: Claims) -> list[str]:
    """How verdicts are made."""
    return [
        f"A setting is one dataset × backbone × resolution. Its family is {', '.join(settings.family)}; the verdict of"
        " a setting is that of their mean, never that of the loss that came out best; where a loss by itself is on the"
        " other side, the setting is mixed, and inconclusive. claims.csv has each loss, with p-values corrected inside"
        " the family (Holm).",
        "A verdict is supported or not supported where the whole 95 % interval lies on that side and p ≤ .05 agrees;"
        " else it is inconclusive. Seeds are paired: same initialisation, order and split.",
        "Overall, a claim is supported if it is in every setting; not supported if it is not in at least one and"
        " supported in none; else inconclusive. That gains hold everywhere is refuted by one counterexample. A setting"
        " errs on one side with 2.5 %, in non-inferiority with 5 %, and there is no correction across settings.",
        "Metrics of single images have a bootstrap interval. In simulation it covered 76, 86 and 90 % with 3, 6 and 10"
        " seeds where seeds alone differ, so a verdict also needs the t test of the seeds.",
        "p stands for the test of the mean over all losses, or for a control's after Holm; ratios of times have an"
        " interval alone. The sign-flip test asks nothing of the distribution but symmetry.",
    ]


def _reading(claim: Claim, settings: Claims) -> str:
    """What a positive estimate means, and what speaks for the claim."""
    side = "above" if claim.more else "below"
    match claim.kind:
        case "level":
            level = f"{settings.least_specificity:g}"
            return f"Estimate: `{claim.metric}` of the losses − {level}; above 0 speaks for the claim."
        case "difference":
            return f"Estimate: `{claim.metric}`, losses − {settings.baseline}; {side} 0 speaks for the claim."
        case "non-inferiority":
            return (
                f"Estimate: `{claim.metric}`, losses − {settings.baseline}; the ends are one-sided 95 % bounds, and"
                " above −margin speaks for the claim; p is that of a difference at or below it."
            )
        case "floor":
            return f"Estimate: `{claim.metric}`, losses − the strongest floor; {side} 0 speaks for the claim."
        case "control":
            pair = f"{settings.controlled} − {claim.control}"
            return f"Estimate: `{claim.metric}`, {pair}; {side} 0 speaks for the claim."
        case "step" | "call":
            at = "up to" if claim.closed else "below"
            return f"Estimate: ratio of times; {at} {claim.limit:g} speaks for the claim."
        case _:
            return "Made from the verdicts above: what was gained in each place, n of them."


def _lines(rows: Sequence[Row], settings: Claims) -> list[dict[str, str]]:
    """A line for each setting; how many of its losses have which verdict stands in one cell."""
    lines, by_loss = [], list[str]()
    for row in rows:
        if row["dataset"] == OVERALL:
            continue
        if not _is_judged(row, settings):
            by_loss.append(row["verdict"])
            continue
        lines.append(_line(row, by_loss))
        by_loss = []
    return lines


def _line(row: Row, by_loss: Sequence[str]) -> dict[str, str]:
    """One setting for readers."""
    line = {"dataset": shown(row["dataset"]) or _NONE, "backbone": shown(row["backbone"]) or _NONE}
    line |= {"px": _NONE if pd.isna(row["resolution"]) else str(row["resolution"]), "tested": row["test"]}
    line["estimate"] = _number(row["estimate"])
    ends = (row["low"], row["high"])
    line["interval"] = _NONE if math.isnan(ends[0]) else f"[{_number(ends[0])}, {_number(ends[1])}]"
    line |= {"n": str(row["n"]), "p": _NONE if math.isnan(row["p_holm"]) else p_text(row["p_holm"])}
    line["by loss"] = ", ".join(f"{by_loss.count(v)} {v}" for v in dict.fromkeys(by_loss)) or _NONE
    return line | {"verdict": row["verdict"], "reason": row["reason"] or _NONE}


def _number(value: float) -> str:
    """Four decimals, or fewer where they are 0."""
    if math.isnan(value):
        return _NONE
    return f"{value:.4f}".rstrip("0").rstrip(".").replace("-", "−")


def _grid(lines: Sequence[Mapping[str, str]]) -> str:
    """A table in GitHub's Markdown."""
    frame = pd.DataFrame(lines).map(lambda text: " ".join(text.split()).replace("|", "\\|"))
    numbers = ("px", "estimate", "interval", "n", "p")
    sides = ["right" if column in numbers else "left" for column in frame]
    return frame.to_markdown(index=False, disable_numparse=True, colalign=sides)
