"""Seed sets to begin with: first parts of rankings, by degree, MOEIM's smart ones, or none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators import RNG

from .graphs import Graph
from .heuristics import Ranking, generalised_discount
from .sketches import Sampler, covering
from .worlds import Cascade, Model

INITIAL = ("ranked", "degree", "smart", "random")
SMART = 0.33  # share of MOEIM's first generation
PILOT, SKETCHES = 64, 1 << 18  # drawn to see how large they are, and at most
HELD = 1 << 22  # nodes that they hold in all, about


def ranked(
    model: Model, form: str, most: int, limit: int | None, n: int, rng: RNG
) -> NDArray[np.int32]:
    """First parts of a ranking, sizes evenly spread, half of n sets at most, (s, most).

    Where arcs are live independently, the ranking is that of :func:`covering_most`, else GDD's. The
    search fills its first generation with random sets: spread needs good ones, the other objectives
    different ones.

    Args:
        model: How seeds spread.
        form: ``ic``, ``wc`` or ``lt``.
        most: Largest set.
        limit: Most steps, None for no limit.
        n: Sets of the first generation.
        rng: Draws.
    """
    if isinstance(model, Cascade):
        ranking = covering_most(model, most, limit, rng)
    else:
        ranking = generalised_discount(model, most, form)
    sizes = np.unique(np.linspace(1, most, -(-n // 2)).round().astype(int))
    return first_parts(ranking, sizes, most)


def covering_most(model: Cascade, most: int, limit: int | None, rng: RNG) -> Ranking:
    """Nodes that greedily meet most reverse-reachable sets (Borgs et al. 2014), in that order.

    As many sets as are quickly drawn, so without a bound: OPIM-C mostly stops far earlier.
    """
    sampler = Sampler(model, limit, rng)
    each = len(sampler.draw(PILOT).near) / PILOT
    count = min(SKETCHES, max(PILOT, int(HELD / each)))
    return covering(sampler.draw(count), model.graph.n, most)[0]


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
