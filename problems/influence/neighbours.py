"""Neighbours of many nodes at once, from compressed rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graphs import Graph


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Neighbours of every node, one after the other.

    Args:
        ends: Where the row of each node ends, and the next begins, from 0, (n + 1,).
        near: Neighbours, (m,).
    """

    ends: NDArray[np.int64]
    near: NDArray[np.int32]

    def places(self, nodes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Indices into ``near`` of the rows of some nodes, row by row."""
        first, counts = self.ends[nodes], self.counts(nodes)
        before = np.cumsum(counts) - counts
        return np.arange(counts.sum()) + np.repeat(first - before, counts)

    def counts(self, nodes: NDArray[np.integer]) -> NDArray[np.int64]:
        """How many neighbours some nodes have."""
        return self.ends[nodes + 1] - self.ends[nodes]

    def of(self, node: int) -> NDArray[np.int32]:
        """Neighbours of one node."""
        return self.near[self.ends[node] : self.ends[node + 1]]

    def of_all(self, nodes: NDArray[np.integer]) -> NDArray[np.int32]:
        """Neighbours of some nodes, row by row; who is near to several comes as often."""
        return self.near[self.places(nodes)]


def entering(graph: Graph) -> Rows:
    """Who has an arc to a node; the order of its row is that of the arcs of the graph."""
    return Rows(ends_of(graph.in_degree), graph.sources)


def leaving(graph: Graph) -> Rows:
    """Whom a node has an arc to."""
    order = np.argsort(graph.sources, kind="stable")
    return Rows(ends_of(graph.out_degree), graph.targets[order])


def ends_of(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Ends of rows of so many entries, from 0, (n + 1,)."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
