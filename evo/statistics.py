"""Statistics of repeated runs: rank tests, effect sizes, and ranks over several problems.

Tests come from SciPy, which is loaded at the first call. Sources: Holm, *A simple sequentially
rejective multiple test procedure*, 1979; Vargha and Delaney, *A critique and improvement of the CL
common language effect size statistics*, 2000; Demšar, *Statistical comparisons of classifiers over
multiple data sets*, 2006 (Friedman, Nemenyi, critical differences).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ShapeError
from .problem import Array, Goal

LEVEL = 0.05
"""Significance level of all tests here."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two samples compared.

    Args:
        first: Name of one sample.
        second: Name of the other.
        p: Two-sided p-value of the test.
        adjusted: The same after Holm's correction over all pairs.
        a12: Probability that a value of the first is better than one of the second, ties count
            half; 0.5 means none is.
        better: The name of the better one where ``adjusted`` is at most the level, else None.
    """

    first: str
    second: str
    p: float
    adjusted: float
    a12: float
    better: str | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Samples ranked over several problems.

    Args:
        names: k samples.
        ranks: Mean rank of each, 1 is best.
        problems: How many problems N.
        statistic: Friedman's chi-square with ties corrected, k − 1 degrees of freedom.
        p: Its p-value.
        difference: Nemenyi's critical difference: mean ranks nearer than it do not differ.
        groups: Largest sets of names, best first, whose mean ranks do not differ.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    problems: int
    statistic: float
    p: float
    difference: float
    groups: tuple[tuple[str, ...], ...]


def quartiles(values: ArrayLike) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile, by linear interpolation; NaN for no values."""
    given = np.asarray(values, np.float64)
    if not len(given):
        return float("nan"), float("nan"), float("nan")
    ordered = np.sort(given)
    spots = [0.25 * (len(given) - 1), 0.5 * (len(given) - 1), 0.75 * (len(given) - 1)]
    low, middle, high = (_between(ordered, spot) for spot in spots)
    return low, middle, high


def rank_sum(x: ArrayLike, y: ArrayLike) -> float:
    """Two-sided p-value of the Mann–Whitney test; 1 where there is nothing to tell apart.

    Exact for eight values or fewer on a side without ties, else by the normal approximation.
    """
    from scipy.stats import mannwhitneyu

    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not len(a) or not len(b) or np.ptp(np.concatenate([a, b])) == 0:
        return 1.0
    return float(cast(Any, mannwhitneyu(a, b, alternative="two-sided")).pvalue)


def least_p(n: int, k: int) -> float:
    """Least p-value that a rank-sum test of n and k distinct values can have."""
    return min(1.0, 2.0 / math.comb(n + k, n))


def signed_rank(x: ArrayLike, y: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test of pairs; pairs that agree are left out.

    Raises:
        ShapeError: The samples are of different length.
    """
    from scipy.stats import wilcoxon

    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.shape != b.shape:
        raise ShapeError(f"pairs need two samples of one length, got {len(a)} and {len(b)}")
    differing = a != b
    if not differing.any():
        return 1.0
    return float(cast(Any, wilcoxon(a[differing], b[differing])).pvalue)


def holm(p: ArrayLike) -> Array:
    """Holm's adjusted p-values, shape (k,), in the order given; at most 1."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def a12(x: ArrayLike, y: ArrayLike, goal: Goal = "max") -> float:
    """Share of pairs in which x is better than y, ties count half; NaN for an empty sample."""
    a, b = np.asarray(x, np.float64)[:, None], np.asarray(y, np.float64)[None]
    if not a.size or not b.size:
        return float("nan")
    wins = a > b if goal == "max" else a < b
    return float((wins + 0.5 * (a == b)).mean())


def pairs(
    samples: Mapping[str, ArrayLike], goal: Goal, *, paired: bool = False, level: float = LEVEL
) -> list[Pair]:
    """Every two samples compared, p-values corrected over all of them.

    Args:
        samples: Values by name.
        goal: Whether less or more is better.
        paired: Wilcoxon's signed-rank test, value by value, instead of Mann and Whitney's.
        level: Up to which adjusted p-value one is called better.

    Raises:
        ShapeError: Paired samples are of different length.
    """
    test = signed_rank if paired else rank_sum
    both = list(combinations(samples, 2))
    raw = [test(samples[a], samples[b]) for a, b in both]
    out = []
    for (a, b), p, adjusted in zip(both, raw, holm(raw).tolist(), strict=True):
        effect = a12(samples[a], samples[b], goal)
        ahead = _ahead(samples[a], samples[b], goal) if paired else effect - 0.5
        better = None if adjusted > level or ahead == 0 else a if ahead > 0 else b
        out.append(Pair(a, b, p, adjusted, effect, better))
    return out


def ranking(names: Sequence[str], table: ArrayLike, goal: Goal, *, level: float = LEVEL) -> Ranking:
    """Friedman's test over problems, and which samples differ by Nemenyi's.

    Args:
        names: k samples, at least two.
        table: One value per problem and sample, shape (N, k), N at least 2.
        goal: Whether less or more is better.
        level: Significance level of the critical difference.

    Raises:
        ShapeError: The table has another shape.
    """
    from scipy.stats import chi2, rankdata

    values = np.asarray(table, np.float64)
    if values.ndim != 2 or values.shape[1] != len(names) or min(values.shape) < 2:
        raise ShapeError(
            f"a ranking needs at least 2 problems and {max(2, len(names))} columns, "
            f"got shape {values.shape}"
        )
    n, k = values.shape
    ranks: NDArray[Any] = rankdata(values if goal == "min" else -values, axis=1)
    mean = ranks.mean(axis=0)
    spread = ((ranks - (k + 1) / 2) ** 2).sum() / (n * (k - 1))  # less than k(k+1)/12 with ties
    statistic = float(n * ((mean - (k + 1) / 2) ** 2).sum() / spread) if spread else 0.0
    difference = critical_difference(k, n, level)
    order = np.argsort(mean, kind="stable")
    return Ranking(
        tuple(names), tuple(mean.tolist()), n, statistic, float(chi2.sf(statistic, k - 1)),
        difference, _groups([names[int(i)] for i in order], mean[order], difference),
    )  # fmt: skip


def critical_difference(k: int, n: int, level: float = LEVEL) -> float:
    """Nemenyi's critical difference of mean ranks of k samples over n problems (Demšar 2006)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1.0 - level, k, np.inf)) / np.sqrt(2.0)
    return float(q * np.sqrt(k * (k + 1) / (6.0 * n)))


def _groups(names: Sequence[str], ranks: Array, difference: float) -> tuple[tuple[str, ...], ...]:
    """Maximal stretches of ascending mean ranks no longer than the critical difference."""
    out: list[tuple[int, int]] = []
    for i in range(len(ranks)):
        end = int(np.searchsorted(ranks, ranks[i] + difference, side="left"))
        if not out or end > out[-1][1]:
            out.append((i, end))
    return tuple(tuple(names[i:end]) for i, end in out if end - i > 1)


def _ahead(x: ArrayLike, y: ArrayLike, goal: Goal) -> float:
    """Positive where x wins more signed ranks than y."""
    from scipy.stats import rankdata

    gaps = np.asarray(x, np.float64) - np.asarray(y, np.float64)
    gaps = gaps[gaps != 0] * (1 if goal == "max" else -1)
    return float((np.sign(gaps) * rankdata(np.abs(gaps))).sum())


def _between(ordered: Array, spot: float) -> float:
    """Value at a fractional place; equal neighbours, infinities included, are not mixed."""
    low, high = ordered[int(np.floor(spot))], ordered[int(np.ceil(spot))]
    return float(low if low == high else low + (spot - np.floor(spot)) * (high - low))
