"""A loss against a reference, by differences that are paired by seed and, where those are known, by image."""

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
    """What a loss is held against."""

    reference: str | float  # another loss, or a number
    name: str  # the reference in words
    margin: float | None = None  # of non-inferiority
    equivalence: float | None = None  # within which a loss and a control count as equivalent
    obstacle: str = ""  # why there can be no verdict


class Sample(NamedTuple):
    """Differences paired by seed, also by image where those are known."""

    by_seed: Numbers
    by_image: Numbers | None = None
    notes: Sequence[str] = ()


def finding(evidence: Evidence, setting: Setting, loss: str, metric: Metric, question: Question) -> Finding:
    """The loss against what is asked."""
    test = f"difference to {question.name}"
    involved = [loss, *([question.reference] if isinstance(question.reference, str) else [])]
    if missing := evidence.missing(setting, involved):
        tried = evidence.has(setting, loss) and evidence.tried(setting, involved)
        return Finding(test, obstacle=missing) if tried else Finding(test, unmeasured=missing)
    sample = _sample(evidence, setting, loss, metric, question.reference)
    level = math.nan if isinstance(question.reference, str) else question.reference
    found = tested(test, sample, metric, question)
    return found._replace(least=evidence.rules.least_seeds, reference=question.name, level=level)


def _sample(evidence: Evidence, setting: Setting, loss: str, metric: Metric, reference: str | float) -> Sample:
    """Differences between the loss and the reference, by image where those are known."""
    involved = [loss, reference] if isinstance(reference, str) else [loss]
    unlike = evidence.unlike(setting, involved)
    if found := evidence.by_image(setting, involved, metric.name):
        common = min(len(one) for one in found)
        by_image = found[0][:common] - (found[1][:common] if isinstance(reference, str) else reference)
        some = ~np.isnan(by_image).all(axis=1)
        return Sample(np.nanmean(by_image[some], axis=1), by_image, unlike)
    by_loss = [evidence.by_seed(setting, one, metric.name) for one in involved]
    seeds = sorted(set().union(*by_loss))
    values = np.array([[of_loss.get(seed, math.nan) for seed in seeds] for of_loss in by_loss])
    differences = values[0] - (values[1] if isinstance(reference, str) else reference)
    without = int(np.isnan(differences).sum())
    notes = [f"{without} of {count(len(seeds), 'seed')} without a pair of values"] if without else []
    notes += [*evidence.left_out(setting, involved, metric.name), *unlike]
    return Sample(differences[~np.isnan(differences)], None, notes)


def tested(test: str, sample: Sample, metric: Metric, question: Question) -> Finding:
    """The differences to 0; or to −margin, each end a one-sided bound."""
    margin = question.margin
    if margin is None:
        t, confidence, threshold = paired_difference(sample.by_seed, 1 - LEVEL), 1 - LEVEL, 0.0
        p_against, how = t.p, "paired t by seed"
    else:
        t, confidence, threshold = non_inferiority(sample.by_seed, margin, 1 - LEVEL), 1 - 2 * LEVEL, -margin
        p_against, how = 1 - t.p, f"margin {margin:g}, one-sided paired t by seed"
    estimate, low, high, notes = t.mean, t.low, t.high, list(sample.notes)
    narrow = paired_difference(sample.by_seed, 1 - 2 * LEVEL)
    inner = (narrow.low, narrow.high)
    if sample.by_image is not None:
        estimate, low_by_image, high_by_image, _, undefined = bootstrap_interval(sample.by_image, confidence)
        within = bootstrap_interval(sample.by_image, 1 - 2 * LEVEL)
        # The seeds alone know nothing of the images, and with few of them the bootstrap covers too little.
        low, high = min(low, low_by_image), max(high, high_by_image)
        inner = (min(inner[0], within.low), max(inner[1], within.high))
        how = f"{how}, and a bootstrap of seeds, then images: of each end the farther; p by seed"
        notes += [f"{undefined} of {sample.by_image.size} pairs of images without a value"] if undefined else []
    return Finding(
        f"{test}; {how}",
        Threshold(threshold, metric.better == "more", equivalence=question.equivalence),
        *(estimate, low, high, t.n, t.p, p_against),
        inner=inner,
        sample=sample.by_seed - threshold,
        one_sided=margin is not None,
        notes=notes,
        obstacle=question.obstacle,
    )
