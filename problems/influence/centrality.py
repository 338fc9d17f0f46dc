"""How central nodes are, by eight measures, fast enough for graphs of ten thousands of nodes.

Where arcs have a direction, measures look along it: a node is central when much lies before it, as
spread does. Values are those of networkx on the reversed graph, where it has the measure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from evo.errors import ConfigError
from evo.problem import Array
from operators import RNG

from .graphs import Graph

PIVOTS = 500  # where there are more nodes, so many stand for all in betweenness and closeness
DAMPING = 0.85  # of PageRank; of Katz, as a share of where its sum stops to converge
_TOGETHER = 100  # pivots searched from at once
_ROUNDS = 1000


def centrality(graph: Graph, measure: str, rng: RNG) -> Array:
    """A measure of every node, more is more central, (n,).

    Args:
        graph: Arcs, without loops and probabilities.
        measure: One of :data:`MEASURES`.
        rng: Draws the pivots of betweenness and closeness (Brandes and Pich 2007) where there are
            more than :data:`PIVOTS` nodes.

    Raises:
        ConfigError: There is no such measure.
    """
    if measure not in MEASURES:
        raise ConfigError(
            f"problem.upscale must be one of {', '.join(sorted(MEASURES))}, got {measure!r}"
        )
    return np.asarray(MEASURES[measure](graph, rng), dtype=np.float64)


def _along(graph: Graph) -> csr_array:
    """Row u holds 1 for every v that u may activate, (n, n)."""
    places = (graph.sources, graph.targets)
    return csr_array((np.ones(graph.m), places), shape=(graph.n, graph.n))


def _networkx(graph: Graph, kind: Any) -> Any:
    built = kind()
    built.add_nodes_from(range(graph.n))
    built.add_edges_from(zip(graph.targets.tolist(), graph.sources.tolist(), strict=True))
    return built


def _degree(graph: Graph, rng: RNG) -> Array:
    return graph.out_degree / max(graph.n - 1, 1)


def _two_hop(graph: Graph, rng: RNG) -> Array:
    """Arcs that leave a node or one that it may activate."""
    own = graph.out_degree.astype(np.float64)
    return own + _along(graph) @ own


def _core(graph: Graph, rng: RNG) -> Array:
    import networkx

    found = networkx.core_number(_networkx(graph, networkx.Graph))
    return np.array([found[node] for node in range(graph.n)], dtype=np.float64)


def _pagerank(graph: Graph, rng: RNG) -> Array:
    import networkx

    reversed_ = _networkx(graph, networkx.DiGraph)
    found = networkx.pagerank(reversed_, alpha=DAMPING, max_iter=_ROUNDS, tol=1e-10)
    return np.array([found[node] for node in range(graph.n)], dtype=np.float64)


def _eigenvector(graph: Graph, rng: RNG) -> Array:
    return _leading(_along(graph), graph.n)[0]


def _leading(along: csr_array, n: int) -> tuple[Array, float]:
    """Leading eigenvector by powers of the matrix plus one, of length 1, and its eigenvalue."""
    found, grown = np.full(n, n**-0.5), 0.0
    for _ in range(_ROUNDS):
        last, found = found, found + along @ found
        grown = float(np.linalg.norm(found))
        found /= grown
        if np.abs(found - last).max() < 1e-10:
            break
    return found, grown - 1


def _katz(graph: Graph, rng: RNG) -> Array:
    along = _along(graph)
    part = DAMPING / max(_leading(along, graph.n)[1], 1.0)
    found = term = np.ones(graph.n)
    while np.abs(term).max() > 1e-12 * found.max():
        term = part * (along @ term)
        found = found + term
    return found / np.linalg.norm(found)


def _chunks(graph: Graph, rng: RNG) -> list[NDArray[np.intp]]:
    """Pivots, some at a time: all nodes, or drawn ones."""
    few = graph.n <= PIVOTS
    picked = np.arange(graph.n) if few else np.sort(rng.choice(graph.n, PIVOTS, replace=False))
    return np.array_split(picked, -(-len(picked) // _TOGETHER))


def _closeness(graph: Graph, rng: RNG) -> Array:
    """Share of nodes reached over their mean distance (Wasserman and Faust 1994)."""
    reversed_ = _along(graph).T.tocsr()
    steps, reached, asked = np.zeros(graph.n), np.zeros(graph.n), np.zeros(graph.n)
    pivots = _chunks(graph, rng)
    for chunk in pivots:
        distance = dijkstra(reversed_, indices=chunk, unweighted=True)  # (pivots, n)
        seen = np.isfinite(distance)
        steps += np.where(seen, distance, 0).sum(axis=0)
        reached += seen.sum(axis=0)
        asked[chunk] += 1  # a node reaches itself
    others = reached - asked
    count = sum(map(len, pivots)) - asked
    share = others / np.maximum(count, 1)
    return np.where(steps > 0, share * others / np.maximum(steps, 1), 0.0)


def _betweenness(graph: Graph, rng: RNG) -> Array:
    """Shortest paths through a node (Brandes 2001), from all pivots of a chunk at once."""
    along = _along(graph)
    back = along.T.tocsr()
    found, pivots = np.zeros(graph.n), _chunks(graph, rng)
    for chunk in pivots:
        columns = np.arange(len(chunk))
        paths = np.zeros((graph.n, len(chunk)))
        paths[chunk, columns] = 1
        level = np.where(paths > 0, 0, -1)
        front, depth = paths, 0
        while front.any():
            depth += 1
            front = np.where(level < 0, back @ front, 0.0)
            level[front > 0] = depth
            paths += front
        owed = np.zeros_like(paths)
        for d in range(depth, 0, -1):
            share = np.where(level == d, (1 + owed) / np.maximum(paths, 1), 0.0)
            owed += np.where(level == d - 1, paths * (along @ share), 0.0)
        owed[chunk, columns] = 0
        found += owed.sum(axis=1)
    pairs = max((graph.n - 1) * (graph.n - 2), 1)
    return found * graph.n / sum(map(len, pivots)) / pairs


MEASURES: dict[str, Callable[[Graph, RNG], Array]] = {
    "betweenness": _betweenness, "closeness": _closeness, "core": _core, "degree": _degree,
    "eigenvector": _eigenvector, "katz": _katz, "pagerank": _pagerank, "two-hop": _two_hop,
}  # fmt: skip
