"""Lazy greedy (CELF, Leskovec et al. 2007) on common worlds: the seed that adds most, k times.

Every gain is the spread of the set with the candidate less that without it, in the same worlds,
so that nothing of it is chance between the two. What a set reaches over live arcs is a union of
what its members reach, also within a limit of steps; a gain can therefore only fall as the set
grows, and who was worth less than the leader before is not judged again.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evo.problem import Tell

from .cascades import WORD, Groups, SeedSets, propagated
from .worlds import Pool, over_arcs

FIRST = 8 * WORD  # nodes judged at once while nothing is chosen
LATER = WORD  # and afterwards: a word is not cheaper for fewer


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What lazy greedy chose.

    Args:
        nodes: In the order of choice, (k,).
        spread: Mean spread of the first 1, 2, … of them in the worlds of the pool, (k,).
        judged: How many gains were worked out.
    """

    nodes: NDArray[np.int32]
    spread: NDArray[np.float64]
    judged: int


def celf(
    pool: Pool, k: int, limit: int | None = None, tell: Tell | None = None,
    *, backend: str = "auto",
) -> Chosen:  # fmt: skip
    """The k seeds of greedy maximisation of spread, ties to the lower number.

    Args:
        pool: Worlds to judge on.
        k: How many, at most the nodes of the graph.
        limit: Most steps, None for no limit.
        tell: Told how many are chosen, and of how many.
        backend: What propagates, see :func:`.cascades.propagated`.

    Raises:
        ConfigError: Worlds have thresholds, under which gains may rise, or the backend is missing.
    """
    over_arcs(pool.model, "lazy greedy")
    totals = _Totals(pool, limit, backend)
    nodes = np.empty(k, dtype=np.int32)
    reached = np.zeros(k, dtype=np.int64)
    spread = 0
    queue: list[tuple[int, int, int]] = []  # less gain, node, how many were chosen when judged
    for some in np.array_split(np.arange(totals.n), -(-totals.n // FIRST)):
        if tell:
            tell(0, k)
        queue += [(-gain, node, 0) for node, gain in totals.of(nodes[:0], some)]
    heapq.heapify(queue)
    for i in range(k):
        while queue[0][2] != i:
            stale = []
            while queue and queue[0][2] != i and len(stale) < LATER:
                stale.append(heapq.heappop(queue)[1])
            for node, total in totals.of(nodes[:i], np.array(stale)):
                heapq.heappush(queue, (spread - total, node, i))
        gain, node, _ = heapq.heappop(queue)
        spread -= gain
        nodes[i], reached[i] = node, spread
        if tell:
            tell(i + 1, k)
    return Chosen(nodes, reached / len(pool), totals.judged)


class _Totals:
    """Active nodes summed over all worlds, which are whole numbers and therefore exact."""

    def __init__(self, pool: Pool, limit: int | None, backend: str) -> None:
        self.n = pool.model.graph.n
        self.judged = 0
        self._pool, self._limit, self._backend = pool, limit, backend
        self._all = Groups(np.zeros(self.n, dtype=np.int32))

    def of(
        self, chosen: NDArray[np.int32], candidates: NDArray[np.integer]
    ) -> list[tuple[int, int]]:
        """Candidate and total of the chosen nodes with it, one after the other."""
        self.judged += len(candidates)
        rows = np.empty((len(candidates), len(chosen) + 1), dtype=np.int32)
        rows[:, :-1], rows[:, -1] = chosen, candidates
        sets = SeedSets(rows, self.n)
        found = propagated(
            sets, self._pool.model, self._pool, self._all, self._limit,
            steps=False, backend=self._backend,
        )  # fmt: skip
        totals = found.active.sum(axis=(1, 2), dtype=np.int64)
        return list(zip(candidates.tolist(), totals.tolist(), strict=True))
