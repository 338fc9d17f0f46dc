"""Populations with an inner order: MOEA/D's slots and C-TAEA's twin archives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..indicators import nondominated
from ..problem import Array
from .decomposed import Archives, Box, boundary, chebyshev
from .engine import Individuals

Numbers = NDArray[np.int64]


class Slots:
    """MOEA/D's state: which individual holds which direction. Also selects the parents."""

    def __init__(
        self, weights: Array, neighbours: int, mating: float, replacements: int,
        decomposition: str, *, scaling: bool = True,
    ) -> None:  # fmt: skip
        if decomposition not in ("auto", "chebyshev", "pbi"):
            raise ConfigError(
                f"decomposition must be 'auto', 'chebyshev' or 'pbi', got {decomposition!r}"
            )
        flat = decomposition == "chebyshev" or (decomposition == "auto" and weights.shape[1] < 3)
        gaps = np.linalg.norm(weights[:, None] - weights[None], axis=2)
        self._near = np.argsort(gaps, axis=1, kind="stable")[:, : max(1, neighbours)]
        self._weights, self._mating, self._replacements = weights, mating, replacements
        self._cost = chebyshev if flat else boundary
        self._box = Box(weights.shape[1], scaling)
        self._holders: Numbers | None = None

    def do(
        self, problem: Any, pop: Individuals, n: int, *_: Any, random_state: Any, **__: Any
    ) -> Any:
        """Pairs of positions in ``pop``: neighbours of a direction, now and then anybody."""
        k, t = self._near.shape
        rounds = -(-n // k)
        where = np.concatenate([random_state.permutation(k) for _ in range(rounds)])[:n]
        close = self._near[where[:, None], _two(n, t, random_state)]
        far = _two(n, k, random_state)
        picked = np.where(random_state.random((n, 1)) < self._mating, close, far)
        numbers = pop.get("number")
        order = np.argsort(numbers, kind="stable")
        return order[np.searchsorted(numbers[order], self._held()[picked])]

    def survive(self, pop: Individuals, n: int, rng: Any) -> Individuals:
        """Let each new individual replace at the direction it serves best; keep all holders."""
        fitness, numbers = pop.get("F"), pop.get("number")
        good = pop.get("violation") <= 0
        self._box.update(fitness[good])
        cost = self._cost(np.maximum(self._box.scale(fitness), 0.0), self._weights)  # (n, k)
        cost[~good] = np.inf
        if self._holders is None:
            holders = np.arange(len(self._weights)) % len(pop)
        else:
            row = {int(number): i for i, number in enumerate(numbers)}
            holders = np.array([row[int(number)] for number in self._held()])
            for i in np.flatnonzero(~np.isin(numbers, self._held())):
                near = self._near[cost[i].argmin()]
                won = near[cost[i, near] < cost[holders[near], near]][: self._replacements]
                holders[won] = i
        self._holders = numbers[holders]
        return pop[np.unique(holders)]

    def _held(self) -> Numbers:
        assert self._holders is not None
        return self._holders


def _two(n: int, size: int, rng: Any) -> Numbers:
    """N pairs below ``size``, of different numbers where there are any, (n, 2)."""
    first = rng.integers(0, size, n)
    return np.column_stack([first, (first + rng.integers(1, max(size, 2), n)) % size])


class Twins:
    """C-TAEA's population: both archives in one, told apart by marks. Also selects the parents."""

    def __init__(self, archives: Archives) -> None:
        self._archives = archives

    def survive(self, pop: Individuals, n: int, rng: Any) -> Individuals:
        """Both archives; individuals kept only for spread are marked hidden."""
        fitness, violation = pop.get("F"), pop.get("violation")
        marks = pop.get("converged"), pop.get("diverse")
        old = [np.flatnonzero(mark == 1) for mark in marks]
        new = np.flatnonzero(np.isnan(marks[0].astype(np.float64)))
        converged, diverse = self._archives(fitness, violation, old[0], old[1], new)
        rows = np.arange(len(pop))
        in_first, in_second = np.isin(rows, converged), np.isin(rows, diverse)
        pop.set("converged", in_first, "diverse", in_second, "hidden", ~in_first)
        return pop[in_first | in_second]

    def do(
        self, problem: Any, pop: Individuals, n: int, *_: Any, random_state: Any, **__: Any
    ) -> Any:
        """Restricted mating: each parent from the archive that holds more of the joint front."""
        sides = [np.flatnonzero(pop.get(side) == 1) for side in ("converged", "diverse")]
        front = nondominated(pop.get("F"))
        share = [front[side].sum() / (len(sides[0]) + len(sides[1])) for side in sides]
        first = np.full(n, 0 if share[0] > share[1] else 1)
        second = np.where(random_state.random(n) < share[0], 0, 1)
        return np.column_stack([self._duel(pop, sides, s, random_state) for s in (first, second)])

    def _duel(self, pop: Any, sides: list[Any], side: Any, rng: Any) -> Any:
        draws = [rng.integers(0, len(rows), (len(side), 2)) for rows in sides]
        pairs = np.where((side == 0)[:, None], sides[0][draws[0]], sides[1][draws[1]])
        coin = rng.random(len(side)) < 0.5
        fitness, violation = pop.get("F"), pop.get("violation")
        a, b = fitness[pairs[:, 0]], fitness[pairs[:, 1]]
        good = violation[pairs] <= 0
        wins = good[:, 0] & (~good[:, 1] | ((a <= b).all(axis=1) & (a < b).any(axis=1)))
        loses = good[:, 1] & (~good[:, 0] | ((b <= a).all(axis=1) & (b < a).any(axis=1)))
        return np.where(wins | (~loses & coin), pairs[:, 0], pairs[:, 1])
