"""bench.intervals: Student t intervals against numbers worked out by hand."""

import math

import pytest

from bench.intervals import mean_interval, median_interval


def test_interval_of_three_values_by_hand() -> None:
    # mean 3; s² = (4 + 0 + 4) / 2 = 4; t of 97.5 % at 2 degrees of freedom is 4.302653 (any table): 4.302653 · 2 / √3
    found = mean_interval([1.0, 3.0, 5.0])
    assert found.mean == 3
    assert found.half_width == pytest.approx(4.968275, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((3 - 4.968275, 3 + 4.968275), abs=1e-5)


def test_another_confidence() -> None:
    # t of 95 % at 2 degrees of freedom is 2.919986
    assert mean_interval([1.0, 3.0, 5.0], confidence=0.9).half_width == pytest.approx(2.919986 * 2 / 3**0.5, abs=1e-5)


def test_equal_values_have_an_interval_without_width() -> None:
    assert mean_interval([0.25] * 4) == (0.25, 0.25, 0.25)


def test_one_value_has_a_mean_and_no_interval() -> None:
    found = mean_interval([0.5])
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.half_width)


def test_no_value_has_nothing() -> None:
    assert all(math.isnan(number) for number in mean_interval([]))


def test_the_interval_of_a_median_is_between_order_statistics() -> None:
    # From the k-th of n to the k-th from above covers the median with 1 − 2 P(Binomial(n, ½) < k): for n = 6 and k = 1
    # with .969, n = 8 and k = 1 .992 (k = 2: .930), n = 9 and k = 2 .961.
    assert median_interval([6.0, 1, 5, 2, 4, 3]) == (3.5, 1, 6)
    assert median_interval([float(v) for v in range(8)]) == (3.5, 0, 7)
    assert median_interval([float(v) for v in range(9)]) == (4, 1, 7)


def test_up_to_five_values_have_a_median_and_no_interval() -> None:
    found = median_interval([5.0, 1, 3, 2, 4])  # .9375 from the first to the last
    assert found.median == 3
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert all(math.isnan(number) for number in median_interval([]))
