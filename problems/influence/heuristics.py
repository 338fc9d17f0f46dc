"""Rankings of nodes by what their surroundings promise; their prefixes are seed sets.

None of them simulates. Ties go to the lower number of a node.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from evo.problem import Array

from .graphs import Graph
from .neighbours import entering, leaving
from .worlds import Cascade, Model

Ranking = NDArray[np.int32]
BLOCK = 512


class Board:
    """Scores of nodes that change a few at a time, and who leads.

    Args:
        scores: To begin with, (n,); copied.
    """

    def __init__(self, scores: NDArray[np.number]) -> None:
        blocks = -(-len(scores) // BLOCK)
        self._scores = np.full(blocks * BLOCK, -np.inf)
        self._scores[: len(scores)] = scores
        self._best = self._scores.reshape(blocks, BLOCK).max(axis=1)

    def __getitem__(self, nodes: NDArray[np.integer]) -> Array:
        return self._scores[nodes]

    def put(self, nodes: NDArray[np.integer], scores: NDArray[np.number] | float) -> None:
        """Change scores; who was taken stays out."""
        out = np.isneginf(self._scores[nodes])
        self._scores[nodes] = np.where(out, -np.inf, scores)
        touched = np.zeros(len(self._best), dtype=bool)
        touched[nodes // BLOCK] = True
        self._best[touched] = self._scores.reshape(-1, BLOCK)[touched].max(axis=1)

    def take(self) -> int:
        """The leader, who is out from now on."""
        block = int(self._best.argmax())
        rows = self._scores[block * BLOCK : (block + 1) * BLOCK]
        place = int(rows.argmax())
        rows[place] = -np.inf
        self._best[block] = rows.max()
        return block * BLOCK + place


def degree(graph: Graph, k: int) -> Ranking:
    """The k nodes with most arcs that leave."""
    return np.argsort(-graph.out_degree, kind="stable")[:k].astype(np.int32)


def single_discount(graph: Graph, k: int) -> Ranking:
    """By arcs that leave to nodes not chosen yet (Chen, Wang and Yang 2009, section 3.1)."""
    into, board = entering(graph), Board(graph.out_degree)
    found = np.empty(k, dtype=np.int32)
    for i in range(k):
        found[i] = chosen = board.take()
        near = into.of(chosen)
        board.put(near, board[near] - 1)
    return found


def pagerank(model: Model, k: int, damping: float = 0.85) -> Ranking:
    """By PageRank (Brin and Page 1998) against the arcs, so that those who activate gain.

    A node passes its rank on to those with an arc to it, in proportion to the probabilities of the
    arcs. What nodes that nobody can activate would pass on to all alike is left out, which scales
    all ranks alike.
    """
    graph = model.graph
    weight = model.probability if isinstance(model, Cascade) else np.ones(graph.m)
    total = np.bincount(graph.targets, weights=weight, minlength=graph.n)
    share = weight / np.where(total > 0, total, 1.0)[graph.targets]
    passed = csr_array((share, (graph.sources, graph.targets)), shape=(graph.n, graph.n))
    rank, left = np.full(graph.n, 1.0 / graph.n), 1.0
    while left > 1e-10:
        new = damping * (passed @ rank) + (1 - damping) / graph.n
        rank, left = new, float(np.abs(new - rank).sum())
    return np.argsort(-rank, kind="stable")[:k].astype(np.int32)


def generalised_discount(model: Model, k: int, form: str = "ic", *, paper: bool = False) -> Ranking:
    """By degrees, discounted for what seeds within two steps reach (Wang et al. 2016, GDD).

    At first a node counts its arcs that leave. It is scored again when seeds come near: t of them
    have an arc to it, it has arcs to s of them, and the others it has arcs to hear of r in all,
    each counted as often as it is heard.

    Args:
        model: What spreads over which graph.
        k: How many nodes.
        form: ``ic``, or MOEIM's variants for ``wc`` and ``lt``. Where arcs have probabilities of
            their own, ``ic`` takes their mean.
        paper: Count predecessors where seeds' listeners are meant, and score only predecessors
            again, as released for MOEIM. The same where every arc has its reverse.
    """
    graph = model.graph
    out, into = leaving(graph), entering(graph)
    listeners, back = (into, out) if paper else (out, into)
    d, p = graph.counted_out.astype(np.float64), _chances(model, form)
    board, taken = Board(d), np.zeros(graph.n, dtype=bool)
    t, s, r = (np.zeros(graph.n) for _ in range(3))
    found = np.empty(k, dtype=np.int32)
    for i in range(k):
        found[i] = chosen = board.take()
        taken[chosen] = True
        before, near = into.of(chosen), listeners.of(chosen)
        r[back.of(chosen)] -= t[chosen]
        s[before] += 1
        t[near] += 1
        np.add.at(r, back.of_all(near[~taken[near]]), 1.0)
        again = np.concatenate([before, near, into.of_all(near)])
        board.put(again, FORMS[form](d[again], p[again], t[again], s[again], r[again]))
    return found


def _chances(model: Model, form: str) -> Array:
    """The probability in the score of each node, (n,)."""
    if form == "ic" and isinstance(model, Cascade):
        return np.full(model.graph.n, float(model.probability.mean()))
    return 1.0 / np.maximum(model.graph.counted_in, 1).astype(np.float64)


def _independent(d: Array, p: Array, t: Array, s: Array, r: Array) -> Array:
    return _floored(d - s - t - (d - s) * t * p + t * (t - 1) * p / 2 - p * r)


def _weighted(d: Array, p: Array, t: Array, s: Array, r: Array) -> Array:
    return _floored(d - p * (d - s) - p * t * (t - 1) / 2)


def _thresholds(d: Array, p: Array, t: Array, s: Array, r: Array) -> Array:
    return _floored(d - p * r)


def _floored(scores: Array) -> Array:
    """Scores of at least 0, such that equal ones are equal whatever they were added up from."""
    return np.maximum(scores, 0.0).round(9)


FORMS = {"ic": _independent, "wc": _weighted, "lt": _thresholds}
