"""The statistics of a few seeds: how sure a mean is.

Student's t throughout: in simulation its intervals covered 94–96 % of a nominal 95 %, where the bootstrap (BCa) covered
73 % with three seeds and 88 % with six.
"""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats


class Interval(NamedTuple):
    """A mean and the two ends of its confidence interval; NaN where the number of values does not allow one."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """What stands behind the ± in a table."""
        return self.high - self.mean


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student t interval of a mean: x̄ ± t_{n−1} · s / √n, s with n − 1 in the denominator.

    Without values everything is NaN; with one, the ends are.
    """
    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, math.nan, math.nan)
    s = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    t = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    half = t * s / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


class MedianInterval(NamedTuple):
    """A median and the two ends of its confidence interval; NaN where the number of values does not allow one."""

    median: float
    low: float
    high: float


def median_interval(values: Sequence[float], confidence: float = 0.95) -> MedianInterval:
    """Interval of a median between two order statistics, which asks nothing of the distribution but independence.

    The ends are the closest pair of values that the binomial distribution allows (`scipy.stats.quantile_test`); with
    fewer than six values there is none at 95 % (1 − 2 · ½⁵ = .94), and they are NaN. Without values everything is NaN.
    """
    if len(values) == 0:
        return MedianInterval(math.nan, math.nan, math.nan)
    low, high = stats.quantile_test(values, p=0.5).confidence_interval(confidence)
    return MedianInterval(statistics.median(values), float(low), float(high))
