"""Which of many predicted candidates to judge: those that add most hypervolume together.

Source: Beume, Naujoks and Emmerich, *SMS-EMOA*, 2007, for the criterion; the volume is estimated
from random points, as in Bader and Zitzler, *HypE*, 2011, so that it costs the same for any number
of objectives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators import RNG

from ..indicators import nondominated
from ..problem import Array

GROWTH = 1.0  # of a front's range, by which predictions may widen the box at each end
PER_END = 8  # rows chosen for each end beyond that
MARGIN = 0.1  # how far the sampled box reaches beyond that
POINTS = 16384  # sampled where nothing known dominates
DRAWS = 24  # times so many are drawn at most


def most_improving(front: Array, predicted: Array, n: int, rng: RNG) -> NDArray[np.intp]:
    """Rows chosen one after another, each for what it adds to the front and those before it.

    The volume lies in the box of the front, widened to where predicted rows that nothing dominates
    lie, since a front would otherwise hardly grow at its ends. Ends so far off that they have no
    part in it get one place in :data:`PER_END` all the same: one look tells what they are worth.

    Args:
        front: Known fitness that nothing known dominates, shape (k, m), k at least 1.
        predicted: Fitness of the candidates, shape (q, m).
        n: Rows wanted.
        rng: Draws the points the volume is estimated from.

    Returns:
        At most n distinct rows of ``predicted``. Those that add no volume come last, the ones
        nearest to the front first.
    """
    both = np.concatenate([front, predicted])
    kept = nondominated(both)
    low, high = front.min(axis=0), front.max(axis=0)
    grown = GROWTH * (high - low)
    low, high = (
        np.maximum(both[kept].min(axis=0), low - grown),
        np.minimum(both[kept].max(axis=0), high + grown),
    )
    wide = both.max(axis=0)
    extent = np.where(high > low, high - low, np.where(wide > low, wide - low, 1.0))
    known, points = (front - low) / extent, (predicted - low) / extent
    hopeful = np.flatnonzero(kept[len(front) :])
    ends = _ends(known, points, hopeful)[: n // PER_END]
    inside = hopeful[_cover(_undominated(known, rng), points[hopeful], n - len(ends))]
    chosen = np.concatenate([inside, ends])
    if len(chosen) >= n:
        return chosen.astype(np.intp)
    rest = np.setdiff1d(np.arange(len(points)), chosen)
    behind = np.array([(points[i] - known).max(axis=1).min() for i in rest])
    filling = rest[np.argsort(behind, kind="stable")] if len(rest) else rest
    return np.concatenate([chosen, filling])[:n].astype(np.intp)


def corners(fitness: Array) -> Array:
    """A front that spans the same box as that of some rows and leaves all of it free, (m, m).

    Args:
        fitness: Shape (n, m), n at least 1.
    """
    front = fitness[nondominated(fitness)]
    own = np.eye(fitness.shape[1], dtype=bool)
    return np.where(own, front.min(axis=0), front.max(axis=0))


def _ends(known: Array, points: Array, hopeful: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows beyond the unit box that are better than all others in one objective."""
    found: list[int] = []
    for j in range(points.shape[1]):
        row = hopeful[points[hopeful, j].argmin()] if len(hopeful) else 0
        beyond = len(hopeful) and (points[row] > 1 + MARGIN).any()
        if beyond and points[row, j] < known[:, j].min() and row not in found:
            found.append(int(row))
    return np.array(found, dtype=np.intp)


def _undominated(known: Array, rng: RNG) -> Array:
    """Random points of the box that no known row dominates, at most ``POINTS``."""
    found: list[Array] = []
    for _ in range(DRAWS):
        points = rng.uniform(-MARGIN, 1 + MARGIN, (POINTS, known.shape[1]))
        for row in known:
            points = points[(points < row).any(axis=1)]
        found.append(points)
        if sum(map(len, found)) >= POINTS:
            break
    return np.concatenate(found)[:POINTS]


def _cover(points: Array, rows: Array, n: int) -> NDArray[np.intp]:
    """At most n rows; each dominates the most points left over by those before it, at least one."""
    covers = np.ones((len(rows), len(points)), dtype=bool)
    for j in range(rows.shape[1]):
        covers &= rows[:, j, None] <= points[:, j]
    weights, left = covers.astype(np.float32), np.ones(len(points), dtype=np.float32)
    chosen: list[int] = []
    while len(chosen) < min(n, len(rows)):
        gain = weights @ left
        best = int(gain.argmax())
        if gain[best] < 0.5:
            break
        chosen.append(best)
        left *= ~covers[best]
    return np.array(chosen, dtype=np.intp)
