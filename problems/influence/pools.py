"""Nodes worth starting from: those that spread far alone and have many neighbours, or from a file.

Source: the two filters of MOEIM's smart initialisation (Cunegatti et al. 2024). Spreads of single
nodes are compared on common worlds instead of independent simulations, so that chance favours no
node, and all nodes still in question are simulated at once.
"""

from __future__ import annotations

import csv
from math import comb
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from evo.errors import DataError

from .cascades import Groups, SeedSets, propagated
from .graphs import Graph
from .worlds import Model, Pool

Nodes = NDArray[np.int64]

STEPS = 3  # of the cascades that nodes are compared by
FIRST, MORE, MOST = 5, 3, 100  # worlds at first, each time more are needed, and in all
CONFIDENCE = 0.95  # of the intervals of means
ERRORS = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # relative, allowed in one round after the other
BITS = 1 << 29  # of the sets that are simulated together
FEWEST, ENOUGH = 10**9, 10**11  # full sets that the pool must, and need at most, leave possible


def promising(graph: Graph, model: Model, most: int, seed: int) -> Nodes:
    """Nodes that pass both filters, ascending; the farthest alone where none passes both.

    Args:
        graph: Whose.
        model: How they spread.
        most: Largest seed set.
        seed: Of the worlds they are compared on.
    """
    found = far(graph, model, most, seed)
    both = found[many_neighbours(graph)[found]]
    return both if len(both) else found


def many_neighbours(graph: Graph) -> NDArray[np.bool_]:
    """Nodes whose out-degree is above the mean total degree, cut to a whole number, (n,)."""
    ends = 2 if graph.directed else 1
    return graph.counted_out > int(ends * graph.counted_out.mean())


def far(graph: Graph, model: Model, most: int, seed: int) -> Nodes:
    """Nodes that activate most alone within three steps, ascending.

    In each round the nodes left are simulated until the 95 % interval of a mean is within the error
    that the round allows, at most 100 times. The m best stay, and all whose upper bound lies above
    the lower bound of the m-th, where m is the least number with C(m, most) ≥ 10⁹. The last round
    is the one that leaves no more than C(m, most) ≥ 10¹¹ asks for.
    """
    wanted, enough = (least_pool(most, sets) for sets in (FEWEST, ENOUGH))
    spreads = _Spreads(graph, model, seed)
    left = np.arange(graph.n)
    for allowed in ERRORS:
        if len(left) <= enough:
            break
        mean, margin = spreads.within(left, allowed)
        order = np.argsort(-mean, kind="stable")
        last = order[wanted - 1]
        stays = mean + margin > mean[last] - margin[last]
        stays[order[:wanted]] = True
        left = left[stays]
    return left


def least_pool(most: int, sets: int) -> int:
    """The least number of nodes that have so many subsets of size ``most``."""
    m = most
    while comb(m, most) < sets:
        m += 1
    return m


class _Spreads:
    """What is known of the spread of each node alone: prefixes of one sequence of worlds."""

    def __init__(self, graph: Graph, model: Model, seed: int) -> None:
        self._model, self._worlds = model, list(Pool(model, seed, "filter", MOST))
        self._all = Groups(np.full(graph.n, -1, dtype=np.int32))
        self._n = graph.n
        self._count = np.zeros(graph.n, dtype=np.int64)
        self._sum, self._squares = np.zeros(graph.n), np.zeros(graph.n)

    def within(
        self, nodes: Nodes, allowed: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and half-widths of their intervals, (k,), after as many worlds as it takes."""
        while True:
            mean, margin = self._interval(nodes)
            open_ = (margin > allowed * mean) & (self._count[nodes] < MOST)
            if not open_.any():
                return mean, margin
            short = nodes[open_]
            for count in np.unique(self._count[short]):
                self._add(short[self._count[short] == count], int(count))

    def _interval(self, nodes: Nodes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        count = self._count[nodes]
        known = np.maximum(count, 2)
        mean = self._sum[nodes] / known
        variance = np.maximum(self._squares[nodes] - known * mean**2, 0.0) / (known - 1)
        margin = student.ppf((1 + CONFIDENCE) / 2, known - 1) * np.sqrt(variance / known)
        return mean, np.where(count > 0, margin, np.inf)

    def _add(self, nodes: Nodes, count: int) -> None:
        worlds = self._worlds[count : count + (MORE if count else FIRST)]
        self._count[nodes] += len(worlds)
        for some in np.array_split(nodes, -(-len(nodes) * self._n // BITS)):
            alone = SeedSets(some[:, None].astype(np.int32), self._n)
            found = propagated(alone, self._model, worlds, self._all, STEPS, steps=False)
            active = found.active.sum(axis=2, dtype=np.float64)
            self._sum[some] += active.sum(axis=1)
            self._squares[some] += (active**2).sum(axis=1)


def read_pool(path: str | Path, graph: Graph, row: str) -> Nodes:
    """Nodes listed in a file by name, ascending.

    The file holds one name per line, with or without the heading ``node``; or it is a table without
    heading whose rows begin with a graph and a model (``CA-HepTh_un-WC,12,73.0,…``).

    Args:
        path: The file.
        graph: Whose nodes.
        row: Which row of a table.

    Raises:
        DataError: The file cannot be read, has no such row, or names other nodes.
    """
    file = Path(path)
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            rows = [[cell.strip() for cell in line if cell.strip()] for line in csv.reader(handle)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"pool {str(path)!r} cannot be read: {error}") from error
    lines = [line for line in rows if line]
    if any(len(line) > 1 for line in lines):
        found = next((line[1:] for line in lines if line[0] == row), None)
        if found is None:
            raise DataError(f"{file.name} has no row {row!r}")
    else:
        found = [line[0] for line in lines if line != ["node"]]
    if not found:
        raise DataError(f"{file.name} names no node")
    try:
        known = set(graph.names)
        whole = [name if name in known else name.removesuffix(".0") for name in found]
        return np.unique(graph.numbers(whole))
    except DataError as error:
        raise DataError(f"{file.name} does not fit the graph: {error.message}") from error
