"""Survival along reference directions: MOEA/D's slots, RVEA's angles, C-TAEA's two archives.

Scaling happens here, online, from what has been met: on raw objectives of different units one
objective would decide everything.
"""

from __future__ import annotations

import numpy as np

from ..indicators import nondominated, ranks
from ..problem import Array
from .survival import Rows


class Box:
    """Ideal point over the whole run, nadir of the present front; without scaling only a shift."""

    def __init__(self, m: int, scaling: bool = True) -> None:
        self._scaling = scaling
        self.ideal, self.nadir = np.full(m, np.inf), np.full(m, np.inf)

    def update(self, fitness: Array) -> None:
        """Take in feasible rows; no rows leave the box as it is."""
        if len(fitness):
            self.ideal = np.minimum(self.ideal, fitness.min(axis=0))
            self.nadir = fitness[nondominated(fitness)].max(axis=0)

    def scale(self, fitness: Array) -> Array:
        """Rows with the ideal at 0 and the nadir at 1, the latter where scaling is asked for.

        An objective without extent keeps its length.
        """
        if not np.isfinite(self.ideal).all():
            return fitness - fitness.min(axis=0, initial=0.0)
        if not self._scaling:
            return fitness - self.ideal
        extent = self.nadir - self.ideal
        return (fitness - self.ideal) / np.where(extent > 0, extent, 1.0)


def chebyshev(scaled: Array, weights: Array) -> Array:
    """Weighted Chebyshev distance to the ideal, every row against every weight, shape (n, k).

    A weight of 0 counts as 1e-4, so that of two rows equal elsewhere the better one wins.
    """
    safe = np.maximum(weights, 1e-4)
    out = np.zeros((len(scaled), len(weights)))
    for j in range(scaled.shape[1]):
        out = np.maximum(out, np.abs(scaled[:, j, None]) * safe[:, j])
    return out


def boundary(scaled: Array, weights: Array, theta: float = 5.0) -> Array:
    """Penalised boundary intersection (Zhang and Li 2007), shape (n, k)."""
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    along = scaled @ unit.T
    square = (scaled**2).sum(axis=1)[:, None] - along**2
    return along + theta * np.sqrt(np.maximum(square, 0.0))


def nearest_direction(scaled: Array, weights: Array) -> Rows:
    """The direction of smallest angle for every row, shape (n,); ties and zeros go to the first."""
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    return (scaled @ unit.T).argmax(axis=1)


class Angles:
    """RVEA's survivors (Cheng et al. 2016): per direction the least angle-penalised distance.

    Args:
        weights: Reference directions, shape (k, m).
        generations: Planned number of generations; the penalty grows towards it and then stays.
        alpha: How late the penalty grows.
        every: Directions follow the front's scale after this share of the generations.
    """

    def __init__(
        self, weights: Array, generations: int, alpha: float = 2.0, every: float = 0.1
    ) -> None:
        self._weights = _unit(weights)
        self._generations, self._alpha = generations, alpha
        self._period = max(1, int(np.ceil(generations * every)))
        self._done = 0
        self._ideal = np.full(weights.shape[1], np.inf)
        self._aim(self._weights)

    def __call__(self, fitness: Array) -> Rows:
        """Rows kept, at most one per direction, in order of direction; counts one generation."""
        self._ideal = np.minimum(self._ideal, fitness.min(axis=0))
        shifted = fitness - self._ideal
        length = np.linalg.norm(shifted, axis=1)
        cosine = shifted @ self._units.T / np.maximum(length, 1e-64)[:, None]
        niche = cosine.argmax(axis=1)
        angle = np.arccos(np.clip(cosine[np.arange(len(niche)), niche], -1.0, 1.0))
        m = fitness.shape[1]
        progress = min(1.0, self._done / self._generations)
        penalty = (m if m > 2 else 1) * progress**self._alpha * angle / self._gamma[niche]
        order = np.lexsort((length * (1.0 + penalty), niche))
        kept = order[np.unique(niche[order], return_index=True)[1]]
        self._done += 1
        if self._done % self._period == 0:
            extent = fitness[kept].max(axis=0) - self._ideal
            self._aim(_unit(self._weights * np.where(extent > 0, extent, 1.0)))
        return kept

    def _aim(self, units: Array) -> None:
        self._units = units
        self._gamma = np.full(len(units), np.pi / 2)
        if len(units) > 1:
            near = np.sort(units @ units.T, axis=1)[:, -2]
            self._gamma = np.maximum(np.arccos(np.clip(near, -1.0, 1.0)), 1e-6)


class Archives:
    """C-TAEA's two archives (Li et al. 2019): one for convergence and feasibility, one for spread.

    pymoo's version loops for ever on batches shorter than the population, so this one is ours.

    Args:
        weights: Reference directions, shape (k, m).
        size: Rows per archive.
        scaling: Whether the front's box scales objectives.
    """

    def __init__(self, weights: Array, size: int, *, scaling: bool = True) -> None:
        self._weights, self._size = weights, size
        self._box = Box(weights.shape[1], scaling)

    def __call__(
        self, fitness: Array, violation: Array, converged: Rows, diverse: Rows, new: Rows
    ) -> tuple[Rows, Rows]:
        """Next convergence and diversity archive, as rows of ``fitness``."""
        feasible = violation <= 0
        self._box.update(fitness[feasible] if feasible.any() else fitness)
        scaled = np.maximum(self._box.scale(fitness), 0.0)
        niche = nearest_direction(scaled, self._weights)
        cost = chebyshev(scaled, 1.0 / np.maximum(self._weights, 1e-4))
        cost = cost[np.arange(len(niche)), niche]
        pool = np.concatenate([converged, new])
        converged = self._converge(scaled, violation, niche, cost, pool)
        pool = np.unique(np.concatenate([diverse, new]))
        return converged, self._diversify(scaled, niche, cost, pool, niche[converged])

    def _converge(
        self, scaled: Array, violation: Array, niche: Rows, cost: Array, pool: Rows
    ) -> Rows:
        feasible = pool[violation[pool] <= 0]
        missing = self._size - len(feasible)
        if missing >= 0:
            others = pool[violation[pool] > 0]
            both = np.column_stack([violation[others], cost[others]])
            order = np.lexsort((violation[others], ranks(both))) if len(others) else others
            return np.concatenate([feasible, others[order][:missing]])
        rank = ranks(scaled[feasible])
        last = np.sort(rank)[self._size - 1]
        kept = feasible[rank <= last]
        return _thin_niches(scaled, niche, cost, kept, self._size)

    def _diversify(self, scaled: Array, niche: Rows, cost: Array, pool: Rows, held: Rows) -> Rows:
        """Deal rows to directions that the other archive serves less, best rows first."""
        served = np.bincount(held, minlength=len(self._weights))
        turn = np.empty(len(pool), dtype=np.int64)
        for k in np.unique(niche[pool]):
            mine = np.flatnonzero(niche[pool] == k)
            rank = ranks(scaled[pool[mine]])
            order = np.lexsort((cost[pool[mine]], rank))
            turn[mine[order]] = served[k] + np.arange(len(mine))
        return pool[np.lexsort((niche[pool], turn))[: self._size]]


def _thin_niches(scaled: Array, niche: Rows, cost: Array, rows: Rows, keep: int) -> Rows:
    """Cut rows from the most crowded direction: of its closest two, the costlier one."""
    rows = rows.copy()
    while len(rows) > keep:
        crowd = np.bincount(niche[rows])
        mine = np.flatnonzero(niche[rows] == crowd.argmax())
        points = scaled[rows[mine]]
        gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
        np.fill_diagonal(gaps, np.inf)
        pair = mine[list(np.unravel_index(gaps.argmin(), gaps.shape))] if len(mine) > 1 else mine
        rows = np.delete(rows, pair[np.lexsort((pair, cost[rows[pair]]))[-1]])
    return rows


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
