"""Keeps ask and tell in order, and failed candidates away from every algorithm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import OrderError, ShapeError
from ..genomes import Genomes
from ..indicators import ranks
from ..problem import Array
from ..space import SearchSpace
from . import Algorithm, Foresight, Population

FAILED = 1e30
"""Violation that stands for "this candidate failed"; above any violation that is passed on."""


class Guard:
    """An algorithm whose order, shapes and failures are checked before it sees them.

    A candidate with a fitness or violation that is not finite reaches the inner algorithm with the
    worst fitness met so far and the violation :data:`FAILED`, and never leaves it through
    :attr:`population`.
    """

    def __init__(self, inner: Algorithm, space: SearchSpace, n_objectives: int) -> None:
        self._inner, self._space, self._m = inner, space, n_objectives
        self._asked: Genomes | None = None
        self._worst = np.full(n_objectives, -np.inf)

    @property
    def population(self) -> Population:
        """What the algorithm keeps, without failed candidates, ranked feasibility first."""
        kept = self._inner.population
        rows = np.flatnonzero(kept.violation < FAILED)
        fitness, violation = kept.fitness[rows], kept.violation[rows]
        genomes = kept.genomes if len(rows) == len(kept) else kept.genomes.take(rows)
        return Population(genomes, fitness, violation, feasible_ranks(fitness, violation))

    @property
    def predicts(self) -> bool:
        """Whether the algorithm predicts what it asks for."""
        return hasattr(self._inner, "facts")

    @property
    def facts(self) -> Mapping[str, float]:
        """What the algorithm says of its last batch, by name; most say nothing."""
        return getattr(self._inner, "facts", {})

    def ask(self) -> Genomes:
        """Genomes never asked before.

        Raises:
            OrderError: The last batch has not been told yet.
        """
        if self._asked is not None and len(self._asked):
            raise OrderError(
                f"the {len(self._asked)} genomes of the last ask have not been told yet",
                hint="call tell with their results before asking again",
            )
        self._asked = self._inner.ask()
        return self._asked

    @property
    def informed(self) -> bool:
        """Whether the algorithm can make use of results on a part of the data."""
        return hasattr(self._inner, "inform")

    def inform(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Pass on results on a part of the data; failed ones, which are not finite, are left out.

        Args:
            genomes: n rows.
            fitness: Minimised values, shape (n, m).
            violation: Shape (n,), 0 when feasible.
        """
        good = np.flatnonzero(np.isfinite(fitness).all(axis=1) & np.isfinite(violation))
        self._inner.inform(genomes.take(good), fitness[good], violation[good])  # type: ignore[attr-defined]

    @property
    def foresees(self) -> bool:
        """Whether the algorithm asks for what needs no judging."""
        return hasattr(self._inner, "foresee")

    def foresee(self, known: Foresight) -> None:
        """Let the algorithm ask this for what needs no judging."""
        self._inner.foresee(known)  # type: ignore[attr-defined]

    @property
    def recalls(self) -> bool:
        """Whether the algorithm can take genomes for what it would ask."""
        return hasattr(self._inner, "recall")

    def recall(self, genomes: Genomes) -> bool:
        """Take these for what :meth:`ask` would return now, if the algorithm can; whether it did.

        Only algorithms can whose next ask depends on nothing but what they were told.
        """
        if not self.recalls:
            return False
        self._inner.recall(genomes)  # type: ignore[attr-defined]
        self._asked = genomes
        return True

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Pass results on; see :class:`~evo.algorithms.Algorithm`."""
        asked = self._asked
        if asked is None:
            raise OrderError(f"tell got {len(genomes)} genomes, but 0 are waiting to be told")
        if genomes is not asked and (len(genomes) != len(asked) or genomes.rows() != asked.rows()):
            same = ", and they differ" if len(genomes) == len(asked) else ""
            raise OrderError(
                f"tell got {len(genomes)} genomes, but the last ask gave {len(asked)}{same}",
                hint="tell exactly what was asked, all rows in the same order",
            )
        fitness, violation = self._shaped(fitness, violation, len(asked))
        self._asked = None
        if len(asked):
            self._inner.tell(asked, *self._quarantine(fitness, violation))

    def _shaped(self, fitness: Array, violation: Array, n: int) -> tuple[Array, Array]:
        fitness = np.array(fitness, dtype=np.float64)
        violation = np.array(violation, dtype=np.float64)
        if fitness.shape != (n, self._m):
            raise ShapeError(f"fitness needs shape (n, m) = ({n}, {self._m}), got {fitness.shape}")
        if violation.shape != (n,):
            raise ShapeError(f"violation needs shape (n,) = ({n},), got {violation.shape}")
        return fitness, violation

    def _quarantine(self, fitness: Array, violation: Array) -> tuple[Array, Array]:
        good = np.isfinite(fitness).all(axis=1) & np.isfinite(violation)
        if good.any():
            self._worst = np.maximum(self._worst, fitness[good].max(axis=0))
        worst = np.where(np.isfinite(self._worst), self._worst, 0.0)
        return (
            np.where(good[:, None], fitness, worst),
            np.where(good, np.clip(violation, 0.0, FAILED / 2), FAILED),
        )


def feasible_ranks(fitness: Array, violation: Array) -> NDArray[np.intp]:
    """Ranks by dominance among feasible rows, then by violation among the others; shape (n,)."""
    rank = np.zeros(len(fitness), dtype=np.intp)
    feasible = violation <= 0.0
    if feasible.any():
        rank[feasible] = ranks(fitness[feasible])
    if not feasible.all():
        first = rank[feasible].max() + 1 if feasible.any() else 0
        rank[~feasible] = first + np.unique(violation[~feasible], return_inverse=True)[1]
    return rank
