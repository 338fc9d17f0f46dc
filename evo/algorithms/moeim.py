"""NSGA-II as MOEIM ran it: inspyred 1.0's, with large tournaments (Cunegatti et al. 2024).

It differs from Deb's in its parents, the winners of tournaments decided by dominance alone, and in
its crowding, which adds gaps without scaling them. Two things differ from the original because no
genome is ever judged twice here: a child that has been met before is bred again, and the order of
genes is no part of a genome.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..genomes import Genomes
from ..problem import Array
from ..streams import stream
from . import Population, Settings, read_extra
from .baselines import Kept
from .nursery import Nursery
from .survival import dominance, unscaled_crowding


class MOEIM:
    """(μ + λ) NSGA-II with λ = μ, every pair crossed, every child mutated once.

    Settings of its own: ``tournament``, how many meet in one (5).

    Raises:
        ConfigError: A setting is out of range.
    """

    def __init__(
        self, nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
    ) -> None:
        extra = read_extra(settings, "moeim", {"tournament": 5})
        if extra["tournament"] < 1:
            raise ConfigError(f"moeim's tournament must be at least 1, got {extra['tournament']}")
        if settings.crossover_rate is None:
            nursery.variation = replace(nursery.variation, rate=1.0)
        self._nursery, self._size = nursery, settings.population
        self._tournament: int = extra["tournament"]
        self._rng = stream(settings.seed, "tournaments")
        self._kept = Kept(nursery, n_objectives, settings.population, unscaled_crowding)

    @property
    def population(self) -> Population:
        """The survivors of the last generation."""
        return self._kept.population

    def ask(self) -> Genomes:
        """The initial sample, then children of tournament winners, paired as they come."""
        parents = self.population
        if len(parents) == 0:
            return self._nursery.initial(self._size)
        wins = beaten(parents.fitness, parents.violation)

        def breed(missing: int) -> Genomes:
            rows = winners(wins, 2 * -(-missing // 2), self._tournament, self._rng)
            first, second = (parents.genomes.take(rows[side::2]) for side in (0, 1))
            return self._nursery.pairs(first, second)

        return self._nursery.offspring(self._size, breed)

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Keep whole fronts of parents and children, and the loneliest of the one that is cut."""
        self._kept.add(genomes, fitness, violation)


def beaten(fitness: Array, violation: Array) -> NDArray[np.bool_]:
    """Entry (i, j): row i dominates row j, or violates less, (n, n)."""
    feasible = violation <= 0
    less = violation[:, None] < violation[None, :]
    return np.where(feasible[:, None] & feasible[None, :], dominance(fitness), less)


def winners(
    wins: NDArray[np.bool_], count: int, size: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Winners of tournaments among distinct rows: who is met first stays until he is beaten.

    Args:
        wins: Entry (i, j): row i beats row j, (n, n).
        count: Tournaments.
        size: Rows that meet in each; all where there are fewer.
        rng: Draws them.
    """
    n = len(wins)
    drawn = np.argsort(rng.random((count, n)), axis=1, kind="stable")[:, :size]
    best = drawn[:, 0]
    for challenger in drawn.T[1:]:
        best = np.where(wins[challenger, best], challenger, best)
    return best
