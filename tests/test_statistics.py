"""Intervals against scipy's own, closed testing by enumeration, and how often they hold the truth."""

from itertools import combinations
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from naslab import statistics
from naslab.statistics import difference, holm, interval

numbers = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=9, unique=True)


@given(numbers, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_mean_has_student_s_interval(values, level):
    found, known = interval(values, level), stats.ttest_1samp(values, 0.0)
    assert found.method == "t" and found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert (found.low, found.high) == pytest.approx(known.confidence_interval(level), rel=1e-9, abs=1e-9)
    assert found.p == pytest.approx(known.pvalue, rel=1e-9)
    assert found.half == pytest.approx((found.high - found.low) / 2)


@given(numbers, numbers)
def test_a_difference_is_paired_or_welch_s(a, b):
    found, known = difference(a, b, paired=False), stats.ttest_ind(a, b, equal_var=False)
    assert (found.low, found.high) == pytest.approx(known.confidence_interval(0.95), rel=1e-9, abs=1e-9)
    assert found.p == pytest.approx(known.pvalue, rel=1e-9) and found.n == min(len(a), len(b))
    n = min(len(a), len(b))
    paired = difference(a[:n], b[:n])
    assert paired.values == tuple(x - y for x, y in zip(a, b, strict=False))
    if paired.method == "t":
        known = stats.ttest_rel(a[:n], b[:n])
        assert (paired.low, paired.high) == pytest.approx(known.confidence_interval(0.95), rel=1e-9, abs=1e-9)


def test_values_at_a_bound_are_drawn_again():
    regrets = [0.0] * 26 + [0.2, 0.1, 0.05, 0.3]
    found = interval(regrets)
    known = stats.bootstrap((regrets,), np.mean, method="percentile", random_state=np.random.default_rng(1))
    assert found.method == "bootstrap"
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval), abs=0.003)
    assert found.low >= 0 > stats.ttest_1samp(regrets, 0).confidence_interval(0.95).low  # t leaves what can be
    assert interval(regrets[20:29]).method == "t"  # too few to draw from
    assert interval([*regrets[:9], *range(1, 20)]).method == "t"  # just under a third


def test_a_bootstrap_of_two_groups_draws_from_each():
    a, b = [1.0] * 12 + [0.0] * 3, [*np.linspace(0, 1, 15)]
    found = difference(a, b, paired=False)
    assert found.method == "bootstrap" and found.low < found.mean < found.high
    known = stats.bootstrap((a, b), lambda x, y: np.mean(x) - np.mean(y), method="percentile", vectorized=False)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval), abs=0.02)


def test_repetitions_that_do_not_vary_claim_nothing():
    found = interval([2.0, 2.0, 2.0])
    assert (found.method, found.low, found.high) == ("constant", 2, 2) and isnan(found.p)
    assert not found.excludes_0 and found.verdict == "the same in all 3 repetitions, which gives no interval"


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = np.mean([(found := interval(rng.normal(3, 2, 5))).low <= 3 <= found.high for _ in range(4000)])
    assert abs(held - 0.95) < 4.5 * np.sqrt(0.95 * 0.05 / 4000)
    normal = np.mean([abs(v.mean() - 3) < 1.96 * v.std(ddof=1) / 5**0.5 for v in rng.normal(3, 2, (4000, 5))])
    assert normal < 0.90  # why 1.96 is not used


def closed_testing(p: dict[str, float], alpha: float) -> set[str]:
    """Rejected if every set of hypotheses that holds it is rejected by Bonferroni's test: another way to Holm's."""
    sets = [s for k in range(1, len(p) + 1) for s in combinations(p, k)]
    return {name for name in p if all(min(p[n] for n in s) <= alpha / len(s) for s in sets if name in s)}


@given(st.lists(st.tuples(st.floats(-4, 4), st.integers(0, 99)), min_size=1, max_size=5))
def test_holm_rejects_what_closed_testing_rejects(rows):
    found = {str(k): interval(np.random.default_rng(seed).normal(m, 1, 6)) for k, (m, seed) in enumerate(rows)}
    corrected = holm(found)
    rejected = {name for name, each in corrected.items() if each.excludes_0}
    assert rejected == closed_testing({name: each.p for name, each in found.items()}, 0.05)
    assert list(corrected) == list(found)
    for name, each in corrected.items():  # each interval is its own test, and never narrower than alone
        assert each.excludes_0 == (each.p < 1 - each.level) and each.half >= found[name].half - 1e-12


def test_holm_stops_at_the_first_that_fails():
    base = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    both = {name: interval(base + shift) for name, shift in (("a", 1.14), ("b", 1.05))}
    assert 0.025 < both["a"].p < both["b"].p < 0.05  # each alone is above 0; together a fails, and b with it
    assert [each.verdict for each in holm(both).values()] == ["cannot be told from 0"] * 2


def test_holm_leaves_out_what_has_no_test():
    moving, fixed = interval([1.0, 1.5, 0.8, 1.2]), interval([2.0, 2.0])
    assert holm({"a": moving, "b": fixed})["a"] == moving


def test_words_follow_the_interval():
    up, open_ = interval([3.0, 4.0, 5.0, 4.5]), interval([-1.0, 2.0, 0.5])
    assert up.verdict == "above 0" and interval([-3.0, -4.0, -5.0, -4.5]).verdict == "below 0"
    assert open_.verdict == "cannot be told from 0"
    assert f"{up:+.1f}" == "+4.1 [+2.8, +5.5]" and str(up) == "4.12 [2.77, 5.48]"
    lines = statistics.report({"first": up, "second one": open_}, "points").splitlines()
    assert lines[0].startswith("first       +4.12 [") and lines[0].endswith("] points: above 0")
    assert lines[1].endswith("points: cannot be told from 0")
    assert lines[2] == "95 %, together for 2 comparisons (Holm)"
    assert statistics.report({"first": up}, "points", "+.1f") == "first  +4.1 [+2.8, +5.5] points: above 0\n95 %"


def test_a_band_is_an_interval_at_every_point():
    curves = np.random.default_rng(0).normal(size=(7, 4))
    mean, low, high = statistics.band(curves, 0.9)
    each = [interval(curves[:, k], 0.9) for k in range(4)]
    assert [*zip(mean, low, high, strict=True)] == [(e.mean, e.low, e.high) for e in each]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: interval([1.0]), r"values: got shape \(1,\), expected one number for each of at least 2"),
        (lambda: interval([[1.0, 2.0]]), r"values: got shape \(1, 2\)"),
        (lambda: interval([1.0, nan]), "values: got nan, expected finite numbers"),
        (lambda: interval(["a", "b"]), "values: got list, expected numbers"),
        (lambda: interval([1.0, 2.0], level=1), "level: got 1, expected a number between 0 and 1"),
        (lambda: difference([1.0, 2.0], [1.0, 2.0, 3.0]), "b: got 3 repetitions, expected 2 as in a"),
        (lambda: statistics.band([1.0, 2.0]), r"rows: got shape \(2,\), expected \(repetitions, points\)"),
        (lambda: holm({"a": interval([1.0, 2.0])}, level="x"), "level: got 'x'"),
    ],
)
def test_bad_repetitions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_differences_that_only_rounding_makes_vary_are_constant():
    found = difference([0.8, 0.9, 0.7], [0.7, 0.8, 0.6])
    assert len(set(found.values)) > 1 and found.method == "constant" and not found.excludes_0


@pytest.mark.parametrize("values", [[1e-200, 2e-200], [1e308, -1e308, 1e308]])
def test_numbers_whose_squares_leave_float64_are_refused(values):
    with pytest.raises(ValueError, match="expected 0 or numbers from 1e-150 to 1e150"):
        interval(values)


def test_the_report_counts_what_is_tested():
    lines = statistics.report({"a": interval([1.0, 1.5, 0.8]), "b": interval([2.0, 2.0])}).splitlines()
    assert lines[-1] == "95 %"
