"""A generational loop over populations as columns; tournaments and niching are pymoo's.

Sampling, mating, repeats and survival are ours, because pymoo's draw from unseeded generators, sort
ties unstably, compare genomes by distance matrices, share objects between instances, or stop on
their own. So is the loop: an object per individual costs more than a generation of everything else.
An individual is known by its number; whoever selects never sees genes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.operators.selection.tournament import TournamentSelection

from ..genomes import Genomes
from ..problem import Array
from ..streams import derive
from . import Population, Settings
from .guard import feasible_ranks
from .nursery import Nursery


class Individuals:
    """A population as named columns, with as much of pymoo's ``Population`` as its survivals use.

    Args:
        columns: Name → array with one row per individual; ``number`` is never missing.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = dict(columns)

    def __len__(self) -> int:
        return len(self._columns["number"])

    def __getitem__(self, rows: Any) -> Individuals:
        index = np.asarray(rows)
        index = index if index.size else index.astype(np.intp)
        return Individuals({name: values[index] for name, values in self._columns.items()})

    def get(self, name: str) -> NDArray[Any]:
        """One column; NaN where it was never set."""
        found = self._columns.get(name)
        return np.full(len(self), np.nan) if found is None else found

    def set(self, *pairs: Any) -> None:
        """Set columns, given as name, values, name, values, …."""
        self._columns.update(zip(pairs[::2], map(np.asarray, pairs[1::2]), strict=True))

    def merge(self, other: Individuals) -> Individuals:
        """These, then the others."""
        names = dict.fromkeys([*self._columns, *other._columns])
        return Individuals(
            {name: np.concatenate([self.get(name), other.get(name)]) for name in names}
        )


Select = Callable[[Individuals, int, np.random.Generator], Individuals]


class PymooSearch:
    """One of pymoo's algorithms behind our face.

    Args:
        nursery: Where genomes come from.
        selection: Chooses pairs of parents; has pymoo's ``do``.
        select: Chooses survivors: individuals, how many, generator → individuals.
        n_objectives: Number of objectives m.
        settings: Population size and seed, and whether objectives are scaled.
    """

    def __init__(
        self,
        nursery: Nursery,
        selection: Any,
        select: Select,
        n_objectives: int,
        settings: Settings,
    ) -> None:
        self._nursery, self._size, self._scaling = nursery, settings.population, settings.scaling
        self._selection, self._select = selection, select
        self._rng = np.random.default_rng(derive(settings.seed, "pymoo"))
        nobody = np.zeros(0)
        self._alive = Individuals(
            {
                "number": nobody.astype(np.int64), "violation": nobody,
                "F": np.zeros((0, n_objectives)), "fitness": np.zeros((0, n_objectives)),
            }
        )  # fmt: skip
        self._numbers = self._alive.get("number")  # ascending, those of the genomes
        self._genomes = nursery.nothing()
        self._born = 0
        self._scale: tuple[Array, Array] | None = None  # None before the first generation

    @property
    def population(self) -> Population:
        """The algorithm's current population."""
        shown = self._alive[self._alive.get("hidden") != 1]
        fitness, violation = shown.get("fitness"), shown.get("violation")
        genomes = self._genomes.take(self._rows(shown))
        return Population(genomes, fitness, violation, feasible_ranks(fitness, violation))

    def ask(self) -> Genomes:
        """The next candidates; none when mating and sampling find nothing new."""
        if self._scale is None:
            return self._nursery.initial(self._size)
        return self._nursery.offspring(self._size, self._breed)

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Let the told candidates and the population compete."""
        first = self._scale is None
        new = Individuals(
            {
                "number": self._born + np.arange(len(genomes)), "violation": violation,
                "F": self._scaled(fitness, violation), "fitness": fitness,
            }
        )  # fmt: skip
        self._born += len(genomes)
        everybody = self._alive.merge(new)
        places = len(new) if first else min(self._size, len(everybody))
        self._alive = self._select(everybody, places, self._rng)
        numbers, old = np.unique(self._alive.get("number")), self._numbers
        kept = numbers[numbers < new.get("number")[0]]
        self._genomes = Genomes.concat(
            self._genomes.take(np.searchsorted(old, kept)),
            genomes.take(numbers[len(kept) :] - new.get("number")[0]),
        )
        self._numbers = numbers

    def _rows(self, individuals: Individuals) -> NDArray[np.intp]:
        """Where their genomes are."""
        return np.searchsorted(self._numbers, individuals.get("number"))

    def _breed(self, _: int) -> Genomes:
        """A whole generation, however many are missing: one large brood is faster than many."""
        pairs = self._selection.do(
            None, self._alive, (self._size + 1) // 2, 2, to_pop=False, random_state=self._rng
        )  # (k, 2)
        rows = self._rows(self._alive)[np.asarray(pairs, dtype=np.intp)]
        return self._nursery.pairs(*(self._genomes.take(rows[:, i]) for i in (0, 1)))

    def _scaled(self, fitness: Array, violation: Array) -> Array:
        """Objectives shifted and scaled once, by the box of the first generation.

        Several algorithms compare distances across objectives or hold absolute tolerances.
        """
        if self._scale is None:
            box = fitness[violation <= violation.min()]
            extent = box.max(axis=0) - box.min(axis=0)
            self._scale = box.min(axis=0), np.where(extent > 0, extent, 1.0)
        low, extent = self._scale
        return (fitness - low) / extent if self._scaling else fitness


def feasible_first(select: Select) -> Select:
    """Feasible individuals survive by ``select``; the others follow in order of violation.

    pymoo's own split sorts violations unstably; here ties keep their order.
    """

    def both(pop: Individuals, n: int, rng: np.random.Generator) -> Individuals:
        violation = pop.get("violation")
        feasible, others = np.flatnonzero(violation <= 0), np.flatnonzero(violation > 0)
        others = others[np.argsort(violation[others], kind="stable")]
        kept = pop[feasible]
        if len(feasible):
            kept = select(kept, min(n, len(feasible)), rng)
        return kept.merge(pop[others[: max(0, n - len(kept))]])

    return both


def tournament(*keys: str, within: str | None = None) -> TournamentSelection:
    """Binary tournament: less violation wins, then smaller keys in order, then a coin.

    Draws only from the generator it is given, and draws for every pair, so that the stream does
    not depend on how many ties there are.

    Args:
        *keys: Attributes set by the survival; missing values tie.
        within: Keys count only between individuals that agree in this attribute.
    """

    def compare(pop: Individuals, pairs: Any, random_state: Any = None, **_: Any) -> Any:
        violation, *columns = (pop.get(key) for key in ("violation", *keys))
        left, right = pairs.T
        coin = random_state.random(len(pairs)) < 0.5
        better = np.sign(violation[right] - violation[left])  # 1: the left one wins
        alike = better == 0
        if within is not None:
            place = pop.get(within)
            alike &= place[left] == place[right]
        for values in columns:
            sign = np.nan_to_num(np.sign(values[right] - values[left]))
            better = np.where(alike & (better == 0), sign, better)
        return np.where((better > 0) | ((better == 0) & coin), left, right)[:, None]

    return TournamentSelection(func_comp=compare)
