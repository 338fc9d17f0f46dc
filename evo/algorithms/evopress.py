"""EvoPress's (1+λ) search (Sieberling et al. 2025, arXiv 2410.14649), widened to fronts.

The original has one objective under a fixed cost. Here a set of weight vectors takes turns; each
has an incumbent, the best candidate met under the weighted Chebyshev distance to the ideal point of
the scaled objectives. A turn makes λ mutants of the incumbent by level swaps, and every result may
become the incumbent of every weight. Elitist: an incumbent gives way to strictly better ones only.
With one objective there is one weight, and the search is the original without its staged data.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from operators.discrete import DISCRETE, LevelSwap

from ..genomes import Genomes
from ..problem import Array
from . import Population, Settings, read_extra
from .baselines import Kept
from .decomposed import Box, chebyshev
from .directions import directions
from .nursery import Nursery
from .survival import Rows


class EvoPress:
    """Rotating (1+λ) searches that share their results.

    Settings of its own: ``offspring``, mutants per turn (16, EvoPress's smallest setting);
    ``weights``, the most weight vectors (24). A generation takes as many turns as fit into the
    population size, at least one.
    """

    def __init__(
        self, nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
    ) -> None:
        extra = read_extra(settings, "evopress", {"offspring": 16, "weights": 24})
        self._nursery, self._size = nursery, settings.population
        self._weights = directions(n_objectives, max(1, extra["weights"]))
        self._offspring = min(max(1, extra["offspring"]), settings.population)
        self._turn = 0
        self._box = Box(n_objectives)
        if settings.mutation is None:
            moves = {p.name: LevelSwap() for p in nursery.space.parts if p.kind in DISCRETE}
            variation = nursery.variation
            nursery.variation = replace(variation, mutation={**variation.mutation, **moves})
        self._kept = Kept(nursery, n_objectives, settings.population)
        self._held, self._fitness = nursery.nothing(), np.zeros((0, n_objectives))
        self._violation = np.zeros(0)
        self._incumbents: Rows = np.zeros(0, dtype=np.intp)  # per weight a row of _held

    @property
    def population(self) -> Population:
        """The best candidates so far, by rank and crowding."""
        return self._kept.population

    def ask(self) -> Genomes:
        """The initial sample, then mutants of the incumbents whose turn it is."""
        if len(self._held) == 0:
            return self._nursery.initial(self._size)
        turns = max(1, self._size // self._offspring)
        where = (self._turn + np.arange(turns)) % len(self._weights)
        self._turn += turns
        parents = np.resize(self._incumbents[where], self._size)  # turn after turn until full

        def breed(missing: int) -> Genomes:
            return self._nursery.mutants(self._held.take(parents[-missing:]))

        return self._nursery.offspring(self._size, breed)

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Let each weight keep its best candidate."""
        self._kept.add(genomes, fitness, violation)
        genomes = Genomes.concat(self._held, genomes)
        fitness = np.concatenate([self._fitness, fitness])
        violation = np.concatenate([self._violation, violation])
        self._box.update(fitness[violation <= 0])
        cost = chebyshev(np.maximum(self._box.scale(fitness), 0.0), self._weights)  # (n, k)
        best = np.array([np.lexsort((column, violation))[0] for column in cost.T])
        kept, self._incumbents = np.unique(best, return_inverse=True)
        self._held = genomes.take(kept)
        self._fitness, self._violation = fitness[kept], violation[kept]
