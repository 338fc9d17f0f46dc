"""Graphs as sorted arcs, cleaned and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from evo.errors import DataError

COMPONENTS = ("all", "largest")


@dataclass(frozen=True, eq=False)
class Graph:
    """Arcs u → v, "u may activate v", sorted by target; an undirected edge is two of them.

    Args:
        sources: Node that each arc leaves, (m,).
        targets: Node that it enters, ascending, (m,).
        names: What a node is called outside.
        directed: Whether arcs came as such.
        loops: Loops of each node, which are no arcs, (n,).
        weights: Probability of each arc where the file has one, (m,).
        notes: What cleaning did, one sentence each.
    """

    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    names: Sequence[str]
    directed: bool
    loops: NDArray[np.int32]
    weights: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def n(self) -> int:
        """Nodes."""
        return len(self.names)

    @property
    def m(self) -> int:
        """Arcs."""
        return len(self.sources)

    @cached_property
    def in_degree(self) -> NDArray[np.int64]:
        """Arcs that enter, loops left out, (n,)."""
        return np.bincount(self.targets, minlength=self.n)

    @cached_property
    def out_degree(self) -> NDArray[np.int64]:
        """Arcs that leave, loops left out, (n,)."""
        return np.bincount(self.sources, minlength=self.n)

    @cached_property
    def counted_in(self) -> NDArray[np.int64]:
        """In-degree as networkx counts it: a loop adds 1 where arcs are directed, else 2, (n,)."""
        return self.in_degree + self.loops * (1 if self.directed else 2)

    @cached_property
    def counted_out(self) -> NDArray[np.int64]:
        """Out-degree as networkx counts it, (n,)."""
        return self.out_degree + self.loops * (1 if self.directed else 2)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of arcs, loops, weights and names, 32 hex digits."""
        digest = hashlib.blake2b(digest_size=16)
        weights = np.zeros(0) if self.weights is None else self.weights
        for part in (self.sources, self.targets, self.loops, weights):
            digest.update(np.ascontiguousarray(part).tobytes() + b"\0")
        digest.update("\n".join(self.names).encode())
        return digest.hexdigest()

    def numbers(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Numbers of nodes by name, in that order.

        Raises:
            DataError: The graph has no such node.
        """
        known = {name: i for i, name in enumerate(self.names)}
        missing = next((name for name in names if name not in known), None)
        if missing is not None:
            raise DataError(f"the graph has no node {missing!r}")
        return np.array([known[name] for name in names], dtype=np.int64)


def made(
    tails: NDArray[np.int64], heads: NDArray[np.int64], names: Sequence[str], directed: bool,
    weights: NDArray[np.float64] | None = None, component: str = "all",
) -> Graph:  # fmt: skip
    """A graph from pairs of node numbers, cleaned: no loops, no pair twice.

    Args:
        tails: First node of each pair, (k,).
        heads: Second node, (k,).
        names: Of all nodes.
        directed: Whether a pair is one arc; else it is two.
        weights: Probability of each pair, (k,).
        component: ``"largest"`` keeps the largest (weakly) connected component only.

    Raises:
        DataError: A weight is no probability, or nothing is left.
    """
    if component not in COMPONENTS:
        raise DataError(f"component must be one of {', '.join(COMPONENTS)}, got {component!r}")
    n, notes = len(names), []
    if weights is not None and not ((weights >= 0) & (weights <= 1)).all():
        bad = weights[~((weights >= 0) & (weights <= 1))][0]
        raise DataError(f"probabilities of arcs must lie between 0 and 1, got {bad:g}")
    looped = tails == heads
    loops = np.zeros(n, dtype=np.int32)
    loops[tails[looped]] = 1
    if count := int(loops.sum()):
        notes.append(f"{count:,} loops left out of the arcs; they count in degrees")
    tails, heads = tails[~looped], heads[~looped]
    value = None if weights is None else weights[~looped]
    if not directed:
        tails, heads = np.minimum(tails, heads), np.maximum(tails, heads)
    before = len(tails)
    tails, heads, value = _distinct(tails, heads, value, n)
    if before > len(tails):
        what = "arcs" if directed else "edges"
        notes.append(f"{before - len(tails):,} repeated {what} left out")
    if component == "largest" and n:
        inside = _largest(tails, heads, n)
        if not inside.all():
            notes.append(f"{int((~inside).sum()):,} nodes outside the largest component left out")
            new = np.cumsum(inside) - 1
            arcs = inside[tails]
            tails, heads = new[tails[arcs]], new[heads[arcs]]
            value = None if value is None else value[arcs]
            names = [name for name, keep in zip(names, inside, strict=True) if keep]
            loops, n = loops[inside], int(inside.sum())
    if not n or not len(tails):
        raise DataError("the graph has no arcs between different nodes")
    if not directed:
        tails, heads = np.concatenate([tails, heads]), np.concatenate([heads, tails])
        value = None if value is None else np.concatenate([value, value])
        tails, heads, value = _distinct(tails, heads, value, n)
    met = np.zeros(n, dtype=bool)
    met[tails] = met[heads] = True
    if alone := n - int(met.sum()):
        notes.append(f"{alone:,} nodes have no neighbour; nothing but seeding activates them")
    return Graph(
        tails.astype(np.int32), heads.astype(np.int32), tuple(names), directed, loops, value,
        tuple(notes),
    )  # fmt: skip


def _distinct(
    tails: NDArray[np.int64], heads: NDArray[np.int64], value: NDArray[np.float64] | None, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64] | None]:
    """Each pair once, the first of equal ones, sorted by head, then tail."""
    keys = heads * n + tails
    if value is None:
        keys.sort()  # np.unique hashes, which takes several times as long where most differ
        keys = keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys
    else:
        keys, first = np.unique(keys, return_index=True)
        value = value[first]
    return keys % n, keys // n, value


def from_networkx(graph: Any, component: str = "all") -> Graph:
    """A graph from networkx; an edge attribute ``probability`` becomes that of its arcs.

    Raises:
        DataError: Some edges have a probability and others none, or nothing is left.
    """
    nodes = list(graph.nodes)
    number = {node: i for i, node in enumerate(nodes)}
    edges = list(graph.edges(data="probability"))
    pairs = np.array([(number[u], number[v]) for u, v, _ in edges], dtype=np.int64).reshape(-1, 2)
    given = [p for *_, p in edges if p is not None]
    if given and len(given) < len(edges):
        raise DataError(f"{len(given)} of {len(edges)} edges have a probability, all or none must")
    weights = np.array(given, dtype=np.float64) if given else None
    names = [str(node) for node in nodes]
    return made(pairs[:, 0], pairs[:, 1], names, graph.is_directed(), weights, component)


def _largest(one: NDArray[Any], two: NDArray[Any], n: int) -> NDArray[np.bool_]:
    matrix = csr_array((np.ones(len(one), dtype=np.int8), (one, two)), shape=(n, n))
    _, label = connected_components(matrix, directed=True, connection="weak")
    return label == np.bincount(label).argmax()
