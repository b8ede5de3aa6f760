"""Losses against a reference, by differences that are paired by seed and, where those are known, by image."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.names import Metric
from bench.report.claims.evidence import Evidence, Setting
from bench.report.claims.verdict import Finding, Threshold
from bench.report.rendering import count
from bench.statistics import LEVEL, Numbers, bootstrap_interval, non_inferiority, paired_difference


class Question(NamedTuple):
    """What the losses of a setting are held against."""

    reference: str | float  # another loss, or a number
    name: str  # the reference in words
    margin: float | None = None  # of non-inferiority
    obstacle: str = ""  # why there can be no verdict


class Sample(NamedTuple):
    """Differences paired by seed, also by image where those are known."""

    by_seed: Numbers
    by_image: Numbers | None = None
    notes: Sequence[str] = ()


def finding(evidence: Evidence, setting: Setting, losses: Sequence[str], metric: Metric, question: Question) -> Finding:
    """The mean of these losses against what is asked."""
    test = f"difference to {question.name}"
    involved = [*losses, *([question.reference] if isinstance(question.reference, str) else [])]
    if missing := evidence.missing(setting, involved):
        some = any(evidence.has(setting, loss) for loss in losses)
        return Finding(test, obstacle=missing) if some else Finding(test, unmeasured=missing)
    return _tested(test, _sample(evidence, setting, losses, metric, question.reference), metric, question)


def _sample(
    evidence: Evidence, setting: Setting, losses: Sequence[str], metric: Metric, reference: str | float
) -> Sample:
    """Differences between the mean of these losses and the reference, by image where those are known."""
    involved = [*losses, reference] if isinstance(reference, str) else list(losses)
    if found := evidence.by_image(setting, involved, metric.name):
        common = min(len(one) for one in found)
        found = [one[:common] for one in found]
        against = found[-1] if isinstance(reference, str) else reference
        by_image = np.mean(found[: len(losses)], axis=0) - against
        some = ~np.isnan(by_image).all(axis=1)
        return Sample(np.nanmean(by_image[some], axis=1), by_image)
    by_loss = [evidence.by_seed(setting, loss, metric.name) for loss in involved]
    seeds = sorted(set().union(*by_loss))
    values = np.array([[of_loss.get(seed, math.nan) for seed in seeds] for of_loss in by_loss])
    base = values[-1] if isinstance(reference, str) else reference
    differences = values[: len(losses)].mean(axis=0) - base
    without = int(np.isnan(differences).sum())
    notes = [f"{without} of {count(len(seeds), 'seed')} without a pair of values"] if without else []
    notes += evidence.left_out(setting, involved, metric.name)
    return Sample(differences[~np.isnan(differences)], None, notes)


def _tested(test: str, sample: Sample, metric: Metric, question: Question) -> Finding:
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
        Threshold(threshold, metric.better == "more"),
        *(estimate, low, high, t.n, t.p, p_against),
        sample=sample.by_seed - threshold,
        notes=notes,
        obstacle=question.obstacle,
    )
