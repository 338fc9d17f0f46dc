"""Who survives, decided on arrays: dominance ranks with crowding, strength, least hypervolume.

All functions take minimised, finite fitness of shape (n, m) of feasible candidates and return row
indices in an order that depends on the input alone: every sort is stable.
"""

from __future__ import annotations

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


def by_rank_and_crowding(fitness: Array, n: int) -> tuple[Rows, Rows, Array]:
    """NSGA-II's survivors: whole fronts, then the loneliest rows of the front that is cut.

    Equal objective vectors crowd one another completely: only the first of them counts as an end.

    Returns:
        Rows kept (min(n, len(fitness)) of them), and rank and crowding of every input row.
    """
    rank = ranks(fitness)
    distance = np.zeros(len(fitness))
    for level in range(int(rank.max(initial=-1)) + 1):
        front = np.flatnonzero(rank == level)
        distance[front] = crowding(fitness[front])
        if np.count_nonzero(rank <= level) >= n:
            break
    order = np.lexsort((-distance, rank))  # lexsort is stable: ties keep their input order
    return order[:n], rank, distance
