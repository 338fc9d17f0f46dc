"""Searches without selection pressure or without chance: the yardsticks of every run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..genomes import Genomes
from ..problem import Array
from . import Population, Settings, read_extra
from .guard import feasible_ranks
from .nursery import Nursery
from .survival import by_rank_and_crowding, crowding


class RandomSearch:
    """New samples in every generation; keeps the best by rank and crowding.

    Samples come from the same sampling as the initial population of the other algorithms.
    """

    def __init__(
        self, nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
    ) -> None:
        read_extra(settings, "random", {})
        self._nursery, self._size = nursery, settings.population
        self._started = False
        self._kept = Kept(nursery, n_objectives, settings.population)

    @property
    def population(self) -> Population:
        """The best candidates so far."""
        return self._kept.population

    def ask(self) -> Genomes:
        """A population of samples never asked before."""
        first, self._started = not self._started, True
        if first:
            return self._nursery.initial(self._size)
        return self._nursery.offspring(self._size, self._nursery.sample)

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Keep the best."""
        self._kept.add(genomes, fitness, violation)


class Kept:
    """The best candidates met, at most ``size``, by feasibility, rank and crowding."""

    def __init__(
        self, nursery: Nursery, n_objectives: int, size: int,
        measure: Callable[[Array], Array] = crowding,
    ) -> None:  # fmt: skip
        self._size, self._measure = size, measure
        nobody = np.zeros(0)
        self.population = Population(
            nursery.nothing(), np.zeros((0, n_objectives)), nobody, nobody.astype(np.intp)
        )

    def add(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Merge new results and cut back to size; ties keep the older candidate."""
        old = self.population
        genomes = Genomes.concat(old.genomes, genomes)
        fitness = np.concatenate([old.fitness, fitness])
        violation = np.concatenate([old.violation, violation])
        feasible = np.flatnonzero(violation <= 0)
        others = np.flatnonzero(violation > 0)
        kept = feasible[by_rank_and_crowding(fitness[feasible], self._size, self._measure)[0]]
        others = others[np.argsort(violation[others], kind="stable")]
        rows = np.concatenate([kept, others])[: self._size]
        self.population = Population(
            genomes.take(rows), fitness[rows], violation[rows],
            feasible_ranks(fitness[rows], violation[rows]),
        )  # fmt: skip
