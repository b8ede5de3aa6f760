"""bench.statistics against numbers worked out by hand; coverage and error rates by simulation."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from bench.statistics import (
    Difference,
    Numbers,
    bootstrap_interval,
    holm,
    least_p,
    mean_interval,
    median_interval,
    non_inferiority,
    p_text,
    paired_difference,
    sign_flip,
    sign_flip_p,
    t_test,
)

#: Of the bootstrap, as its docstring has it: seeds, where they alone differ, where images and the rest do too.
COVERAGE = [(3, 0.76, 0.89), (6, 0.86, 0.94), (10, 0.90, 0.96)]


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


# Five differences by hand: mean .01, deviations −.02 … .02, s² = .001 / 4, standard error √(.00025 / 5) = .0070711,
# t = √2. With 4 degrees of freedom P(T > t) = ½ − ¾ · u + ¼ · u³, u = t / √(4 + t²) (closed form) → u = 1/√3.
FIVE = [0.03, 0.01, -0.01, 0.02, 0.0]
ERROR = math.sqrt(0.00025 / 5)


def tail(t: float) -> float:
    """P(T > t) with 4 degrees of freedom."""
    u = t / math.sqrt(4 + t * t)
    return 0.5 - 0.75 * u + 0.25 * u**3


def test_a_paired_difference_by_hand() -> None:
    found = paired_difference(FIVE)
    half = 2.776445 * ERROR  # t of 97.5 % at 4 degrees of freedom
    assert (found.mean, found.low, found.high) == pytest.approx((0.01, 0.01 - half, 0.01 + half), abs=1e-8)
    assert found.p == pytest.approx(2 * tail(math.sqrt(2)), abs=1e-9)
    assert found.n == 5
    assert paired_difference(FIVE, confidence=0.9).high == pytest.approx(0.01 + 2.131847 * ERROR, abs=1e-8)


def test_a_paired_difference_is_the_t_interval_of_the_differences() -> None:
    found = paired_difference(FIVE)
    assert (found.mean, found.low, found.high) == pytest.approx(mean_interval(FIVE), abs=1e-12)


def test_seeds_without_a_pair_are_left_out() -> None:
    assert paired_difference([math.nan, *FIVE, math.nan]) == paired_difference(FIVE)
    assert non_inferiority([math.nan, *FIVE], 0.01) == non_inferiority(FIVE, 0.01)
    assert sign_flip([math.nan, *FIVE, 0.04]) == sign_flip([*FIVE, 0.04])


@pytest.mark.parametrize("judge", [paired_difference, lambda values: non_inferiority(values, 0.01)])
def test_too_few_or_equal_differences_have_no_p(judge: Callable[[list[float]], Difference]) -> None:
    assert judge([])[4] == 0
    assert all(math.isnan(number) for number in judge([])[:4])
    one = judge([0.5])
    assert (one.mean, one.n) == (0.5, 1)
    assert all(math.isnan(number) for number in one[1:4])
    equal = judge([0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.6])  # .1 but for rounding
    assert equal[:3] == pytest.approx((0.1, 0.1, 0.1))
    assert math.isnan(equal.p)
    assert equal.n == 3
    assert judge([0, 0]).low == 0
    assert not math.isnan(judge([1e-9, 2e-9]).p)  # small, and a spread all the same


def test_non_inferiority_by_hand() -> None:
    found = non_inferiority(FIVE, margin=0.005)
    bound = 2.131847 * ERROR  # t of 95 % at 4 degrees of freedom
    assert (found.mean, found.low, found.high) == pytest.approx((0.01, 0.01 - bound, 0.01 + bound), abs=1e-8)
    assert found.p == pytest.approx(tail(0.015 / ERROR), abs=1e-9)
    assert found.n == 5


def test_the_bounds_of_non_inferiority_go_with_its_p() -> None:
    bounds = non_inferiority(FIVE, 0)
    assert non_inferiority(FIVE, -bounds.low).p == pytest.approx(0.05)
    assert 1 - non_inferiority(FIVE, -bounds.high).p == pytest.approx(0.05)


def test_holm_by_hand() -> None:
    # .01 · 4, then .02 · 3, then .03 · 2 = .06 (not less than the one before), then .5
    assert holm([0.03, 0.5, 0.01, 0.02]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.01, 0.016]) == pytest.approx([0.02, 0.02])  # .016 · 1 is under .02, and becomes it
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.7, 0.6]) == pytest.approx([1, 1])
    assert holm([]).tolist() == []


def test_holm_does_not_count_a_test_that_was_not_made() -> None:
    found = holm([math.nan, 0.02, math.nan, 0.01])
    assert found[[1, 3]] == pytest.approx([0.02, 0.02])
    assert np.isnan(found[[0, 2]]).all()
    assert np.isnan(holm([math.nan])).all()


def test_holm_takes_families_along_the_last_axis() -> None:
    families = np.array([[0.03, 0.5, 0.01], [math.nan, 0.04, 0.02]])
    assert holm(families) == pytest.approx(np.stack([holm(f) for f in families]), nan_ok=True)


def test_sign_flip_is_the_share_of_sign_patterns() -> None:
    values = np.array([0.5, -0.1, 0.3, 0.2, 0.4, -0.2, 0.6])
    means = [abs(np.mean(values * signs)) for signs in itertools.product((1, -1), repeat=7)]
    as_far = np.mean(np.array(means) >= abs(values.mean()) - 1e-12)
    found = sign_flip(values)
    assert found.p == pytest.approx(as_far)
    assert found.why_not == ""
    assert 0 < as_far < 1


def test_the_least_p_of_sign_flips() -> None:
    assert [least_p(n) for n in (5, 6, 8, 10)] == [0.0625, 0.03125, 0.0078125, 0.001953125]
    for n in (6, 8, 12):
        assert sign_flip(np.arange(1, n + 1)).p == least_p(n)


def test_where_sign_flips_cannot_reach_the_level_a_sentence_says_so() -> None:
    found = sign_flip(range(1, 7), family=6)
    assert math.isnan(found.p)
    assert found.why_not == "n = 6: the least p, .031, cannot reach .05 in a family of 6"
    assert sign_flip(range(1, 6)).why_not == "n = 5: the least p, .062, cannot reach .05"
    assert sign_flip([0.5]).why_not == "n = 1: no test"
    # 8 seeds allow 6 tests, 10 allow 25
    assert sign_flip(range(1, 9), family=6).p == least_p(8)
    assert sign_flip(range(1, 9), family=7).why_not != ""
    assert sign_flip(range(1, 11), family=25).p == least_p(10)
    assert sign_flip(range(1, 11), family=26).why_not != ""


def test_more_seeds_than_can_be_gone_through_are_drawn() -> None:
    found = sign_flip(np.r_[np.ones(13), -1.0]).p  # 13 of 14: 2 · (1 + 14) / 2¹⁴
    assert found == pytest.approx(2 * 15 / 2**14, abs=0.002)
    assert sign_flip(np.r_[np.ones(13), -1.0]).p == found


def test_p_values_for_readers() -> None:
    assert [p_text(p) for p in (0.03125, 0.0004, 1.0, 0.5)] == [".031", "< .001", "1.000", ".500"]


def test_the_bootstrap_resamples_seeds_then_images() -> None:
    # With one effect alone the resampled mean is that of n draws: its variance is (n − 1) / n · s² / n.
    rng = np.random.default_rng(5)
    for shape in ((8, 1), (1, 40)):
        effect = rng.standard_normal(shape)
        found = bootstrap_interval(np.broadcast_to(effect, (8, 40)))
        deviation = effect.std() / math.sqrt(effect.size)
        assert found.mean == pytest.approx(effect.mean())
        assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.08)
        assert found[3:] == (8, 0)


def test_the_bootstrap_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(6)
    values = rng.standard_normal((4, 1)) + rng.standard_normal((1, 9)) + rng.standard_normal((4, 9))
    values[rng.random(values.shape) < 0.2] = math.nan
    means = []
    for _ in range(4000):
        seeds, images = rng.integers(0, 4, 4), rng.integers(0, 9, 9)
        means.append(np.nanmean(values[np.ix_(seeds, images)]))
    found = bootstrap_interval(values, confidence=0.8)
    assert found.mean == pytest.approx(np.nanmean(values))
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.1, 0.9]), abs=0.08)
    assert found.undefined == np.isnan(values).sum() > 0


def test_seeds_and_images_are_drawn_apart() -> None:
    # The diagonal's mean grows with every index that is drawn on both sides: alike draws would double it.
    found = bootstrap_interval(np.eye(12), confidence=0)
    assert found.low == found.high == pytest.approx(1 / 12, rel=0.15)


def test_the_bootstrap_without_seeds_or_values() -> None:
    one = bootstrap_interval([[0.2, 0.4, math.nan]])
    assert one.mean == pytest.approx(0.3)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert one[3:] == (1, 1)
    nothing = bootstrap_interval(np.full((3, 2), math.nan))
    assert math.isnan(nothing.mean)
    assert nothing[3:] == (0, 6)
    half = bootstrap_interval([[0.2, 0.4], [math.nan, math.nan], [0.3, 0.3]])
    assert half[3:] == (2, 2)
    assert half.mean == pytest.approx(0.3)
    assert not math.isnan(half.low)
    # Where a resample draws nothing that is defined, it is left out.
    assert bootstrap_interval([[0.2, math.nan], [0.2, math.nan]])[:3] == pytest.approx((0.2, 0.2, 0.2))


def test_two_bootstraps_are_the_same() -> None:
    values = np.random.default_rng(0).standard_normal((3, 5))
    assert bootstrap_interval(values) == bootstrap_interval(values)


# Simulations. The bands are three Monte-Carlo standard errors around the level: √(.05 · .95 / runs).

RUNS = 10_000
BAND = 3 * math.sqrt(0.05 * 0.95 / RUNS)


def losses_against_one_baseline(n: int, runs: int = RUNS) -> Numbers:
    """(seeds, six losses, runs) of differences without an effect, correlated with ½ through the baseline they share."""
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, 6, runs)) - rng.standard_normal((n, 1, runs))


@pytest.mark.parametrize("n", [3, 6, 10])
def test_simulated_t_intervals_cover_and_the_test_errs_at_its_level(n: int) -> None:
    test = t_test(losses_against_one_baseline(n)[:, 0])
    assert np.mean((test.low <= 0) & (test.high >= 0)) == pytest.approx(0.95, abs=BAND)
    assert np.mean(test.p <= 0.05) == pytest.approx(0.05, abs=BAND)
    assert np.mean((test.p <= 0.05) & (test.mean > 0)) == pytest.approx(0.025, abs=BAND)


@pytest.mark.parametrize("n", [3, 6, 10])
def test_simulated_families_err_at_most_at_the_level_under_holm(n: int) -> None:
    p = np.moveaxis(t_test(losses_against_one_baseline(n)).p, 0, -1)
    assert np.mean((p <= 0.05).any(axis=-1)) > 0.2  # what the correction is for
    assert 0.035 < np.mean((holm(p) <= 0.05).any(axis=-1)) <= 0.05 + BAND


@pytest.mark.parametrize("n", [3, 6, 10])
def test_simulated_families_with_true_effects_err_at_most_at_the_level(n: int) -> None:
    # Three of six are far from 0: step-down gives the other three what is left, and no more.
    shifted = losses_against_one_baseline(n) + 100 * np.array([1, 1, 1, 0, 0, 0])[:, None]
    adjusted = holm(np.moveaxis(t_test(shifted).p, 0, -1))
    assert 0.03 < np.mean((adjusted[:, 3:] <= 0.05).any(axis=-1)) <= 0.05 + BAND
    assert np.mean(adjusted[:, :3] <= 0.05) > 0.99


@pytest.mark.parametrize("n", [3, 6, 10])
def test_simulated_non_inferiority_errs_at_its_level_on_the_margin(n: int) -> None:
    values = losses_against_one_baseline(n)[:, 0] - 0.3
    test = t_test(values, -0.3, "greater")
    assert np.mean(test.p <= 0.05) == pytest.approx(0.05, abs=BAND)
    assert np.mean(test.low > -0.3) == pytest.approx(0.05, abs=BAND)
    assert np.mean(t_test(values, -0.3, "less").high < -0.3) == pytest.approx(0.05, abs=BAND)
    one = non_inferiority(values[:, 0], 0.3)
    assert one[:4] == pytest.approx((test.mean[0], test.low[0], t_test(values[:, 0], -0.3, "less").high, test.p[0]))


@pytest.mark.parametrize(("n", "rate"), [(3, 0), (6, 2 / 64), (10, 50 / 1024)])
def test_simulated_sign_flips_err_at_most_at_the_level(n: int, rate: float) -> None:
    # Without ties p is a multiple of 2/2ⁿ, each as likely: the rate is the largest multiple up to .05, of 51 / 1024 the
    # even one below.
    runs = 800
    p = sign_flip_p(losses_against_one_baseline(n, runs)[:, 0])
    assert np.mean(p <= 0.05) == pytest.approx(rate, abs=3 * math.sqrt(0.05 * 0.95 / runs))
    assert p.min() >= least_p(n)


@pytest.mark.parametrize(("n", "alone", "mixed"), COVERAGE)
def test_simulated_bootstrap_covers_what_its_docstring_says(n: int, alone: float, mixed: float) -> None:
    runs, images, rng = 400, 60, np.random.default_rng(n)
    seeds = rng.standard_normal((runs, n, 1))
    image, rest = rng.standard_normal((runs, 1, images)), rng.standard_normal((runs, n, images))
    for values, expected in ((np.broadcast_to(seeds, rest.shape), alone), (0.3 * seeds + 0.5 * image + rest, mixed)):
        found = [bootstrap_interval(one, resamples=500) for one in values]
        covered = np.mean([one.low <= 0 <= one.high for one in found])
        assert covered == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / runs) + 0.01)
