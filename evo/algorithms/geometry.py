"""Survival by the estimated curvature of the front: AGE-MOEA and AGE-MOEA-II.

Written on arrays, because pymoo's need numba and sort unstably. Fitness is minimised and finite,
shape (n, m). The curvature p is that of the norm whose unit sphere the normalised front resembles:
1 a plane, above 1 bulging away from the ideal point, below 1 towards it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..indicators import ranks
from ..problem import Array
from .survival import Rows

LEAST, MOST = 0.1, 20.0  # curvatures that are believed


def by_geometry(fitness: Array, n: int, *, geodesic: bool) -> tuple[Rows, Rows, Array]:
    """AGE-MOEA's survivors: whole fronts, then the rows of the cut front with the best score.

    Args:
        fitness: Feasible candidates.
        n: How many survive.
        geodesic: Fit the curvature by Newton's method and measure along the front
            (Panichella 2022) instead of from the front's centre with its own norm (2019).

    Returns:
        Rows kept, and rank and score (larger is better) of every input row.
    """
    rank = ranks(fitness)
    cut = int(np.searchsorted(np.cumsum(np.bincount(rank)), n))
    score = np.zeros(len(fitness))
    first = np.flatnonzero(rank == 0)
    ideal = fitness[first].min(axis=0)
    score[first], p, scale = _front_scores(fitness[first] - ideal, geodesic)
    for level in range(1, cut + 1):
        rows = np.flatnonzero(rank == level)
        away = norm((fitness[rows] - ideal) / scale, p)
        score[rows] = 1.0 / np.maximum(away, 1e-8)
    return np.lexsort((-score, rank))[:n], rank, score


def norm(points: Array, p: float) -> Array:
    """Minkowski norm of every row, shape (n,); scaled inside, so that nothing overflows."""
    size = np.abs(points)
    top = size.max(axis=-1, keepdims=True)
    safe = np.where(top > 0, top, 1.0)
    return (top * ((size / safe) ** p).sum(axis=-1, keepdims=True) ** (1.0 / p))[..., 0]


def _front_scores(front: Array, geodesic: bool) -> tuple[Array, float, Array]:
    """Scores, curvature and scale of a front that is already shifted to its ideal point."""
    n, m = front.shape
    if n <= m:
        top = front.max(axis=0)
        return np.full(n, np.inf), 1.0, np.where(top > 0, top, 1.0)
    corners = _corners(front)
    scale = _intercepts(front, corners)
    scaled = front / scale
    inner = np.setdiff1d(np.arange(n), corners)
    p = (_newton_curvature if geodesic else _central_curvature)(scaled[inner])
    away = norm(scaled, p)
    if geodesic:
        on_front = _project(scaled, p)
        distance = lambda i: _geodesic(on_front, on_front[i], p)  # noqa: E731
    else:
        distance = lambda i: norm(scaled - scaled[i], p)  # noqa: E731
    return _spread_scores(corners, np.where(away > 1e-8, away, 1.0), distance), p, scale


def _spread_scores(corners: Rows, away: Array, distance: Callable[[int], Array]) -> Array:
    """Pick rows one by one, furthest from those picked; the score is that distance over ``away``.

    The distance is the sum of the two nearest picked rows.
    """
    n = len(away)
    near = np.full((2, n), np.inf)  # the two smallest distances to picked rows
    score = np.full(n, -np.inf)
    score[corners] = np.inf
    open_rows = np.ones(n, dtype=bool)
    open_rows[corners] = False
    fresh = list(corners)
    while True:
        for row in fresh:
            gap = np.maximum(distance(int(row)), 1e-8)
            near[1] = np.minimum(near[1], np.maximum(near[0], gap))
            near[0] = np.minimum(near[0], gap)
        left = np.flatnonzero(open_rows)
        if left.size == 0:
            return score
        second = np.where(np.isfinite(near[1]), near[1], 0.0)
        value = (near[0][left] + second[left]) / away[left]
        best = left[value.argmax()]
        score[best], open_rows[best] = value.max(), False
        fresh = [best]


def _corners(front: Array) -> Rows:
    """Per axis the row nearest to it that is not taken yet, distinct, shape (m,)."""
    taken = np.zeros(len(front), dtype=bool)
    square = (front**2).sum(axis=1)
    for column in front.T:
        away = np.where(taken, np.inf, square - column**2)
        taken[away.argmin()] = True
    return np.flatnonzero(taken)


def _intercepts(front: Array, corners: Rows) -> Array:
    """Where the plane through the corners cuts the axes; the front's own extent if that fails."""
    top = front.max(axis=0)
    top = np.where(top > 0, top, 1.0)
    try:
        plane = np.linalg.solve(front[corners], np.ones(front.shape[1]))
    except np.linalg.LinAlgError:
        return top
    if not np.isfinite(plane).all() or (plane <= 1e-12).any():
        return top
    return np.asarray(1.0 / plane, dtype=np.float64)


def _central_curvature(front: Array) -> float:
    """From the row nearest to the diagonal: p = log m / log(1 / its mean) (Panichella 2019)."""
    m = front.shape[1]
    off = (front**2).sum(axis=1) - front.sum(axis=1) ** 2 / m
    mean = front[off.argmin()].mean()
    if m == 1 or not 0.0 < mean < 1.0:
        return 1.0
    return _believed(float(np.log(m) / -np.log(mean)))


def _newton_curvature(front: Array) -> float:
    """The root p of sum(x**p) = 1 for the row nearest to the ideal point (Panichella 2022)."""
    point = front[(front**2).sum(axis=1).argmin()]
    logs = np.log(point[point > 1e-12])
    p = 1.0
    for _ in range(100 if len(logs) > 1 else 0):
        powers = np.exp(np.clip(p * logs, -700.0, 700.0))
        total, slope = powers.sum(), float((powers * logs).sum())
        if slope == 0.0:
            return 1.0
        step = float(np.log(total) * total / slope)
        p = float(np.clip(p - step, -50.0, 50.0))
        if abs(step) < 1e-3:
            break
    return _believed(p)


def _believed(p: float) -> float:
    if not np.isfinite(p) or p <= LEAST:
        return 1.0
    return min(p, MOST)


def _project(points: Array, p: float) -> Array:
    """Rows scaled onto the unit sphere of the p-norm; rows at the origin stay."""
    away = norm(np.maximum(points, 0.0), p)
    return points / np.where(away > 1e-12, away, 1.0)[..., None]


def _geodesic(points: Array, point: Array, p: float) -> Array:
    """Length of the way over the projected midpoint, shape (n,)."""
    middle = _project(0.5 * (points + point), p)
    return norm(points - middle, 2.0) + norm(middle - point, 2.0)
