"""Global SEMO: mutants of what nothing else dominates (Giel 2003)."""

from __future__ import annotations

from evo import Genomes
from evo.algorithms import Population, Settings, read_extra
from evo.algorithms.baselines import Kept
from evo.algorithms.nursery import Nursery
from evo.problem import Array


class NewAlgorithm:
    """Every child is a mutant of a parent that is drawn evenly from the front.

    Unlike the original, a whole population is judged at a time, and of a front that is larger than
    that the least crowded are kept.

    Args:
        nursery: The only source of genomes and of chance; it never gives a genome twice.
        n_objectives: m.
        constrained: Whether violations above 0 can occur.
        settings: Population size, seed, operators; settings of its own are in ``extra``.
    """

    def __init__(
        self, nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
    ) -> None:
        read_extra(settings, "new-algorithm", {})  # names and defaults of its own settings
        self._nursery, self._size = nursery, settings.population
        self._kept = Kept(nursery, n_objectives, settings.population)

    @property
    def population(self) -> Population:
        """The best candidates so far, by feasibility, rank and crowding."""
        return self._kept.population

    def ask(self) -> Genomes:
        """A population of genomes never asked before."""
        front = self.population.front.genomes
        if not len(front):
            return self._nursery.initial(self._size)
        return self._nursery.offspring(self._size, lambda missing: self._children(front, missing))

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Keep the best of what was kept and of what was asked."""
        self._kept.add(genomes, fitness, violation)

    def _children(self, front: Genomes, n: int) -> Genomes:
        parents = self._nursery.rng.integers(0, len(front), n)
        return self._nursery.mutants(front.take(parents))
