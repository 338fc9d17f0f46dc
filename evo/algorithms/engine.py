"""pymoo's generational loop, driven by ask and tell only.

pymoo keeps the loop and NSGA-III's niching. Sampling, mating, duplicate elimination, tournaments
and survival are ours, because pymoo's draw from unseeded generators, sort ties unstably, compare
genomes by distance matrices, share objects between instances, or stop on their own. An individual's
``X`` is the number of a genome in our own pool; pymoo never sees genes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.base.genetic import GeneticAlgorithm
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
from . import Population, Settings
from .guard import feasible_ranks
from .nursery import Nursery

Numbers = NDArray[np.int64]
Select = Callable[[Any, int, Any], Any]


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
        selection: Chooses pairs of parents; has pymoo's ``do``.
        select: Chooses survivors: individuals, how many, generator → individuals.
        n_objectives: Number of objectives m.
        settings: Population size and seed.
    """

    def __init__(
        self,
        nursery: Nursery,
        selection: Any,
        select: Select,
        n_objectives: int,
        settings: Settings,
    ) -> None:
        self._nursery, self._size = nursery, settings.population
        self._pool = Pool(nursery, n_objectives)
        mating = Mating(nursery, self._pool, selection)
        self._engine: Any = Loop(settings.population, mating, select)
        problem = Problem(n_var=1, n_obj=n_objectives, n_ieq_constr=1)
        self._engine.setup(problem, seed=derive(settings.seed, "pymoo"))
        self._asked: Any = None
        self._scale: tuple[Array, Array] | None = None

    @property
    def population(self) -> Population:
        """The algorithm's current population."""
        engine = self._engine
        alive = [] if engine.pop is None or not engine.is_initialized else engine.pop
        rows = self._pool.rows(numbers_of(one for one in alive if not one.get("hidden")))
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
        return self._pool.genomes.take(self._pool.rows(numbers_of(self._asked)))

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Hand the values of the last ask to pymoo and let it select."""
        rows = self._pool.rows(numbers_of(self._asked))
        self._pool.fitness[rows], self._pool.violation[rows] = fitness, violation
        self._label(self._asked, fitness, violation)
        self._engine.tell(infills=self._asked)
        self._asked = None
        self._pool.keep(numbers_of(self._engine.pop))

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

    def __init__(self, nursery: Nursery, pool: Pool, selection: Any) -> None:
        super().__init__(eliminate_duplicates=NoDuplicateElimination())
        self._nursery, self._pool, self._selection = nursery, pool, selection

    def do(
        self,
        problem: Any,
        pop: Any,
        n_offsprings: int,
        random_state: Any = None,
        n_max_iterations: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Up to ``n_offsprings`` new individuals."""

        def breed(missing: int) -> Genomes:
            pairs = self._selection.do(
                problem,
                pop,
                (missing + 1) // 2,
                2,
                to_pop=False,
                random_state=random_state,
                **kwargs,
            )  # (k, 2)
            parents = numbers_of(pop)[np.asarray(pairs, dtype=np.intp)]
            first, second = (self._pool.rows(parents[:, i]) for i in (0, 1))
            genomes = self._pool.genomes
            return self._nursery.pairs(genomes.take(first), genomes.take(second))

        children = self._nursery.offspring(n_offsprings, breed)
        return Individuals.new("X", self._pool.add(children)[:, None])


class Loop(GeneticAlgorithm):
    """pymoo's genetic algorithm with nothing defaulted and no termination of its own."""

    def __init__(self, size: int, mating: Mating, select: Select) -> None:
        super().__init__(
            pop_size=size,
            mating=mating,
            survival=_Survival(select),
            eliminate_duplicates=cast(Any, NoDuplicateElimination()),
            advance_after_initial_infill=True,
            termination=NoTermination(),
        )

    def _set_optimum(self) -> None:
        self.opt = self.pop  # fronts are ranked where they are read


class _Survival(Survival):
    def __init__(self, select: Select) -> None:
        super().__init__(filter_infeasible=False)
        self._select = select

    def _do(
        self, problem: Any, pop: Any, *args: Any, n_survive: Any = None, random_state: Any = None,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        return self._select(pop, n_survive, random_state)


def feasible_first(select: Select) -> Select:
    """Feasible individuals survive by ``select``; the others follow in order of violation.

    pymoo's own split sorts violations unstably; here ties keep their order.
    """

    def both(pop: Any, n: int, rng: Any) -> Any:
        violation = pop.get("CV")[:, 0]
        feasible, others = np.flatnonzero(violation <= 0), np.flatnonzero(violation > 0)
        others = others[np.argsort(violation[others], kind="stable")]
        kept = pop[feasible]
        if len(feasible):
            kept = select(kept, min(n, len(feasible)), rng)
        return Individuals.merge(kept, pop[others[: max(0, n - len(kept))]])

    return both


def tournament(*keys: str, within: str | None = None) -> TournamentSelection:
    """Binary tournament: less violation wins, then smaller keys in order, then a coin.

    Draws only from the generator it is given, and draws for every pair, so that the stream does
    not depend on how many ties there are.

    Args:
        *keys: Attributes set by the survival; missing values tie.
        within: Keys count only between individuals that agree in this attribute.
    """

    def compare(pop: Any, pairs: Any, random_state: Any = None, **_: Any) -> Any:
        violation, *columns = pop.get("CV")[:, 0], *(column_of(pop, key) for key in keys)
        left, right = pairs.T
        coin = random_state.random(len(pairs)) < 0.5
        better = np.sign(violation[right] - violation[left])  # 1: the left one wins
        alike = better == 0
        if within is not None:
            place = column_of(pop, within)
            alike &= place[left] == place[right]
        for values in columns:
            sign = np.nan_to_num(np.sign(values[right] - values[left]))
            better = np.where(alike & (better == 0), sign, better)
        return np.where((better > 0) | ((better == 0) & coin), left, right)[:, None]

    return TournamentSelection(func_comp=compare)


def numbers_of(individuals: Iterable[Any]) -> Numbers:
    """Pool numbers of individuals, shape (n,)."""
    return np.array([int(one.X[0]) for one in individuals], dtype=np.int64)


def column_of(pop: Any, key: str) -> Array:
    """One attribute of every individual, NaN where it was never set, shape (n,)."""
    values = [one.get(key) for one in pop]
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
