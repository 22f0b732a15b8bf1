import math

import pytest
from scipy import stats

from orchestrator.reporting.statistics import (
    EQUIVALENCE,
    Estimate,
    binomial_spread,
    differs,
    equivalent,
    estimate,
    to_published,
)


def test_no_values_have_no_estimate():
    assert estimate([]) is None


def test_one_value_has_a_mean_but_no_interval():
    one = estimate([48.0])
    assert one == Estimate(48.0, None, None, 1)
    assert (one.low, one.high) == (48.0, 48.0)


def test_the_interval_is_students_t():
    values = [47.1, 48.3, 48.9, 47.7, 48.0]
    found = estimate(values)
    low, high = stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=stats.sem(values))
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)
    assert found.spread == pytest.approx(stats.tstd(values))


def test_two_values_give_the_wide_interval_they_deserve():
    found = estimate([48.0, 49.0])
    assert found.half_width == pytest.approx(12.7062 * math.sqrt(0.5) / math.sqrt(2), rel=1e-4)


def test_equivalence_equals_two_one_sided_t_tests():
    sample = [0.2, -0.1, 0.4, 0.1, 0.3]
    lower = stats.ttest_1samp(sample, -1.0, alternative="greater").pvalue
    upper = stats.ttest_1samp(sample, 1.0, alternative="less").pvalue
    assert equivalent(estimate(sample, EQUIVALENCE), 1.0)
    assert max(lower, upper) < 0.05
    tight = max(
        stats.ttest_1samp(sample, -0.3, alternative="greater").pvalue,
        stats.ttest_1samp(sample, 0.3, alternative="less").pvalue,
    )
    assert not equivalent(estimate(sample, EQUIVALENCE), 0.3)
    assert not tight < 0.05


def test_a_noisy_small_difference_is_neither_equivalent_nor_different():
    noisy = estimate([-4.0, 4.5], EQUIVALENCE)
    assert equivalent(noisy, 1.0) is False
    assert differs(noisy, 1.0) is False


def test_a_large_steady_difference_is_different():
    assert differs(estimate([5.0, 5.2, 5.1], EQUIVALENCE), 1.0) is True
    assert equivalent(estimate([5.0, 5.2, 5.1], EQUIVALENCE), 1.0) is False


def test_one_seed_cannot_show_either():
    assert equivalent(estimate([0.0], EQUIVALENCE), 1.0) is None
    assert differs(estimate([9.0], EQUIVALENCE), 1.0) is None


def test_identical_replicates_are_judged_by_their_mean():
    assert equivalent(estimate([0.5, 0.5], EQUIVALENCE), 1.0) is True
    assert differs(estimate([1.5, 1.5], EQUIVALENCE), 1.0) is True


def test_against_an_exactly_printed_mean_the_test_is_student_s_for_two_samples_of_one_spread():
    """With the published spread equal to ours, and its 5 seeds adding no degrees of freedom."""
    ours = estimate([47.1, 48.3, 48.9, 47.7, 48.0])
    found = to_published(ours, 47.0, seeds=5, precision=0.0)
    error = ours.spread * math.sqrt(1 / 5 + 1 / 5)
    assert found.mean == pytest.approx(1.0)
    assert found.half_width == pytest.approx(stats.t.ppf(0.95, 4) * error)


def test_what_is_only_read_off_a_figure_widens_the_interval_as_a_uniform_error_does():
    ours = estimate([48.0, 48.0])
    found = to_published(ours, 48.0, seeds=5, precision=0.5)
    assert found.half_width == pytest.approx(stats.norm.ppf(0.95) * 0.5 / math.sqrt(3))


def test_one_seed_against_a_published_mean_has_a_difference_but_no_interval():
    found = to_published(estimate([48.5]), 48.0, seeds=5, precision=0.5)
    assert (found.mean, found.half_width) == (0.5, None)


def test_equal_replicates_have_at_least_the_spread_that_is_given():
    found = to_published(estimate([48.0, 48.0]), 48.0, seeds=5, precision=0.0, least_spread=0.5)
    assert found.half_width == pytest.approx(stats.t.ppf(0.95, 1) * 0.5 * math.sqrt(0.7))
    assert estimate([1.0, 1.0], least_spread=0.2).spread == 0.2


def test_half_of_10_000_images_right_is_known_to_half_a_point():
    assert binomial_spread(50.0, 10_000) == pytest.approx(0.5)
    assert binomial_spread(100.0, 10_000) == 0
