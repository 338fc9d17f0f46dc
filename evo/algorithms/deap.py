"""DEAP's selectors for NSGA-II, NSGA-III and SPEA2 behind our face.

DEAP draws from Python's and NumPy's global generators. Each selection runs with both seeded from
the run's seed, and puts their states back afterwards. Mating is ours: tournaments by rank and
crowding for NSGA-II, by rank for SPEA2 unless asked otherwise, and none for NSGA-III, whose parents
all have children.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from deap import base, tools

from ..errors import ConfigError
from ..genomes import Genomes
from ..problem import Array
from ..streams import derive, stream
from . import Population, Settings, read_extra
from .directions import directions
from .guard import feasible_ranks
from .nursery import Nursery
from .survival import Rows, crowding

Selector = Callable[[list[Any], int], list[Any]]
Parents = Callable[[Population, int, np.random.Generator], Rows]


def nsga2(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> DeapSearch:
    """NSGA-II by DEAP's selector."""
    read_extra(settings, "deap-nsga2", {})
    sort = _sorting(n_objectives)
    selector = lambda rows, k: tools.selNSGA2(rows, k, nd=sort)  # noqa: E731
    return DeapSearch(nursery, selector, _crowded, n_objectives, settings)


def nsga3(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> DeapSearch:
    """NSGA-III by DEAP's selector, with memory of ideal and extreme points."""
    read_extra(settings, "deap-nsga3", {})
    rays = directions(n_objectives, settings.population)
    selector = tools.selNSGA3WithMemory(rays, nd=_sorting(n_objectives))
    return DeapSearch(nursery, selector, _everybody, n_objectives, settings)


def spea2(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> DeapSearch:
    """SPEA2 by DEAP's selector; its loops are Python, so keep populations to a few hundred.

    Tournaments go by rank (``mating="rank"``), or as DEAP's own by the first objectives that differ
    (``mating="first"``).

    Raises:
        ConfigError: Another mating.
    """
    mating = read_extra(settings, "deap-spea2", {"mating": "rank"})["mating"]
    if mating not in ("rank", "first"):
        raise ConfigError(f"mating must be 'rank' or 'first', got {mating!r}")
    parents = _ranked if mating == "rank" else _first
    return DeapSearch(nursery, tools.selSPEA2, parents, n_objectives, settings)


class DeapSearch:
    """A generational search whose survivors a DEAP selector chooses.

    Feasible candidates come first; DEAP sees only them, scaled by the box of the first generation
    unless the settings say otherwise.

    Args:
        nursery: Where genomes come from.
        selector: ``selector(individuals, k) -> individuals``.
        parents: ``parents(people, n, rng) -> rows``, in the order in which they are paired.
        n_objectives: Number of objectives m.
        settings: Population size and seed, and whether objectives are scaled.
    """

    def __init__(
        self, nursery: Nursery, selector: Selector, parents: Parents, n_objectives: int,
        settings: Settings,
    ) -> None:  # fmt: skip
        self._nursery, self._selector, self._settings = nursery, selector, settings
        self._parents = parents
        self._rng = stream(settings.seed, "tournament")
        self._judged = type("Judged", (base.Fitness,), {"weights": (-1.0,) * n_objectives})
        self._scale: tuple[Array, Array] | None = None
        self._generation = 0
        nobody = np.zeros(0)
        self.population = Population(
            nursery.nothing(), np.zeros((0, n_objectives)), nobody, nobody.astype(np.intp)
        )

    def ask(self) -> Genomes:
        """The initial population, then children of tournament winners."""
        if self._generation == 0:
            return self._nursery.initial(self._settings.population)
        return self._nursery.offspring(self._settings.population, self._breed)

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Merge with the parents and let DEAP choose."""
        old = self.population
        genomes = Genomes.concat(old.genomes, genomes)
        fitness = np.concatenate([old.fitness, fitness])
        violation = np.concatenate([old.violation, violation])
        rows = self._survivors(fitness, violation)
        fitness, violation = fitness[rows], violation[rows]
        rank = feasible_ranks(fitness, violation)
        self.population = Population(genomes.take(rows), fitness, violation, rank)
        self._generation += 1

    def _survivors(self, fitness: Array, violation: Array) -> Rows:
        k = self._settings.population
        feasible, others = np.flatnonzero(violation <= 0), np.flatnonzero(violation > 0)
        others = others[np.argsort(violation[others], kind="stable")]
        if len(feasible) > k:
            chosen = self._select(fitness[feasible], k)
            feasible = feasible[chosen]
        return np.concatenate([feasible, others])[:k]

    def _select(self, fitness: Array, k: int) -> Rows:
        if self._scale is None:
            extent = fitness.max(axis=0) - fitness.min(axis=0)
            self._scale = fitness.min(axis=0), np.where(extent > 0, extent, 1.0)
        low, extent = self._scale
        shown = (fitness - low) / extent if self._settings.scaling else fitness
        rows = [_Row(i, self._judged(tuple(v))) for i, v in enumerate(shown)]
        seed = derive(self._settings.seed, "deap", self._generation)
        with global_random(seed), np.errstate(divide="ignore", invalid="ignore"):
            return np.array([row.number for row in self._selector(rows, k)], dtype=np.intp)

    def _breed(self, missing: int) -> Genomes:
        people = self.population
        rows = self._parents(people, 2 * -(-missing // 2), self._rng)
        return self._nursery.pairs(people.genomes.take(rows[::2]), people.genomes.take(rows[1::2]))


def _crowded(people: Population, n: int, rng: np.random.Generator) -> Rows:
    """Winners of tournaments of two by rank, then by crowding."""
    return _winners(people.rank, crowding(people.fitness), n, rng)


def _ranked(people: Population, n: int, rng: np.random.Generator) -> Rows:
    """Winners of tournaments of two by rank."""
    return _winners(people.rank, np.zeros(len(people)), n, rng)


def _first(people: Population, n: int, rng: np.random.Generator) -> Rows:
    """Winners of tournaments of two by violation, then by one objective after the other."""
    order = np.lexsort((*people.fitness.T[::-1], people.violation))
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    return _winners(place, np.zeros(len(people)), n, rng)


def _everybody(people: Population, n: int, rng: np.random.Generator) -> Rows:
    """All in random order, once more when more are wanted."""
    rounds = -(-n // len(people))
    return np.concatenate([rng.permutation(len(people)) for _ in range(rounds)])[:n]


def _winners(rank: Rows, lonely: Array, n: int, rng: np.random.Generator) -> Rows:
    a, b = rng.integers(0, len(rank), (2, n))
    tied = (rank[a] == rank[b]) & (lonely[a] == lonely[b])
    wins = (rank[a] < rank[b]) | ((rank[a] == rank[b]) & (lonely[a] > lonely[b]))
    return np.where(wins | (tied & (rng.random(n) < 0.5)), a, b)


class _Row:
    """What DEAP calls an individual: a number and a fitness."""

    def __init__(self, number: int, fitness: Any) -> None:
        self.number, self.fitness = number, fitness


@contextmanager
def global_random(seed: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators inside, restore both on the way out."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - DEAP's, not ours
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _sorting(m: int) -> str:
    """DEAP's fast sorting needs two objectives."""
    return "log" if m > 1 else "standard"
