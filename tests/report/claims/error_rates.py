"""How often the rules of judging err: `make error-rates` writes docs/error-rates.md.

Results are drawn in which the truth is known, judged by the rules as they stand, and counted. Differences between a
loss and cross-entropy are normal by seed, in units of their standard deviation; with test images, each seed has an
error rate of its own, and images differ in how hard they are, as both of a pair are tested on the same ones.
"""

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from bench.names import METRICS
from bench.report.claims.evidence import Setting
from bench.report.claims.paired import Question, Sample, tested
from bench.report.claims.rules import RULES
from bench.report.claims.verdict import ALL, METHOD, Judged, Verdict, intersection, judged
from bench.statistics import Numbers

PAGE = Path(__file__).parents[3] / "docs" / "error-rates.md"
SEEDS = (3, 5, 10)
DRAWS = 2000
DRAWS_BY_IMAGE = 500  # each with twelve bootstraps
IMAGES = 400
SETTING = Setting("mnist", "simple_cnn", 23)
SSIM = METRICS["ssim"]
MARGIN = RULES.accuracy_margin["mnist"]


class Truth(NamedTuple):
    """A world in which results are drawn, and what an error is there."""

    sentence: str  # in the table
    error: Verdict
    draws: Callable[[np.random.Generator, int], list[Judged]]  # by the number of seeds
    bound: str  # of the rate, as declared


def differences(rng: np.random.Generator, seeds: int, effect: float = 0.0, sd: float = 1.0) -> list[Sample]:
    """One sample for each loss; half of the variance is that of cross-entropy, which all six are held against."""
    common = rng.standard_normal(seeds)
    own = rng.standard_normal((len(RULES.family), seeds))
    return [Sample(effect + sd * (common + one) / math.sqrt(2)) for one in own]


def image_differences(rng: np.random.Generator, seeds: int) -> list[Sample]:
    """Which of the test images a loss gets right less which `ce` does, both of them at 98 % with the same spread."""
    hardness = rng.gumbel(size=IMAGES)

    def right() -> Numbers:
        ability = 4.6 + 0.15 * rng.standard_normal((seeds, 1))  # a standard deviation of about .2 points
        chance = 1 / (1 + np.exp(hardness - ability))
        return (rng.random((seeds, IMAGES)) < chance).astype(np.float64)

    baseline = right()
    by_image = [right() - baseline for _ in RULES.family]
    return [Sample(one.mean(axis=1), one) for one in by_image]


def family(samples: list[Sample], question: Question, metric: str = "ssim") -> list[Judged]:
    """The six as they are judged, then all of them at once."""
    findings = [
        tested("", sample, METRICS[metric], question)._replace(least=RULES.least_seeds, sample=None)
        for sample in samples
    ]
    found = judged(SETTING, dict(zip(RULES.family, findings, strict=True)))
    return [*found, intersection(SETTING, found)]


def chosen(rng: np.random.Generator, seeds: int) -> list[Judged]:
    """Of six that gain nothing, the one that looks best on the validation split, tested once on test images.

    A seed's luck is half shared by the two splits.
    """
    test = differences(rng, seeds)
    validation = [one.by_seed / 2 + math.sqrt(3 / 4) * rng.standard_normal(seeds) for one in test]
    best = test[int(np.argmax([one.mean() for one in validation]))]
    return judged(SETTING, {METHOD: tested("", best, SSIM, AGAINST_CE)._replace(sample=None)})


AGAINST_CE = Question("ce", "ce")
NOT_WORSE = Question("ce", "ce", margin=MARGIN)
THE_SAME = Question("blob-ssim", "blob-ssim", equivalence=RULES.equivalence["accuracy"])
TOST = RULES.equivalence["accuracy"]

TRUTHS = (
    Truth(
        "no loss differs from `ce`",
        Verdict.SUPPORTED,
        lambda rng, n: family(differences(rng, n), AGAINST_CE),
        "any of six, 2.5 %",
    ),
    Truth(
        "the same",
        Verdict.CONTRADICTED,
        lambda rng, n: family(differences(rng, n), AGAINST_CE),
        "any of six, 2.5 %",
    ),
    Truth(
        "no loss differs, by image",
        Verdict.SUPPORTED,
        lambda rng, n: family(image_differences(rng, n), AGAINST_CE, "accuracy"),
        "any of six, 2.5 %",
    ),
    Truth(
        "all six are worse by the margin of accuracy",
        Verdict.SUPPORTED,
        lambda rng, n: family(differences(rng, n, -MARGIN, MARGIN), NOT_WORSE, "accuracy"),
        "any of six, 5 %",
    ),
    Truth(
        "all six differ from a control by the margin of equivalence",
        Verdict.EQUIVALENT,
        lambda rng, n: family(differences(rng, n, TOST, TOST / 2), THE_SAME, "accuracy")[:1],
        "one, 5 %",
    ),
    Truth("the best on validation gains nothing", Verdict.SUPPORTED, chosen, "one, 2.5 %"),
)
#: What the rules see of an effect that is there, in standard deviations of the difference.
POWER = (1.0, 2.0, 3.0, 5.0)


def rate(truth: int, seeds: int) -> float:
    """Of many results in a world, the share with an error."""
    world = TRUTHS[truth]
    rng = np.random.default_rng([truth, seeds])
    draws = DRAWS_BY_IMAGE if "by image" in world.sentence else DRAWS
    return float(np.mean([_errs(world.draws(rng, seeds), world) for _ in range(draws)]))


def _errs(found: list[Judged], world: Truth) -> bool:
    return any(one.verdict == world.error for one in found if one.loss != ALL)


def power(effect: float, seeds: int) -> tuple[float, float]:
    """How often a loss that gains this much is supported, and how often all six are."""
    rng = np.random.default_rng([99, round(effect), seeds])
    drawn = [family(differences(rng, seeds, effect), AGAINST_CE) for _ in range(DRAWS // 2)]
    supported = np.array([[one.verdict == Verdict.SUPPORTED for one in found] for found in drawn])
    return float(supported[:, :-1].mean()), float(supported[:, -1].mean())


def page(rates: Mapping[tuple[int, int], float], powers: Mapping[tuple[float, int], tuple[float, float]]) -> str:
    """docs/error-rates.md."""
    columns = [f"n = {n}" for n in SEEDS]
    errors = [
        [truth.sentence, truth.error.value, truth.bound, *(f"{100 * rates[i, n]:.1f} %" for n in SEEDS)]
        for i, truth in enumerate(TRUTHS)
    ]
    shares = {key: " and ".join(f"{100 * share:.0f} %" for share in found) for key, found in powers.items()}
    seen = [[f"{effect:g} sd", *(shares[effect, n] for n in SEEDS)] for effect in POWER]
    paragraphs = [
        "# How often the rules of judging err",
        "Made by `make error-rates`; tests/report/claims/error_rates.py has the worlds that results are drawn in:"
        f" {DRAWS} of each kind, so a rate of 5 % is known to about one point; by image {DRAWS_BY_IMAGE}, to two."
        " n is the number of seeds. The rules are"
        " in `bench/report/claims/rules.py` and, in words, at the head of every claims.md.",
        _table(errors, ["truth", "error", "bound", *columns]),
        "With three seeds an interval is wide: an effect must be several times the spread between seeds before it is"
        " seen. A gain that is there, in standard deviations of the paired difference, and how often it is called"
        " supported for one of six losses and for `all six`:",
        _table(seen, ["gain", *columns]),
        "The method is picked on the validation split and tested on the test split, of trainings of the same seeds."
        " Where the two splits share half of a seed's luck, as drawn here, it errs more often than declared.",
        "By image, the bootstrap alone covers too little with few seeds (docstring of `bootstrap_interval`); of each"
        " end the farther of its and of Student's t over seeds is taken, and the table has them so.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _table(rows: list[list[str]], columns: list[str]) -> str:
    return pd.DataFrame(rows, columns=columns).to_markdown(index=False, disable_numparse=True)


def main() -> None:
    """Draw, judge, count, and write the page."""
    worlds = [(i, n) for i in range(len(TRUTHS)) for n in SEEDS]
    effects = [(effect, n) for effect in POWER for n in SEEDS]
    with ProcessPoolExecutor(2) as pool:
        rates = {key: pool.submit(rate, *key) for key in worlds}
        powers = {key: pool.submit(power, *key) for key in effects}
        found = {key: future.result() for key, future in tqdm(rates.items(), unit="world")}
        seen = {key: future.result() for key, future in tqdm(powers.items(), unit="gain")}
    PAGE.write_text(page(found, seen), encoding="utf-8")


if __name__ == "__main__":
    main()
