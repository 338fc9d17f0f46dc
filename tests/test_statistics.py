"""Rank tests against SciPy, published tables, and cases worked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from evo.errors import ShapeError
from evo.statistics import (
    a12,
    critical_difference,
    holm,
    pairs,
    quartiles,
    rank_sum,
    ranking,
    signed_rank,
)
from evo.streams import stream

SAMPLE = some.lists(some.integers(0, 6), min_size=1, max_size=12)


@given(SAMPLE)
def test_quartiles_are_numpys(values):
    assert np.allclose(quartiles(values), np.percentile(values, [25, 50, 75]))


def test_quartiles_of_infinite_values_and_of_none():
    assert quartiles([1.0, np.inf, np.inf, np.inf, np.inf]) == (np.inf,) * 3
    assert quartiles([0.0, 1.0, 2.0, 3.0, np.inf]) == (1.0, 2.0, 3.0)
    assert np.isnan(quartiles([])).all()


@given(SAMPLE, SAMPLE)
def test_rank_sum_is_scipys_and_1_without_any_difference(x, y):
    if len(set(x + y)) == 1:
        assert rank_sum(x, y) == 1.0
    else:
        assert rank_sum(x, y) == pytest.approx(stats.mannwhitneyu(x, y).pvalue)


def test_rank_sum_counted_out():
    # all orders of 3 and 4 values: 35 ways, only 2 of them as far apart as this one
    assert rank_sum([1, 2, 3], [4, 5, 6, 7]) == pytest.approx(2 / 35)


def test_signed_rank_counted_out():
    # all signs of five gaps: 32 ways; all of one sign: 2
    assert signed_rank([1, 2, 3, 4, 5.5], [0, 0, 0, 0, 0]) == pytest.approx(2 / 32)
    assert signed_rank([1, 2], [1, 2]) == 1.0
    with pytest.raises(ShapeError, match="got 2 and 3"):
        signed_rank([1, 2], [1, 2, 3])


def test_signed_rank_is_scipys():
    draw = stream(0, "wilcoxon")
    for n in (6, 12, 60):
        x, y = draw.normal(size=n), draw.normal(0.4, 1, n)
        assert signed_rank(x, y) == pytest.approx(stats.wilcoxon(x, y).pvalue)


def test_holm_worked_by_hand():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1: 0.04 0.06 0.06 0.04, made to rise
    assert np.allclose(holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    assert np.allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).shape == (0,)


@given(SAMPLE, SAMPLE)
def test_a12_counts_pairs(x, y):
    wins = sum((a > b) + 0.5 * (a == b) for a, b in itertools.product(x, y))

    assert a12(x, y) == pytest.approx(wins / len(x) / len(y))
    assert a12(x, y, "min") == pytest.approx(1 - a12(x, y))
    u = stats.mannwhitneyu(x, y).statistic
    assert a12(x, y) == pytest.approx(u / len(x) / len(y))


@pytest.mark.parametrize("goal", ["min", "max"])
@pytest.mark.parametrize("paired", [False, True])
def test_the_better_one_is_named(goal, paired):
    low = np.arange(10.0)
    samples = {"low": low, "again": low[::-1] + 0.25, "high": low + 100}

    found = {(p.first, p.second): p for p in pairs(samples, goal, paired=paired)}

    best = {"min": "low", "max": "high"}[goal]
    assert found["low", "high"].better == best
    assert found["low", "high"].a12 == (1.0 if goal == "min" else 0.0)
    assert found["low", "again"].better is None
    raw = [p.p for p in found.values()]
    assert [p.adjusted for p in found.values()] == holm(raw).tolist()
    test = stats.wilcoxon if paired else stats.mannwhitneyu
    assert found["low", "high"].p == pytest.approx(test(low, low + 100).pvalue)


def test_a_paired_winner_is_the_one_of_the_signed_ranks():
    # second is lower in nine of ten pairs, yet one far value makes a12 look the other way
    first = np.arange(10.0)
    second = first - 0.5
    second[0] = -0.6

    (found,) = pairs({"a": first, "b": second}, "min", paired=True)

    assert found.better == "b"


Q = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]  # Demšar 2006, table 5a


@pytest.mark.parametrize("k", range(2, 11))
def test_critical_differences_are_the_published_ones(k):
    assert critical_difference(k, 14) == pytest.approx(
        Q[k - 2] * np.sqrt(k * (k + 1) / (6 * 14)), abs=0.001
    )


def test_ranks_of_demsars_example():
    # Demšar 2006, section 3.2.2: AUC of C4.5 and three variants on 14 data sets
    table = np.array([
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ])  # fmt: skip

    found = ranking(("C4.5", "m", "cf", "m+cf"), table, "max")

    assert np.round(found.ranks, 3).tolist() == [3.143, 2.0, 2.893, 1.964]
    assert found.difference == pytest.approx(1.25, abs=0.01)
    assert found.p < 0.05
    # as in the paper: only C4.5 is worse than m and m+cf is not by Nemenyi's (gap 1.18 < 1.25)
    assert found.groups == (("m+cf", "m", "cf", "C4.5"),)


def test_ranking_is_scipys_friedman_with_and_without_ties():
    draw = stream(1, "friedman")
    for table in (draw.random((9, 4)), draw.integers(0, 3, (12, 5)).astype(float)):
        found = ranking([str(i) for i in range(table.shape[1])], table, "min")

        expected = stats.friedmanchisquare(*table.T)
        assert found.statistic == pytest.approx(expected.statistic)
        assert found.p == pytest.approx(expected.pvalue)
        assert sum(found.ranks) == pytest.approx(table.shape[1] * (table.shape[1] + 1) / 2)


def test_groups_worked_by_hand():
    # ranks 1 2 3 4 in every problem; the critical difference of 4 over 20 problems is 1.049
    table = np.tile([4.0, 3.0, 2.0, 1.0], (20, 1))

    found = ranking("abcd", table, "max")

    assert found.ranks == (1.0, 2.0, 3.0, 4.0)
    assert found.difference == pytest.approx(1.049, abs=0.001)
    assert found.groups == (("a", "b"), ("b", "c"), ("c", "d"))
    assert ranking("abcd", table, "min").ranks == (4.0, 3.0, 2.0, 1.0)


def test_equal_columns_do_not_differ():
    found = ranking("ab", np.ones((3, 2)), "min")

    assert (found.statistic, found.p, found.groups) == (0.0, 1.0, (("a", "b"),))


@pytest.mark.parametrize("shape", [(1, 3), (3, 2), (3,)])
def test_a_ranking_needs_a_table(shape):
    with pytest.raises(ShapeError, match="at least 2 problems"):
        ranking("abc", np.ones(shape), "min")


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True])
def test_an_algorithm_is_hardly_ever_declared_better_than_itself(paired):
    # 200 studies of four equal algorithms: at most 5 % with some difference, 18 of 200 with noise
    # (a binomial of 200 and 0.05 stays within 18 in 99 of 100 cases)
    draw = stream(3, "calibration")
    wrong = 0
    for _ in range(200):
        samples = {name: draw.random(12) for name in "abcd"}
        wrong += any(p.better for p in pairs(samples, "max", paired=paired))

    assert 0 < wrong <= 18


def test_equal_algorithms_are_hardly_ever_ranked_apart():
    draw = stream(4, "calibration")
    tables = [draw.random((15, 4)) for _ in range(200)]
    found = [ranking("abcd", table, "max") for table in tables]

    assert 0 < sum(r.p < 0.05 for r in found) <= 18
    assert 0 < sum(r.groups[0] != r.groups[-1] or len(r.groups[0]) < 4 for r in found) <= 18
