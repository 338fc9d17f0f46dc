"""Where nodes of a graph are drawn: near what they are joined to, apart from the rest.

Forces are those of ForceAtlas2 (Jacomy et al. 2014) in LinLog mode: along an edge, nodes attract
each other by the logarithm of their distance; all nodes repel each other by their degrees over
their distance. Of the latter some pairs stand for all, drawn anew in every round (Gove 2019), so
that a round costs as much as there are nodes and edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evo.problem import Array
from evo.streams import derive
from operators import RNG

ROUNDS = 200
_OTHERS = 20  # nodes that repel a node in a round
_REPULSION = 0.01


def placed(
    one: NDArray[np.integer], two: NDArray[np.integer], of: NDArray[np.integer], seed: int
) -> Array:
    """Positions around the origin, of whole groups first and then of their nodes, (n, 2).

    Args:
        one: A node of each edge, (m,).
        two: The other, (m,).
        of: Group of each node from 0, (n,).
        seed: Of first positions, and of pairs.
    """
    n, rng = len(of), np.random.default_rng(derive(seed, "layout"))
    reach = np.sqrt(n)
    ranges = np.sqrt(np.bincount(of))[of][:, None]
    where = reach * _centres(one, two, of, seed)[of] + 0.3 * ranges * rng.normal(size=(n, 2))
    mass = np.bincount(np.concatenate([one, two]), minlength=n).astype(np.float64) + 1
    for turn in range(ROUNDS):
        heat = 1 - turn / ROUNDS
        pull = _attraction(where, one, two) + _repulsion(where, mass, rng)
        step = pull / mass[:, None]
        length = np.linalg.norm(step, axis=1, keepdims=True) + 1e-9
        most = 0.1 * reach * (heat + 0.02)
        where = where + (0.1 + 0.4 * heat) * step * np.minimum(1, most / length)
    return where


def _centres(
    one: NDArray[np.integer], two: NDArray[np.integer], of: NDArray[np.integer], seed: int
) -> Array:
    """Positions of groups, near where many edges join them, (g, 2); all pairs are joined a bit."""
    import networkx

    count = int(of.max()) + 1
    edges = np.bincount(of[one] * count + of[two], minlength=count**2).reshape(count, count)
    weight = np.sqrt(edges + edges.T)
    weight += 0.1 * weight.mean() + 0.01
    np.fill_diagonal(weight, 0)
    joined = networkx.from_numpy_array(weight)
    found = networkx.spring_layout(joined, iterations=ROUNDS, seed=seed % 2**32)
    return np.array([found[i] for i in range(count)])


def _attraction(where: Array, one: NDArray[np.integer], two: NDArray[np.integer]) -> Array:
    gap = where[two] - where[one]
    distance = np.linalg.norm(gap, axis=1, keepdims=True) + 1e-9
    force, n = gap / distance * np.log1p(distance), len(where)
    axes = [np.bincount(one, f, n) - np.bincount(two, f, n) for f in force.T]
    return np.stack(axes, axis=1).astype(np.float64)


def _repulsion(where: Array, mass: Array, rng: RNG) -> Array:
    n = len(where)
    others = rng.integers(0, n, (_OTHERS, n))
    gap = where - where[others]  # (others, n, 2)
    weight = _REPULSION * n / _OTHERS * mass * mass[others] / ((gap**2).sum(axis=2) + 0.05)
    return np.einsum("qn,qnk->nk", weight, gap)
