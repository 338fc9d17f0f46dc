"""Seed sets to begin with: first parts of rankings, by degree, MOEIM's smart ones, or none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators import RNG

from .graphs import Graph
from .heuristics import Ranking, generalised_discount, pagerank
from .sketches import EPSILON, opim_c
from .worlds import Cascade, Model

INITIAL = ("ranked", "degree", "smart", "random")
SMART = 0.33  # share of MOEIM's first generation


def ranked(
    model: Model, form: str, most: int, limit: int | None, n: int, rng: RNG
) -> NDArray[np.int32]:
    """First parts of two rankings for two thirds of n sets, the others by degree, (n, d).

    The rankings are GDD's and OPIM-C's, or PageRank's where arcs are not live independently.

    Args:
        model: How seeds spread.
        form: ``ic``, ``wc`` or ``lt``.
        most: Largest set.
        limit: Most steps, None for no limit.
        n: Sets of the first generation.
        rng: Draws.
    """
    seed = int(rng.integers(1 << 31))
    rankings = (
        opim_c(model, most, limit, EPSILON, seed=seed).nodes
        if isinstance(model, Cascade)
        else pagerank(model, most),
        generalised_discount(model, most, form),
    )
    sizes = np.unique(np.linspace(1, most, max(1, n // 3)).round().astype(int))
    parts = [first_parts(ranking, sizes, most) for ranking in rankings]
    rest = n - sum(map(len, parts))
    return np.concatenate([*parts, by_degree(model.graph, most, max(0, rest), rng)])[:n]


def first_parts(ranking: Ranking, sizes: NDArray[np.int64], most: int) -> NDArray[np.int32]:
    """The first nodes of a ranking, so many for each set, (s, most)."""
    rows = np.full((len(sizes), most), -1, dtype=np.int32)
    for row, size in zip(rows, sizes, strict=True):
        row[:size] = np.sort(ranking[:size])
    return rows


def by_degree(graph: Graph, most: int, n: int, rng: RNG) -> NDArray[np.int32]:
    """Nodes of high degree: small sets hold the highest, the others are drawn by degree, (n, d)."""
    degree = graph.counted_out + 1e-9
    order = np.argsort(-degree, kind="stable")
    rows = np.full((n, most), -1, dtype=np.int32)
    sizes = np.unique(np.geomspace(1, most, n).astype(int))
    for row, size in zip(rows, np.resize(sizes, n), strict=True):
        top = order[: max(size * 3, 10)]
        weights = degree[top] / degree[top].sum()
        row[:size] = np.sort(rng.choice(top, size, replace=False, p=weights))
    first = min(n, len(sizes)) // 2
    for row, size in zip(rows[:first], sizes[:first], strict=False):
        row[:] = -1
        row[:size] = np.sort(order[:size])
    return rows


def smart(graph: Graph, most: int, pool: NDArray[np.int64], n: int, rng: RNG) -> NDArray[np.int32]:
    """A third of n sets from a pool, of uniform size, nodes drawn one by one by total degree.

    The search fills the rest of its first generation with random sets, as MOEIM does.

    Args:
        graph: Whose nodes.
        most: Largest set.
        pool: Nodes to draw from.
        n: Sets of the first generation.
        rng: Draws.
    """
    degree = graph.counted_out + (graph.counted_in if graph.directed else 0)
    weights = degree[pool] + 1e-9
    rows = np.full((int(SMART * n), most), -1, dtype=np.int32)
    for row in rows:
        size = min(int(rng.integers(1, most, endpoint=True)), len(pool))
        chosen = rng.choice(pool, size, replace=False, p=weights / weights.sum())
        row[:size] = np.sort(chosen)
    return rows
