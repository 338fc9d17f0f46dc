"""pymoo's algorithms, driven by ask and tell only.

pymoo keeps the loop. Sampling, mating, duplicate elimination, tournaments and the sorting of ties
are ours, because pymoo's draw from unseeded generators, sort unstably, compare genomes by distance
matrices, or share objects between instances. An individual's ``X`` is the number of a genome in
our own pool; pymoo never sees genes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.duplicate import NoDuplicateElimination
from pymoo.core.infill import InfillCriterion
from pymoo.core.population import Population as Individuals
from pymoo.core.problem import Problem
from pymoo.core.survival import Survival
from pymoo.core.termination import NoTermination
from pymoo.operators.selection.tournament import TournamentSelection

from ..genomes import Genomes
from ..problem import Array
from ..streams import derive
from . import Population, Settings, read_extra
from .guard import feasible_ranks
from .nursery import Nursery
from .survival import by_rank_and_crowding

Numbers = NDArray[np.int64]


class Pool:
    """Genomes, fitness and violation of the individuals that are still alive, by number."""

    def __init__(self, nursery: Nursery, n_objectives: int) -> None:
        self.numbers: Numbers = np.zeros(0, dtype=np.int64)
        self.genomes = nursery.nothing()
        self.fitness: Array = np.zeros((0, n_objectives))
        self.violation: Array = np.zeros(0)
        self._next = 0

    def add(self, genomes: Genomes) -> Numbers:
        """Store genomes and return their numbers."""
        fresh = np.arange(self._next, self._next + len(genomes))
        self._next += len(genomes)
        self.numbers = np.concatenate([self.numbers, fresh])
        self.genomes = Genomes.concat(self.genomes, genomes)
        blank = np.full((len(genomes), self.fitness.shape[1]), np.nan)
        self.fitness = np.concatenate([self.fitness, blank])
        self.violation = np.concatenate([self.violation, np.full(len(genomes), np.nan)])
        return fresh

    def rows(self, numbers: Numbers) -> NDArray[np.intp]:
        """Where these numbers are stored."""
        return np.searchsorted(self.numbers, numbers)

    def keep(self, numbers: Numbers) -> None:
        """Forget everything but these numbers."""
        rows = self.rows(np.unique(numbers))
        self.numbers, self.genomes = self.numbers[rows], self.genomes.take(rows)
        self.fitness, self.violation = self.fitness[rows], self.violation[rows]


class PymooSearch:
    """One pymoo algorithm behind our face.

    Args:
        nursery: Where genomes come from.
        build: Pool and mating → the pymoo algorithm, with nothing shared and our parts in place.
        n_objectives: Number of objectives m.
        settings: Population size and seed.
    """

    def __init__(
        self,
        nursery: Nursery,
        build: Callable[[Pool, Mating], Any],
        n_objectives: int,
        settings: Settings,
    ) -> None:
        self._nursery, self._size = nursery, settings.population
        self._pool = Pool(nursery, n_objectives)
        self._engine = build(self._pool, Mating(nursery, self._pool))
        problem = Problem(n_var=1, n_obj=n_objectives, n_ieq_constr=1)
        self._engine.setup(
            problem, seed=derive(settings.seed, "pymoo"), termination=NoTermination()
        )
        self._asked: Any = None
        self._scale: tuple[Array, Array] | None = None

    @property
    def population(self) -> Population:
        """The algorithm's current population."""
        engine = self._engine
        alive = [] if engine.pop is None or not engine.is_initialized else engine.pop
        rows = self._pool.rows(_numbers(alive))
        fitness, violation = self._pool.fitness[rows], self._pool.violation[rows]
        rank = feasible_ranks(fitness, violation)
        return Population(self._pool.genomes.take(rows), fitness, violation, rank)

    def ask(self) -> Genomes:
        """The next infills; none when mating and sampling find nothing new."""
        if not self._engine.is_initialized:
            self._engine.initialization.sampling = self._first()
        self._asked = self._engine.ask()
        if self._asked is None or len(self._asked) == 0:
            self._engine.termination.force_termination = False  # an empty ask does not end the run
            return self._nursery.nothing()
        return self._pool.genomes.take(self._pool.rows(_numbers(self._asked)))

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Hand the values of the last ask to pymoo and let it select."""
        rows = self._pool.rows(_numbers(self._asked))
        self._pool.fitness[rows], self._pool.violation[rows] = fitness, violation
        self._label(self._asked, fitness, violation)
        self._engine.tell(infills=self._asked)
        self._asked = None
        self._pool.keep(_numbers(_alive(self._engine)))

    def _first(self) -> Any:
        genomes = self._nursery.initial(self._size)
        return Individuals.new("X", self._pool.add(genomes)[:, None])

    def _label(self, individuals: Any, fitness: Array, violation: Array) -> None:
        """Set F, G, H before anything can read and cache the violation.

        Objectives are shifted and scaled once, by the box of the first generation: several
        algorithms compare distances across objectives or hold absolute tolerances.
        """
        if self._scale is None:
            box = fitness[violation <= violation.min()]
            extent = box.max(axis=0) - box.min(axis=0)
            self._scale = box.min(axis=0), np.where(extent > 0, extent, 1.0)
        low, extent = self._scale
        n = len(fitness)
        individuals.set("F", (fitness - low) / extent, "G", violation[:, None])
        individuals.set("H", np.zeros((n, 0)))
        individuals.apply(lambda one: one.evaluated.update({"F", "G", "H"}))
        self._engine.evaluator.n_eval += n


class Mating(InfillCriterion):
    """Selection by pymoo's algorithm, everything else by the nursery."""

    def __init__(self, nursery: Nursery, pool: Pool) -> None:
        super().__init__(eliminate_duplicates=NoDuplicateElimination())
        self._nursery, self._pool = nursery, pool
        self.selection: Any = None

    def do(self, problem: Any, pop: Any, n_offsprings: int, **kwargs: Any) -> Any:
        """Up to ``n_offsprings`` new individuals."""

        def breed(missing: int) -> Genomes:
            pairs = self.selection.do(
                problem, pop, (missing + 1) // 2, 2, to_pop=False, **kwargs
            )  # (k, 2)
            parents = _numbers(pop)[np.asarray(pairs, dtype=np.intp)]
            first, second = (self._pool.rows(parents[:, i]) for i in (0, 1))
            genomes = self._pool.genomes
            return self._nursery.pairs(genomes.take(first), genomes.take(second))

        children = self._nursery.offspring(n_offsprings, breed)
        return Individuals.new("X", self._pool.add(children)[:, None])


class FeasibleFirst(Survival):
    """Feasible individuals survive by ``select``; others follow in order of violation.

    pymoo's own split sorts violations unstably; here ties keep their order.
    """

    def __init__(self, select: Callable[[Any, int, Any], Any]) -> None:
        super().__init__(filter_infeasible=False)
        self._select = select

    def _do(
        self, problem: Any, pop: Any, *args: Any, n_survive: Any = None, random_state: Any = None,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        violation = pop.get("CV")[:, 0]
        feasible = np.flatnonzero(violation <= 0)
        others = np.flatnonzero(violation > 0)
        others = others[np.argsort(violation[others], kind="stable")]
        kept = pop[feasible]
        if len(feasible):
            kept = self._select(kept, min(n_survive, len(feasible)), random_state)
        return Individuals.merge(kept, pop[others[: n_survive - len(kept)]])


def tournament(*keys: str) -> TournamentSelection:
    """Binary tournament: less violation wins, then smaller keys in order, then a coin.

    Draws only from the generator it is given, and draws for every pair, so that the stream does
    not depend on how many ties there are.
    """

    def compare(pop: Any, pairs: Any, random_state: Any = None, **_: Any) -> Any:
        columns = [pop.get("CV")[:, 0], *(_column(pop, key) for key in keys)]
        coin = random_state.random(len(pairs)) < 0.5
        better = np.zeros(len(pairs), dtype=np.int8)  # 1: the left one wins
        for values in columns:
            sign = np.sign(values[pairs[:, 1]] - values[pairs[:, 0]])
            better = np.where(better == 0, np.nan_to_num(sign), better).astype(np.int8)
        left = (better > 0) | ((better == 0) & coin)
        return np.where(left, pairs[:, 0], pairs[:, 1])[:, None]

    return TournamentSelection(func_comp=compare)


def nsga2(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """NSGA-II (Deb et al. 2002): rank, then crowding; tournaments on both."""
    read_extra(settings, "nsga2", {})

    def select(pop: Any, n: int, _: Any) -> Any:
        kept, rank, distance = by_rank_and_crowding(pop.get("F"), n)
        pop.set("rank", rank, "loneliness", -np.minimum(distance, 1e300))
        return pop[kept]

    def build(pool: Pool, mating: Mating) -> Any:
        mating.selection = tournament("rank", "loneliness")
        return _plain(NSGA2, settings, mating, survival=FeasibleFirst(select))

    return PymooSearch(nursery, build, n_objectives, settings)


def _plain(kind: Any, settings: Settings, mating: Mating, **parts: Any) -> Any:
    """A pymoo genetic algorithm with every shared or defaulted part replaced by ours."""
    return kind(
        pop_size=settings.population,
        sampling=None,
        selection=None,
        crossover=None,
        mutation=None,
        mating=mating,
        eliminate_duplicates=NoDuplicateElimination(),
        output=None,
        **parts,
    )


def _numbers(individuals: Any) -> Numbers:
    return np.array([int(one.X[0]) for one in individuals], dtype=np.int64)


def _alive(engine: Any) -> list[Any]:
    return [*engine.pop, *(getattr(engine, "da", None) or ())]


def _column(pop: Any, key: str) -> Array:
    values = [one.get(key) for one in pop]
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
