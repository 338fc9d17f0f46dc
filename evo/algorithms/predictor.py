"""What is expected of genomes: what is free to know, and predictions of what has to be judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..problem import Array
from ..space import SearchSpace
from . import Foresight
from .guard import FAILED, feasible_ranks
from .surrogate import MOST_ROWS, Surrogate

FAINT = 0.01  # of the worst violation met, up to which a predicted one is taken for noise
LIKELY = 0.5  # least predicted chance at which a candidate is expected to fail


class Predictor:
    """Fitness and violation of genomes.

    Args:
        space: What can be varied.
        flat: Genes of those judged, shape (n, d).
        values: Their fitness and, last, violation, :data:`~.guard.FAILED` where judging failed,
            shape (n, m + 1).
        foresee: Tells what needs no judging.
        part: Which of the n were judged on a part of the data; by default none.
    """

    def __init__(
        self, space: SearchSpace, flat: Array, values: Array, foresee: Foresight | None,
        part: NDArray[np.bool_] | None = None,
    ) -> None:  # fmt: skip
        self._space, self._foresee, self._width = space, foresee, values.shape[1]
        self._low, self._high = (
            np.concatenate([getattr(p.bounds, side) for p in space.parts]).astype(np.float64)
            for side in ("low", "high")
        )
        failed = values[:, -1] >= FAILED
        worst = float(values[~failed, -1].max(initial=0.0))
        rows = _representative(feasible_ranks(values[:, :-1], values[:, -1]))
        unknown = np.atleast_1d(np.isnan(self._foreseen(flat[rows])).any(axis=0))
        self._limited = bool(unknown[-1] and worst > 0)  # whether violations are predicted
        self._least = FAINT * worst if self._limited else LIKELY
        told, failed = values[rows], failed[rows]
        told[:, -1] = np.where(failed, 2 * worst, told[:, -1]) if self._limited else failed
        unknown[-1] = self._limited or failed.any()
        self._columns = np.flatnonzero(unknown)
        choices = any(p.kind == "choice" for p in space.parts)
        self._surrogate = (
            Surrogate(
                self._scaled(flat[rows]), told[:, self._columns], choices,
                None if part is None else part[rows],
            )
            if len(self._columns)
            else None
        )  # fmt: skip

    def __call__(self, flat: Array, hope: float = 0.0) -> Array:
        """Genes (q, d) to fitness and, last, violation, shape (q, m + 1); 0 when feasible.

        ``hope`` is how many standard deviations better than on average fitness is taken to be.
        """
        found = self._foreseen(flat)
        exact = np.nan_to_num(found[:, -1])
        if self._surrogate is not None:
            below = np.where(self._columns < self._width - 1, hope, 0.0)
            found[:, self._columns] = self._surrogate(self._scaled(flat), below)
        if self._width - 1 in self._columns:
            beyond = found[:, -1] > self._least
            exact = np.where(beyond, found[:, -1] if self._limited else FAILED, exact)
        found[:, -1] = exact
        return found

    def _foreseen(self, flat: Array) -> Array:
        """What needs no judging, NaN elsewhere, (q, m + 1)."""
        if self._foresee is None:
            return np.full((len(flat), self._width), np.nan)
        return np.column_stack(self._foresee(self._space.unflat(flat)))

    def _scaled(self, flat: Array) -> Array:
        return (flat - self._low) / np.where(self._high > self._low, self._high - self._low, 1.0)


def _representative(rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """At most ``MOST_ROWS`` rows: half of them the best, half spread evenly over the others."""
    if len(rank) <= MOST_ROWS:
        return np.arange(len(rank), dtype=np.intp)
    order, half = np.argsort(rank, kind="stable"), MOST_ROWS // 2
    others = np.linspace(half, len(rank) - 1, half).astype(np.intp)
    return np.sort(np.concatenate([order[:half], order[others]]))
