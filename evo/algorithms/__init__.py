"""One ask/tell face over every search algorithm: what it takes, what it promises, how to get one.

The promise: an algorithm is a deterministic function of its seed and of what it was told. No global
random state influences it or is left changed by it, and two algorithms in one process do not
interfere. A run is therefore resumed by asking again and telling the recorded values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from operators import Crossover, Mutation, Sampling

from ..errors import ConfigError, RegistryError
from ..genomes import Genomes
from ..problem import Array
from ..space import SearchSpace

CATALOGUE: dict[str, str] = {
    "nsga2": "evo.algorithms.pymoo:nsga2",
    "nsga3": "evo.algorithms.pymoo:nsga3",
    "unsga3": "evo.algorithms.pymoo:unsga3",
    "age-moea": "evo.algorithms.pymoo:age_moea",
    "age-moea2": "evo.algorithms.pymoo:age_moea2",
    "sms-emoa": "evo.algorithms.pymoo:sms_emoa",
    "moead": "evo.algorithms.pymoo:moead",
    "rvea": "evo.algorithms.pymoo:rvea",
    "spea2": "evo.algorithms.pymoo:spea2",
    "ctaea": "evo.algorithms.pymoo:ctaea",
    "deap-nsga2": "evo.algorithms.deap:nsga2",
    "deap-nsga3": "evo.algorithms.deap:nsga3",
    "deap-spea2": "evo.algorithms.deap:spea2",
    "moeim": "evo.algorithms.moeim:MOEIM",
    "random": "evo.algorithms.baselines:RandomSearch",
    "greedy": "evo.algorithms.greedy:Greedy",
    "evopress": "evo.algorithms.evopress:EvoPress",
    "cma-es": "evo.algorithms.covariance:cma_es",
    "sep-cma-es": "evo.algorithms.covariance:sep_cma_es",
    "openai-es": "evo.algorithms.strategies:openai_es",
    "snes": "evo.algorithms.strategies:snes",
}
"""Algorithm id → ``module:attr`` of its factory; strings only."""

SINGLE = ("cma-es", "sep-cma-es", "openai-es", "snes")
"""Those of them that search one objective."""


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """What an algorithm currently keeps; failed candidates are never part of it.

    Args:
        genomes: n genomes.
        fitness: Minimised values, shape (n, m), finite.
        violation: Total constraint violation, shape (n,), 0 when feasible.
        rank: Shape (n,); 0 = front. Feasible rows are ranked by dominance; infeasible rows come
            after all feasible ones, in order of their violation.
    """

    genomes: Genomes
    fitness: Array
    violation: Array
    rank: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.rank)

    @property
    def front(self) -> Population:
        """The rows of rank 0; the least violating ones while nothing is feasible."""
        rows = np.flatnonzero(self.rank == 0)
        return Population(
            self.genomes.take(rows), self.fitness[rows], self.violation[rows], self.rank[rows]
        )


@runtime_checkable
class Algorithm(Protocol):
    """Asked for candidates, told results; strictly in turn."""

    @property
    def population(self) -> Population:
        """What is kept after the last ``tell``; empty before the first."""
        ...

    def ask(self) -> Genomes:
        """Legal genomes never asked before in this run; few or none when the space runs out."""
        ...

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Results of the last ``ask``, all rows in the same order.

        Args:
            genomes: Exactly what ``ask`` returned.
            fitness: Minimised values, shape (n, m); a row that is not finite is a failed candidate.
            violation: Shape (n,), 0 when feasible.

        Raises:
            OrderError: The genomes are not those of the last ask, or nothing was asked.
            ShapeError: Fitness or violation do not fit the genomes.
        """
        ...


OperatorChoice = Any
"""One operator for every part it fits, or a mapping from part name or kind to operator."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What every algorithm understands.

    Args:
        population: Candidates kept, and asked for in each generation; at least 1.
        seed: Root seed, 0 or larger.
        generations: Planned number of generations; only some algorithms (RVEA) need it.
        crossover: Replaces the default crossover of the parts it fits; one operator, or a mapping
            from part name or part kind to operator.
        mutation: The same for mutation.
        sampling: The same for the initial sample.
        crossover_rate: Share of pairs that are crossed, in [0, 1]; the others are only mutated.
            None leaves it to the algorithm: 0.9, and 1 for ``moeim``.
        mutation_rate: Share of crossed children that are mutated as well, in [0, 1]; children that
            equal a parent always are.
        scaling: Whether survival by pymoo's and DEAP's rules sees objectives scaled by what was
            met, so that their units do not matter; False compares them as they are, as the
            libraries do. Other algorithms have rules of their own.
        extra: Settings of one algorithm; unknown keys are errors.
        surrogate: Search predictions and judge the best of them; see :mod:`.guided`. Without
            effect where the space has subset parts.
    """

    population: int = 100
    seed: int = 0
    generations: int | None = None
    crossover: Crossover | Mapping[str, Crossover] | None = None
    mutation: Mutation | Mapping[str, Mutation] | None = None
    sampling: Sampling | Mapping[str, Sampling] | None = None
    crossover_rate: float | None = None
    mutation_rate: float = 1.0
    scaling: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    surrogate: bool = False

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ConfigError(f"population must be at least 1, got {self.population}")
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or larger, got {self.seed}")
        if self.generations is not None and self.generations < 1:
            raise ConfigError(f"generations must be at least 1, got {self.generations}")
        for name in ("crossover_rate", "mutation_rate"):
            rate = getattr(self, name)
            if not (_real(rate) and 0 <= rate <= 1) and (name, rate) != ("crossover_rate", None):
                raise ConfigError(f"{name} must be a number in [0, 1], got {rate!r}")
        if not isinstance(self.scaling, bool):
            raise ConfigError(f"scaling must be true or false, got {self.scaling!r}")


COMMON = (
    "population", "crossover", "mutation", "sampling", "crossover_rate", "mutation_rate", "scaling",
    "surrogate", "low_fidelity",
)  # fmt: skip
"""Settings of every algorithm, as configurations name them."""

Foresight = Callable[[Genomes], tuple[Array, Array]]
"""Genomes → fitness (n, m) and violation (n,), NaN where only judging tells."""

Factory = Callable[..., Algorithm]
"""``factory(nursery, *, n_objectives, constrained, settings) -> Algorithm``."""


def create(
    algorithm: str | Factory,
    space: SearchSpace,
    *,
    n_objectives: int,
    constrained: bool,
    settings: Settings,
    starts: Genomes | None = None,
) -> Algorithm:
    """A fresh algorithm behind the guard that keeps ask and tell in order.

    Args:
        algorithm: An id of :data:`CATALOGUE`, or a factory. A factory is called as
            ``factory(nursery, n_objectives=, constrained=, settings=)``; it gets its genomes from
            the :class:`~evo.algorithms.nursery.Nursery` and never sees values that are not finite.
        space: What can be varied.
        n_objectives: Number of objectives m, at least 1.
        constrained: Whether violations above 0 can occur.
        settings: Population size, seed, operators.
        starts: Warm-start genomes, best first; they head the initial population. Surplus and
            repeated rows are dropped.

    Raises:
        RegistryError: No such id.
        ConfigError: The algorithm cannot work with these numbers or settings.
    """
    from .guard import Guard
    from .nursery import Nursery

    if n_objectives < 1:
        raise ConfigError(f"a search needs at least 1 objective, got {n_objectives}")
    factory = _factory(algorithm) if isinstance(algorithm, str) else algorithm

    def begin(chosen: Genomes | None, settings: Settings) -> Algorithm:
        nursery = Nursery(space, settings, chosen)
        made = factory(
            nursery, n_objectives=n_objectives, constrained=constrained, settings=settings
        )
        return Guard(made, space, n_objectives)

    proper = begin(starts, settings)
    if not settings.surrogate:
        return proper
    from .guided import Guided, suits

    return (
        Guard(Guided(begin, space, settings, starts), space, n_objectives)
        if suits(space)
        else proper
    )


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _factory(algorithm_id: str) -> Factory:
    target = CATALOGUE.get(algorithm_id)
    if target is None:
        near = get_close_matches(algorithm_id, CATALOGUE, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(CATALOGUE)}"
        raise RegistryError(f"no algorithm called {algorithm_id!r}{hint}")
    module, attribute = target.split(":")
    return getattr(import_module(module), attribute)


def read_extra(settings: Settings, algorithm: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The algorithm's own settings over their defaults.

    Raises:
        ConfigError: A key is unknown, or its value has another type than the default.
    """
    for key, value in settings.extra.items():
        if key not in defaults:
            known = [*defaults, *COMMON]
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its settings are {', '.join(known)}"
            raise ConfigError(f"algorithm {algorithm!r} has no setting {key!r}; {hint}")
        wanted = type(defaults[key])
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            continue
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise ConfigError(
                f"setting {key!r} of algorithm {algorithm!r} must be of type {wanted.__name__}, "
                f"got {value!r}"
            )
    return {k: type(v)(settings.extra.get(k, v)) for k, v in defaults.items()}
