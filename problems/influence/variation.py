"""MOEIM's moves on seed sets: crossover that keeps what parents share, mutations along arcs.

Source: Cunegatti et al. 2024 (arXiv 2403.18755) and its released code. A set has no order, so the
order in which genes are cut is drawn anew for each pair; a node taken in is always one that the set
does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from operators import RNG, Bounds
from operators.subset import SUBSET, SubsetCut, SubsetEdit, outsiders, pack, picks

from .graphs import Graph
from .neighbours import Rows as NeighbourRows
from .neighbours import leaving

OPERATORS = ("plain", "graph", "base")
ROUNDS = 5  # of replacements before parents that are too alike are given up

Rows = NDArray[np.int64]


def variation(kind: str, graph: Graph) -> dict[str, Any]:
    """Operators by role: MOEIM's (``graph``), those of its baseline (``base``), or none."""
    if kind == "graph":
        return {"crossover": UnsharedCut(), "mutation": GraphMove(graph)}
    return {"crossover": SubsetCut(), "mutation": SubsetEdit()} if kind == "base" else {}


@dataclass(frozen=True, slots=True)
class UnsharedCut:
    """Nodes of both parents stay in both children; the others change hands behind one cut.

    The cut lies between the first and the last of the first parent's other nodes; the second parent
    is cut at the same index. Parents that leave the first one fewer than two other nodes have
    random nodes replaced, two where it has none, up to five times; after the fifth they are the
    children.
    """

    kinds: ClassVar[frozenset[str]] = SUBSET

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two children per pair, each shape (n, d), sorted and padded with -1."""
        universe, d = int(bounds.high[0]) + 1, first.shape[1]
        a, b = first.astype(np.int64), second.astype(np.int64)
        replaced = np.zeros(len(a), dtype=np.int64)
        for _ in range(ROUNDS):
            own = _unshared(a, b, universe).sum(axis=1)
            alike = own < 2
            if not alike.any():
                break
            for wanted in (alike, alike & (own == 0)):
                a, b = (_replaced(rows, wanted, universe, rng) for rows in (a, b))
            replaced += alike
        mine, others = _unshared(a, b, universe), _unshared(b, a, universe)
        span = np.maximum(mine.sum(axis=1) - 1, 1)
        cut = np.where(replaced < ROUNDS, 1 + picks(span, rng), 0)[:, None]
        ahead = [_places(loose, rng) < cut for loose in (mine, others)]
        items = np.concatenate([a, b], axis=1)
        kept = [(a >= 0) & ~mine | mine & ahead[0], others & ~ahead[1]]
        swapped = [mine & ~ahead[0], (b >= 0) & ~others | others & ahead[1]]
        return (
            pack(items, np.concatenate(kept, axis=1), d, first.dtype),
            pack(items, np.concatenate(swapped, axis=1), d, second.dtype),
        )


@dataclass(frozen=True, eq=False)
class GraphMove:
    """One of five moves per set, each as likely: two change its size, three exchange a node.

    A random node comes in; a random node goes; a random node gives way to one of its
    out-neighbours; the same, but the neighbour w is drawn with the weight c + Σ out-degree of w's
    out-neighbours, where c neighbours are eligible; a node drawn with the weight 1 − degree /
    largest degree in the set gives way to any other. Sets of one node always grow. Where
    the node has no eligible neighbour, a random member gives way to any node; full sets that should
    grow stay as they are.

    Args:
        graph: Whose arcs are followed.
        shares: How often each move is drawn, in the order above; they sum to 1.
    """

    graph: Graph
    shares: tuple[float, ...] = (0.2, 0.2, 0.2, 0.2, 0.2)
    kinds: ClassVar[frozenset[str]] = SUBSET

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), sorted and padded with -1."""
        n, d = genomes.shape
        universe = self.graph.n
        rows, size = genomes.astype(np.int64), (genomes >= 0).sum(axis=1)
        kind = np.searchsorted(np.cumsum(self.shares[:-1]), rng.random(n), side="right")
        kind = np.where(size < 2, 0, kind)
        old = np.where(kind == 4, self._lowly(rows, rng), picks(size, rng))
        new = outsiders(rows, universe, rng)
        near = np.flatnonzero((kind == 2) | (kind == 3))
        found = self._neighbours(rows[near], old[near], kind[near] == 3, rng)
        new[near] = np.where(found >= 0, found, new[near])
        old[near] = np.where(found >= 0, old[near], picks(size[near], rng))
        out, room = rows.copy(), size < min(d, universe)
        grow = np.flatnonzero((kind == 0) & room)
        out[grow, size[grow]] = new[grow]
        drop = np.flatnonzero(kind == 1)
        out[drop, old[drop]] = -1
        swap = np.flatnonzero((kind >= 2) & (size < universe))
        out[swap, old[swap]] = new[swap]
        return pack(out, out >= 0, d, genomes.dtype)

    def _lowly(self, rows: Rows, rng: RNG) -> Rows:
        """Index of a member of low degree; any member where all degrees are the same, (n,)."""
        degree = np.append(self.graph.counted_in + self._directed_out, 0)[rows]
        most = degree.max(axis=1, keepdims=True, initial=1)
        weight = np.where(rows >= 0, 1 - degree / most, 0.0)
        flat = weight.sum(axis=1, keepdims=True) <= 0
        return _weighted(np.where(flat, (rows >= 0) * 1.0, weight), rng)

    def _neighbours(self, rows: Rows, old: Rows, far: NDArray[np.bool_], rng: RNG) -> Rows:
        """An out-neighbour, outside the set, of the node that leaves; -1 without one, (k,)."""
        node = rows[np.arange(len(rows)), old]
        count, near = self._arcs.counts(node), self._arcs.of_all(node).astype(np.int64)
        owner, first = np.repeat(np.arange(len(rows)), count), np.cumsum(count) - count
        free = ~np.isin(owner * self.graph.n + near, _keys(rows, self.graph.n))
        eligible = np.bincount(owner[free], minlength=len(rows))
        weight = free * np.where(far[owner], eligible[owner] + self._beyond[near], 1)
        ends = np.append(0, np.cumsum(weight))
        total = ends[np.append(first, len(owner))]  # up to each row's first neighbour
        drawn = np.floor(rng.random(len(rows)) * np.maximum(np.diff(total), 1)).astype(np.int64)
        chosen = np.searchsorted(ends, total[:-1] + drawn, side="right") - 1
        return np.where(eligible > 0, np.append(near, -1)[chosen], -1)

    @cached_property
    def _arcs(self) -> NeighbourRows:
        return leaving(self.graph)

    @cached_property
    def _beyond(self) -> NDArray[np.int64]:
        """Sum of the out-degrees of each node's out-neighbours, (n,)."""
        graph = self.graph
        weights = graph.out_degree[graph.targets]
        return np.bincount(graph.sources, weights=weights, minlength=graph.n).astype(np.int64)

    @property
    def _directed_out(self) -> NDArray[np.int64]:
        """What out-degrees add to in-degrees: nothing where each edge is two arcs, (n,)."""
        return self.graph.counted_out * self.graph.directed


def _keys(rows: Rows, universe: int) -> Rows:
    """Numbers that tell apart the same node in different rows, of all members, (members,)."""
    which, _ = held = np.nonzero(rows >= 0)
    return which * universe + rows[held]


def _unshared(rows: Rows, others: Rows, universe: int) -> NDArray[np.bool_]:
    """Which members of each row the other row lacks, (n, d)."""
    keys = np.arange(len(rows))[:, None] * universe + rows
    return (rows >= 0) & ~np.isin(keys, _keys(others, universe))


def _replaced(rows: Rows, wanted: NDArray[np.bool_], universe: int, rng: RNG) -> Rows:
    """Rows in which one random node gave way to another; sets of one node stay."""
    size = (rows >= 0).sum(axis=1)
    victim, stranger = picks(size, rng), outsiders(rows, universe, rng)
    acting = np.flatnonzero(wanted & (size > 1) & (size < universe))
    out = rows.copy()
    out[acting, victim[acting]] = stranger[acting]
    return pack(out, out >= 0, rows.shape[1], rows.dtype)


def _places(loose: NDArray[np.bool_], rng: RNG) -> Rows:
    """Place of each loose item in a random order of its row; the others come behind, (n, d)."""
    keys = np.where(loose, rng.random(loose.shape), 2.0)
    return np.argsort(np.argsort(keys, axis=1, kind="stable"), axis=1, kind="stable")


def _weighted(weights: NDArray[np.float64], rng: RNG) -> Rows:
    """A column of each row, drawn in proportion to its weight, (n,)."""
    ends = np.cumsum(weights, axis=1)
    drawn = rng.random((len(ends), 1)) * ends[:, -1:]
    return (ends <= drawn).sum(axis=1).clip(max=weights.shape[1] - 1)
