"""Any algorithm, on a surrogate: it searches predictions, and the best of those are judged.

Source: Jin, *Surrogate-assisted evolutionary computation*, 2011 (generation-based control). Each
generation the surrogate is fitted to everything judged so far, the algorithm runs on it for many
generations from the best known genomes, and of all it has asked for, those are judged that promise
the most hypervolume together. A promise is a standard deviation better than the mean (Srinivas et
al., *Gaussian process optimization in the bandit setting*, 2010), so that regions of which little
is known are looked at, too. Where predictions did not agree with what was found, the next
generation judges the algorithm's own children instead, until they agree again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..genomes import Genomes
from ..indicators import nondominated, rank_correlation, unit_hypervolume
from ..problem import Array
from ..space import SearchSpace
from ..streams import derive, stream
from . import Algorithm, Foresight, Population, Settings
from .guard import FAILED, feasible_ranks
from .infill import corners, most_improving
from .partial import Partial, Told
from .predictor import Predictor
from .surrogate import evenly

ROUNDS = 60  # most generations on the surrogate per generation judged
PATIENCE = 8  # of them, after which that search ends unless its front has grown
LEAST_GROWTH = 1e-5  # share of the hypervolume by which it has to
HOPE = 1.0  # standard deviations by which promises are better than the mean
BREADTH = 150  # least population of those
AGREEMENT = 0.5  # least rank correlation at which predictions are trusted
FEWEST = 8  # judged candidates below which nothing is predicted

Begin = Callable[[Genomes | None, Settings], Algorithm]


def suits(space: SearchSpace) -> bool:
    """Whether genomes can be compared gene by gene: spaces without subset parts."""
    return all(part.kind != "subset" for part in space.parts)


class Guided:
    """An algorithm that runs on predictions.

    Args:
        begin: Makes the algorithm proper from its starts, best first, and its settings.
        space: Parts with a value per gene.
        settings: Of the algorithm proper; ``population`` candidates are judged per generation.
        starts: Warm starts for the first generation.
    """

    def __init__(
        self, begin: Begin, space: SearchSpace, settings: Settings, starts: Genomes | None
    ) -> None:
        self._begin, self._space, self._settings = begin, space, settings
        self._starts = starts
        self._known: dict[bytes, int] = {}  # row in the arrays below
        self._genes: list[Array] = []
        self._fitness: list[Array] = []
        self._violation: list[float] = []
        self._begins: list[int] = []  # rows at which batches begin
        self._foresee: Foresight | None = None
        self._part: Partial | None = None  # results on a part of the data
        self._predictor: Predictor | None = None  # that proposed the last batch, unless recalled
        self._screened = 0  # genomes that the last batch was chosen from
        self._facts: dict[str, float] = {}

    @property
    def population(self) -> Population:
        """The best of everything judged."""
        fitness, violation = self._results()
        rows = best(fitness, violation, self._settings.population)
        genes = np.array(self._genes).reshape(-1, self._space.length)
        return Population(
            self._space.unflat(genes[rows]), fitness[rows], violation[rows],
            feasible_ranks(fitness[rows], violation[rows]),
        )  # fmt: skip

    @property
    def facts(self) -> Mapping[str, float]:
        """How well the last batch was predicted; empty where nothing was.

        ``agreement`` is the least rank correlation of an objective; predictions are not followed in
        the next generation where it is below :data:`AGREEMENT`. ``screened`` is the number of
        genomes the batch was chosen from, and ``regret`` the hypervolume that it was predicted to
        add and did not, as a share of what there is now; both only where predictions were followed.
        """
        return self._facts

    def ask(self) -> Genomes:
        """The first generation of the algorithm proper, then what is promising."""
        self._screened = 0
        if not self._known:
            return self._first()
        trusted = self._trusted()
        self._predictor = self._fit(len(self._genes))
        if self._predictor is None or not trusted:
            return self._children()
        return self._promising(self._predictor)

    def foresee(self, known: Foresight) -> None:
        """Ask this for what needs no judging instead of predicting it."""
        self._foresee = known

    def inform(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Predict from these, too, which were judged on a part of the data; before the first ask.

        Whatever is judged on all data as well tells how values on the part have to be scaled.
        """
        flat = self._space.flat(genomes).astype(np.float64)
        self._part = Partial(genomes.rows(), flat, np.column_stack([fitness, violation]))

    def recall(self, genomes: Genomes) -> None:
        """Take these for what :meth:`ask` would return now, without working it out again."""
        self._predictor, self._screened = None, 0

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Remember the results."""
        self._facts = self._compared(genomes, fitness, violation) if len(genomes) else {}
        self._begins.append(len(self._genes))
        flat = self._space.flat(genomes)
        for i, key in enumerate(genomes.rows()):
            self._known[key] = len(self._genes)
            self._genes.append(flat[i].astype(np.float64))
            self._fitness.append(fitness[i])
            self._violation.append(float(violation[i]))

    # -- what is known -----------------------------------------------------------------------------

    def _results(self) -> tuple[Array, Array]:
        """Fitness (n, m) and violation (n,) of what was judged on all data."""
        m = len(self._fitness[0]) if self._fitness else 1
        if not self._fitness and self._part is not None:
            m = self._part.values.shape[1] - 1
        return np.array(self._fitness).reshape(-1, m), np.array(self._violation)

    def _front(self) -> Array:
        """Feasible fitness that nothing feasible dominates, of what was judged on all data."""
        fitness, violation = self._results()
        return _front(fitness[violation <= 0])

    def _everything(self, n: int) -> Told:
        """The first n results on all data, and those on a part of it."""
        flat = np.array(self._genes[:n]).reshape(-1, self._space.length)
        fitness, violation = (values[:n] for values in self._results())
        values = np.column_stack([fitness, violation])
        if self._part is None:
            none = np.zeros(n, dtype=np.bool_)
            return Told(flat, values, none, none)
        return self._part.beside(self._known, flat, values)

    # -- what is predicted -------------------------------------------------------------------------

    def _fit(self, n: int) -> Predictor | None:
        """Fitted to the first n results; None where they are too few."""
        told = self._everything(n)
        if (told.values[:, -1] < FAILED).sum() < FEWEST:
            return None
        return Predictor(self._space, told.flat, told.values, self._foresee, told.part)

    def _trusted(self) -> bool:
        """Whether the last batches, enough to tell, were predicted well; True where none was."""
        enough = [b for b in self._begins if b + FEWEST <= len(self._genes)]
        start = max(enough, default=0)
        last = self._predictor if start == self._begins[-1] else None
        predictor = last or self._fit(start)
        if predictor is None:
            return True
        predicted = predictor(np.array(self._genes[start:]))
        fitness, violation = (values[start:] for values in self._results())
        good = violation < FAILED
        return agreement(predicted[good], fitness[good]) >= AGREEMENT

    def _compared(self, genomes: Genomes, fitness: Array, violation: Array) -> dict[str, float]:
        """A batch that was predicted against what was found, before it is remembered."""
        good = np.flatnonzero(violation < FAILED)
        if self._predictor is None or not len(good):
            return {}
        predicted = self._predictor(self._space.flat(genomes))
        told = {"agreement": agreement(predicted[good], fitness[good])}
        if not self._screened:
            return told
        known, before = self._results()
        hoped = predicted[:, -1] <= 0
        return told | {
            "screened": float(self._screened),
            "regret": regret(known[before <= 0], predicted[hoped, :-1], fitness[violation <= 0]),
        }

    def _values(self, asked: Genomes, predictor: Predictor | None) -> tuple[Array, Array]:
        """Fitness and violation, known where judged, else predicted."""
        fitness, violation = self._results()
        rows = np.array([self._known.get(key, -1) for key in asked.rows()], dtype=np.intp)
        if predictor is None:
            return fitness[rows], violation[rows]
        found = predictor(self._space.flat(asked), HOPE)
        known = rows >= 0
        found[known] = np.column_stack([fitness, violation])[rows[known]]
        return found[:, :-1], found[:, -1]

    # -- what is asked -----------------------------------------------------------------------------

    def _first(self) -> Genomes:
        """The best on a part of the data, else the first generation of the algorithm proper."""
        if self._part is None:
            return self._begin(self._starts, self._settings).ask()
        self._predictor = None
        found = self._part.values
        chosen = self._choose(found[:, :-1], found[:, -1], self._settings.population)
        return self._space.unflat(self._part.flat[chosen])

    def _begun(self, population: int, generations: int) -> Algorithm:
        """The algorithm proper, at the best known genomes."""
        seed = derive(self._settings.seed, "guided", len(self._begins)) % 2**32
        settings = replace(
            self._settings, population=population, generations=generations, seed=seed
        )
        told = self._everything(len(self._genes))
        flat, values = told.flat[~told.again], told.values[~told.again]
        rows = best(values[:, :-1], values[:, -1], population)
        return self._begin(self._space.unflat(flat[rows]), settings)

    def _children(self) -> Genomes:
        """Children of the best known genomes, unscreened."""
        inner = self._begun(self._settings.population, 2)
        while len(asked := inner.ask()):
            new = [i for i, key in enumerate(asked.rows()) if key not in self._known]
            if new:
                return asked.take(np.array(new, dtype=np.intp)[: self._settings.population])
            inner.tell(asked, *self._values(asked, None))
        return asked

    def _promising(self, predictor: Predictor) -> Genomes:
        """Of all that the algorithm asks for on the surrogate, what adds most hypervolume."""
        size = self._settings.population
        inner = self._begun(max(size, BREADTH), ROUNDS)
        pool: list[Genomes] = []
        fitness, violation = [], []
        before = front = self._front()
        rounds, asked = 0, inner.ask()
        while len(asked) and (rounds < ROUNDS or not pool):
            values, penalty = self._values(asked, predictor)
            new = np.array([key not in self._known for key in asked.rows()])
            if new.any():
                pool.append(asked.take(np.flatnonzero(new)))
                fitness.append(values[new])
                violation.append(penalty[new])
            inner.tell(asked, values, penalty)
            front = _front(np.concatenate([front, values[penalty <= 0]]))
            rounds, asked = rounds + 1, inner.ask()
            if pool and rounds % PATIENCE == 0:
                if len(front) and growth(before, front) < LEAST_GROWTH:
                    break
                before = front
        if not pool:
            return asked
        predicted, penalty = np.concatenate(fitness), np.concatenate(violation)
        self._screened = len(predicted)
        chosen = self._choose(predicted, penalty, size)
        return Genomes.concat(*pool).take(chosen)

    def _choose(self, predicted: Array, penalty: Array, n: int) -> NDArray[np.intp]:
        """Rows predicted to be feasible by what they add; then the others by violation."""
        front = self._front()
        good, bad = np.flatnonzero(penalty <= 0), np.flatnonzero(penalty > 0)
        bad = bad[np.argsort(penalty[bad], kind="stable")]
        if len(good):
            front = front if len(front) else corners(predicted[good])
            draw = stream(self._settings.seed, "infill", len(self._begins))
            good = good[most_improving(front, predicted[good], n, draw)]
        return np.concatenate([good, bad])[:n]


def best(fitness: Array, violation: Array, n: int) -> NDArray[np.intp]:
    """At most n rows by rank; the last front is thinned evenly along the first objective."""
    rank = feasible_ranks(fitness, violation)
    rows: list[int] = []
    for level in np.unique(rank):
        more = np.flatnonzero(rank == level)
        more = more[np.argsort(fitness[more, 0], kind="stable")]
        rows += more[evenly(len(more), n - len(rows))].tolist()
        if len(rows) >= n:
            break
    return np.array(rows, dtype=np.intp)


def regret(known: Array, predicted: Array, found: Array) -> float:
    """Hypervolume that a batch was predicted to add and did not, as a share of what there is now.

    Args:
        known: Feasible fitness before the batch, (k, m).
        predicted: Of the rows of the batch that were predicted to be feasible, (p, m).
        found: Of the feasible rows of the batch, (q, m).

    Returns:
        Negative where the batch was better than predicted; 0 where nothing feasible was found yet.
    """
    return growth(np.concatenate([known, found]), np.concatenate([known, predicted]))


def growth(before: Array, after: Array) -> float:
    """Hypervolume that some rows have over others, as a share of the others'; 0 without others.

    Args:
        before: Fitness, (k, m).
        after: Fitness, (n, m). The box is that of the front of both.
    """
    if not len(before):
        return 0.0
    front = _front(np.concatenate([before, after]))
    low, high = front.min(axis=0), front.max(axis=0)
    volume = unit_hypervolume(before, low, high)
    return (unit_hypervolume(after, low, high) - volume) / volume if volume else 0.0


def _front(fitness: Array) -> Array:
    return fitness[nondominated(fitness)] if len(fitness) else fitness


def agreement(predicted: Array, found: Array) -> float:
    """Least rank correlation (Spearman) of an objective; 1 where there is too little to tell.

    Args:
        predicted: Shape (n, at least m).
        found: Shape (n, m).
    """
    if len(found) < FEWEST:
        return 1.0
    pairs = zip(predicted.T, found.T, strict=False)
    told = [rank_correlation(one, two) for one, two in pairs]
    return min([r for r in told if np.isfinite(r)], default=1.0)
