"""Who survives, decided on arrays: dominance ranks with crowding, strength, least hypervolume.

All functions take minimised, finite fitness of shape (n, m) of feasible candidates and return row
indices in an order that depends on the input alone: every sort is stable.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..indicators import ranks
from ..problem import Array

Rows = NDArray[np.intp]


def crowding(fitness: Array) -> Array:
    """Distance of each row to its neighbours along every objective, summed (Deb et al. 2002).

    The two ends of every objective get infinity; an objective in which all rows agree adds nothing.

    Args:
        fitness: One front, shape (n, m).

    Returns:
        Shape (n,), larger means lonelier.

    Example:
        >>> crowding(np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]))
        array([inf,  2., inf])
    """
    total = np.zeros(len(fitness))
    for column in fitness.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        extent = ordered[-1] - ordered[0]
        if extent <= 0:
            continue
        total[order[[0, -1]]] = np.inf
        total[order[1:-1]] += (ordered[2:] - ordered[:-2]) / extent
    return np.full(len(fitness), np.inf) if len(fitness) <= 2 else total


def unscaled_crowding(fitness: Array) -> Array:
    """The same in the objectives' own units, as in inspyred 1.0: wide objectives decide.

    Rows that agree in an objective keep their order in the objective before it.

    Args:
        fitness: One front, shape (n, m).

    Returns:
        Shape (n,), larger means lonelier.
    """
    total, order = np.zeros(len(fitness)), np.arange(len(fitness))
    for column in fitness.T if len(fitness) else ():
        order = order[np.argsort(column[order], kind="stable")]
        ordered = column[order]
        total[order[[0, -1]]] = np.inf
        total[order[1:-1]] += ordered[2:] - ordered[:-2]
    return total


def by_rank_and_crowding(
    fitness: Array, n: int, measure: Callable[[Array], Array] = crowding
) -> tuple[Rows, Rows, Array]:
    """NSGA-II's survivors: whole fronts, then the loneliest rows of the front that is cut.

    Equal objective vectors crowd one another completely: only the first of them counts as an end.

    Args:
        fitness: Shape (N, m).
        n: Rows wanted.
        measure: How lonely the rows of a front are.

    Returns:
        Rows kept (min(n, len(fitness)) of them), and rank and crowding of every input row.
    """
    rank = ranks(fitness)
    distance = np.zeros(len(fitness))
    for level in range(int(rank.max(initial=-1)) + 1):
        front = np.flatnonzero(rank == level)
        distance[front] = measure(fitness[front])
        if np.count_nonzero(rank <= level) >= n:
            break
    order = np.lexsort((-distance, rank))  # lexsort is stable: ties keep their input order
    return order[:n], rank, distance


def by_strength(fitness: Array, n: int) -> tuple[Rows, Array]:
    """SPEA2's survivors (Zitzler, Laumanns and Thiele 2001), in O(N² log N).

    Distances are taken after scaling the front to its own box. Too many non-dominated rows are cut
    one by one, each time the row whose sorted distances to the others are smallest; equal rows are
    cut from the back.

    Returns:
        Rows kept, and the strength fitness of every input row (below 1: non-dominated).
    """
    wins = dominance(fitness)  # (N, N)
    raw = (wins * wins.sum(axis=1)[:, None]).sum(axis=0).astype(np.float64)
    gaps = _gaps(fitness, raw < 1)
    k = min(int(np.sqrt(len(fitness))), len(fitness) - 1)
    score = raw + 1.0 / (np.partition(gaps, k - 1, axis=1)[:, k - 1] + 2.0) if k > 0 else raw
    front = np.flatnonzero(raw < 1)
    if len(front) <= n:
        return np.argsort(score, kind="stable")[:n], score
    return front[_thin(gaps[np.ix_(front, front)].copy(), n)], score


def dominance(fitness: Array) -> NDArray[np.bool_]:
    """Entry (i, j): row i dominates row j; shape (n, n), memory n² whatever m is."""
    n = len(fitness)
    no_worse, better = np.ones((n, n), dtype=bool), np.zeros((n, n), dtype=bool)
    for column in fitness.T:
        no_worse &= column[:, None] <= column[None, :]
        better |= column[:, None] < column[None, :]
    return no_worse & better


def by_hypervolume(fitness: Array, n: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """SMS-EMOA's survivors: whole fronts, then the front that is cut loses its least contributors.

    Contributions are exact up to three objectives, and up to five for fronts of at most 150 rows.
    Otherwise, where one exact step takes seconds, they are estimated on shared samples with HypE's
    weights (Bader and Zitzler 2011), which stay informative when many rows must go at once.

    Returns:
        Rows kept, and the rank of every input row.
    """
    rank = ranks(fitness)
    sizes = np.cumsum(np.bincount(rank))
    cut = int(np.searchsorted(sizes, n))
    whole = np.flatnonzero(rank < cut)
    last = np.flatnonzero(rank == cut)
    keep = n - len(whole)
    if keep < len(last):
        box = fitness[rank == 0]
        low, high = box.min(axis=0), box.max(axis=0)
        scaled = (fitness[last] - low) / np.where(high > low, high - low, 1.0)
        m = fitness.shape[1]
        exact = m <= 3 or (m <= 5 and len(last) <= 150)
        chosen = _exact_cut(scaled, keep) if exact else _sampled_cut(scaled, keep, rng)
        last = last[chosen]
    return np.concatenate([whole, last]), rank


def _exact_cut(front: Array, keep: int) -> Rows:
    """Remove the least contributor, again and again; ties remove the later row."""
    if front.shape[1] == 1:
        return np.argsort(front[:, 0], kind="stable")[:keep]
    from moocore import hv_contributions

    reference = front.max(axis=0) + 1.0  # far enough that the ends of the front survive
    rows = np.arange(len(front))
    while len(rows) > keep:
        gain = hv_contributions(front[rows], ref=reference)
        rows = np.delete(rows, np.flatnonzero(gain == gain.min())[-1])
    return rows


def _sampled_cut(front: Array, keep: int, rng: np.random.Generator, samples: int = 8192) -> Rows:
    """The same on samples: one below i rows credits each with its chance to be lost."""
    n, m = front.shape
    low, high = front.min(axis=0), front.max(axis=0) + 0.1
    points = low + rng.random((samples, m)) * (high - low)
    below = np.ones((samples, n), dtype=bool)
    for j in range(m):
        below &= front[:, j] <= points[:, j, None]
    count = below.sum(axis=1)
    covers = below[count > 0].astype(np.float32)
    count = count[count > 0]
    alive = np.ones(n, dtype=bool)
    weight, credit = np.zeros(n + 2), np.zeros(n)
    for step in range(n - keep):
        # The weights depend on how many cuts are left; refreshing them now and then is enough.
        if step % max(1, (n - keep) // 32) == 0:
            weight = _hype_weights(int(alive.sum()), n - keep - step)
            credit = (weight[count].astype(np.float32) @ covers).astype(np.float64)
        out = np.flatnonzero(alive)[::-1]
        loser = out[credit[out].argmin()]
        alive[loser] = False
        hit = np.flatnonzero(covers[:, loser])
        change = weight[count[hit] - 1] - weight[count[hit]]
        credit = credit + change @ covers[hit]
        count[hit] -= 1
    return np.flatnonzero(alive)


def _hype_weights(n: int, cuts: int) -> Array:
    """Entry i: share of a sample below i of n rows that a row loses, expected over ``cuts``."""
    weight = np.zeros(n + 2)
    for i in range(1, min(cuts, n) + 1):
        j = np.arange(1, i)
        weight[i] = np.prod((cuts - j) / (n - j)) / i
    return weight


def _gaps(fitness: Array, front: NDArray[np.bool_]) -> Array:
    """Euclidean distances in the box of the front, infinite on the diagonal; shape (n, n)."""
    box = fitness[front]
    extent = box.max(axis=0) - box.min(axis=0)
    square = np.zeros((len(fitness), len(fitness)))
    for column in (fitness / np.where(extent > 0, extent, 1.0)).T:
        square += (column[:, None] - column[None, :]) ** 2
    np.fill_diagonal(square, np.inf)
    return np.sqrt(square)


def _thin(gaps: Array, keep: int) -> Rows:
    """Cut rows by their sorted distances until ``keep`` are left; ``gaps`` is used up."""
    alive = np.ones(len(gaps), dtype=bool)
    nearest = gaps.min(axis=1)
    for _ in range(len(gaps) - keep):
        tied = np.flatnonzero(nearest == nearest[alive].min())
        tied = tied[alive[tied]][::-1]
        loser = tied[0]
        if len(tied) > 1:
            ordered = np.sort(gaps[tied][:, alive], axis=1)
            loser = tied[np.lexsort(ordered.T[::-1])[0]]
        alive[loser] = False
        stale = np.flatnonzero(alive & (gaps[:, loser] == nearest))
        gaps[loser, :] = gaps[:, loser] = np.inf
        nearest[loser] = np.inf
        nearest[stale] = gaps[stale].min(axis=1)
    return np.flatnonzero(alive)
