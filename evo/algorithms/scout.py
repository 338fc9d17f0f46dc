"""Look around before a search: one-change genomes first, then what their sum predicts to be good.

The effect of every change on every objective is measured once from a starting genome. If effects
added up, the genomes that minimise ``first objective + λ · weighted others`` could be read off
gene by gene (Everett 1963, generalised Lagrange multipliers). A generation of them, spread over λ
and over weights, is judged, and the search proper begins from the best of everything seen. Its own
first generation is thus known already; it is told without being asked again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..genomes import Genomes
from ..indicators import ranks
from ..problem import Array
from ..space import SearchSpace
from . import Algorithm, Population

STEPS = 200  # multipliers per weighting


def suits(space: SearchSpace, n_objectives: int) -> bool:
    """Whether effects can be listed: only choice and integer genes, and something to trade."""
    return n_objectives > 1 and all(p.kind in ("choice", "integer") for p in space.parts)


class Scout:
    """An algorithm that looks around, then hands over to another.

    Args:
        begin: Makes the search proper from its starts, best first.
        space: Choice and integer parts only.
        size: Candidates per batch.
        origin: The genome whose changes are measured, one row.
    """

    def __init__(
        self, begin: Callable[[Genomes], Algorithm], space: SearchSpace, size: int, origin: Genomes
    ) -> None:
        self._begin, self._space, self._size = begin, space, size
        self._origin = space.flat(origin)[0]
        self._low, self._high = (
            np.concatenate([getattr(p.bounds, side) for p in space.parts]).astype(np.float64)
            for side in ("low", "high")
        )
        self._known: dict[bytes, tuple[NDArray[np.float64], Array, float]] = {}
        self._queue = [self._origin, *self._changes()]
        self._predicted = False
        self._inner: Algorithm | None = None
        self._inner_asked: Genomes | None = None

    @property
    def population(self) -> Population:
        """What the search proper keeps; everything seen before it has begun."""
        if self._inner is not None and len(self._inner.population):
            return self._inner.population
        genomes, fitness, violation = self._seen()
        return Population(genomes, fitness, violation, np.zeros(len(genomes), dtype=np.intp))

    def ask(self) -> Genomes:
        """Changes, then predictions, then what the search proper asks and is not known."""
        if not self._queue and not self._predicted:
            self._queue, self._predicted = self._predictions(), True
        if self._queue:
            rest = len(self._queue) - self._size
            cut = self._size if rest > self._size // 4 else len(self._queue)  # no tiny batch
            batch, self._queue = self._queue[:cut], self._queue[cut:]
            return self._space.unflat(np.array(batch))
        if self._inner is None:
            self._inner = self._begin(self._best())
        while True:
            self._inner_asked = asked = self._inner.ask()
            new = [i for i, key in enumerate(asked.rows()) if key not in self._known]
            if new or not len(asked):
                return asked.take(np.array(new, dtype=np.intp))
            self._tell_inner()

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Remember the results; pass them on once the search proper has begun."""
        flat = self._space.flat(genomes)
        for i, key in enumerate(genomes.rows()):
            self._known[key] = (flat[i], fitness[i], float(violation[i]))
        if self._inner_asked is not None:
            self._tell_inner()

    def _tell_inner(self) -> None:
        assert self._inner is not None
        assert self._inner_asked is not None
        rows = [self._known[key] for key in self._inner_asked.rows()]
        fitness, violation = np.array([r[1] for r in rows]), np.array([r[2] for r in rows])
        self._inner.tell(self._inner_asked, fitness, violation)
        self._inner_asked = None

    def _seen(self) -> tuple[Genomes, Array, Array]:
        rows = list(self._known.values())
        flat = np.array([r[0] for r in rows]).reshape(len(rows), self._space.length)
        fitness = np.array([r[1] for r in rows]).reshape(len(rows), -1)
        return self._space.unflat(flat), fitness, np.array([r[2] for r in rows])

    def _levels(self, gene: int) -> NDArray[np.float64]:
        """Values of a gene to measure: the quarters of its range, its own value left out."""
        quarters = np.unique(np.round(np.linspace(self._low[gene], self._high[gene], 5)))
        return quarters[quarters != self._origin[gene]]

    def _changes(self) -> list[NDArray[np.float64]]:
        rows = []
        for gene in range(len(self._origin)):
            for level in self._levels(gene):
                row = self._origin.copy()
                row[gene] = level
                rows.append(row)
        return rows

    def _effects(self) -> list[NDArray[np.float64]]:
        """Per gene the measured or interpolated change of every objective, (values, m)."""
        fitness = {key: f for key, (_, f, v) in self._known.items() if v == 0}
        keys = self._space.unflat(np.array([self._origin, *self._changes()])).rows()
        found, position = [], 1
        for gene, (low, high) in enumerate(zip(self._low, self._high, strict=True)):
            levels = self._levels(gene)
            own = keys[position : position + len(levels)]
            position += len(levels)
            known = {float(self._origin[gene]): 0.0 * fitness[keys[0]]} | {
                float(v): fitness[k] - fitness[keys[0]]
                for v, k in zip(levels, own, strict=True)
                if k in fitness
            }
            at = sorted(known)
            measured = np.array([known[a] for a in at])
            values = np.arange(low, high + 1)
            found.append(np.stack([np.interp(values, at, c) for c in measured.T], axis=1))
        return found

    def _predictions(self) -> list[NDArray[np.float64]]:
        """At most ``size`` unknown genomes, spread over multipliers and weightings."""
        first = self._space.unflat(self._origin[None]).rows()[0]
        if first not in self._known or self._known[first][2] != 0:
            return []
        effects = self._effects()
        span = sum(np.ptp(e, axis=0) for e in effects)
        scaled = [e / np.where(span > 0, span, 1.0) for e in effects]
        m = scaled[0].shape[1]
        weightings = [np.full(m - 1, 1 / (m - 1)), *np.eye(m - 1)] if m > 2 else [np.ones(1)]
        rows: list[NDArray[np.float64]] = []
        share = -(-self._size // len(weightings))
        for weights in weightings:
            path = [
                self._low + [np.argmin(e[:, 0] + by * (e[:, 1:] @ weights)) for e in scaled]
                for by in np.geomspace(1e-3, 1e2, STEPS)
            ]
            rows += self._spread(path, rows, share)
        return rows[: self._size]

    def _spread(
        self, path: list[NDArray[np.float64]], taken: list[NDArray[np.float64]], n: int
    ) -> list[NDArray[np.float64]]:
        """At most n distinct unknown rows of a path, evenly along it."""
        gone = {*self._known, *(self._space.unflat(np.array(taken)).rows() if taken else ())}
        keys = self._space.unflat(np.array(path)).rows()
        new = list({k: row for k, row in zip(keys, path, strict=True) if k not in gone}.values())
        picks = np.unique(np.round(np.linspace(0, len(new) - 1, n)).astype(int)) if new else []
        return [new[i] for i in picks]

    def _best(self) -> Genomes:
        """As many of the seen genomes as fit, by rank, fronts thinned evenly along the first."""
        genomes, fitness, violation = self._seen()
        rank = ranks(np.column_stack([fitness, np.zeros(len(fitness))]))
        rank = np.where(violation > 0, rank.max() + 1 + violation, rank)
        order: list[int] = []
        for level in np.unique(rank):
            rows = np.flatnonzero(rank == level)
            rows = rows[np.argsort(fitness[rows, 0], kind="stable")]
            room = self._size - len(order)
            if len(rows) > room:
                rows = rows[np.unique(np.round(np.linspace(0, len(rows) - 1, room)).astype(int))]
            order += rows.tolist()
            if len(order) >= self._size:
                break
        return genomes.take(np.array(order, dtype=np.intp))
