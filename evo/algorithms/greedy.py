"""Lazy greedy descent, the change that costs least loss per saving first: the greedy yardstick.

Sources: Minoux, *Accelerated greedy algorithms for maximizing submodular set functions*, 1978, and
Leskovec et al., *Cost-effective outbreak detection in networks* (CELF), 2007: a gain measured
earlier ranks the changes, and only the best ones are measured again before one is taken.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import count, cycle

import numpy as np
from numpy.typing import NDArray

from operators import Bounds

from ..genomes import Genomes
from ..problem import Array
from . import Population, Settings, read_extra
from .baselines import Kept
from .guard import FAILED
from .nursery import Nursery

Gene = tuple[str, int]  # part and position
Move = tuple[Gene, float]  # the gene takes this value

QUARTERS = np.linspace(0.0, 1.0, 5)  # where ordered genes are measured at first
MOST_LEVELS = 17  # ordered genes with more values move between their quarters only
PATIENCE = 8  # rounds of measuring again at one genome before the best measured change is taken
HEAVY = 0.7  # share of the cost that counts most; all costs divide the rest
DIGITS = 12  # of prices; where they tie, as interpolated ones do, the smaller step is taken
FLAT = 1e-12  # smallest saving, as a share of the range of the cost


class Greedy:
    """Descents from the untouched genome to the smallest, by loss per cost saved.

    Loss is the first objective; cost is a weighted sum of the others, each scaled by the range met
    so far. A move gives one gene any other value, so that a removal in one go competes with a
    removal level by level. The start is the first warm start, else every gene at its low bound.

    First every gene is measured there: at all values, or at the quarters of its range if it is
    ordered. These effects rank the moves, as if they added up; values between measured ones are
    interpolated. At each genome the best move is measured again until the best is one measured
    there, or ``PATIENCE`` rounds have passed; then the best measured one is taken. Moves that lower
    the loss come first, then those with the least rise in loss per fall in cost; a move must lower
    the cost and must not raise the violation. With one objective its fall alone counts.

    At the bottom a new descent begins at the same start: the first moves between quarters, to cross
    the whole front early, the next through all values, then each cost in turn counts most. These
    are repeated with the 4, 16, … best moves measured at every genome, at last all: then it is no
    longer lazy. After that, descents begin at random genomes. Nothing is measured twice. Subset
    parts have no moves, but random mutants at each genome, as many as they have genes.
    """

    def __init__(
        self, nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
    ) -> None:
        read_extra(settings, "greedy", {})
        self._nursery, self._size = nursery, settings.population
        self._kept = Kept(nursery, n_objectives, settings.population)
        self._known: dict[bytes, tuple[Array, float]] = {}
        self._low = np.full(n_objectives, np.inf)
        self._high = np.full(n_objectives, -np.inf)
        self._bounds = {p.name: p.bounds for p in nursery.space.parts if p.kind != "subset"}
        self._effects: dict[Gene, dict[float, Array]] = {}  # value → fitness, up to a constant
        self._batches = self._search()

    @property
    def population(self) -> Population:
        """The best candidates so far."""
        return self._kept.population

    def ask(self) -> Genomes:
        """The next genomes to measure, at most one population of them and often a single one."""
        return next(self._batches)

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Remember the values."""
        self._kept.add(genomes, fitness, violation)
        for key, values, penalty in zip(genomes.keys(), fitness, violation, strict=True):
            self._known[key] = values, float(penalty)
        good = fitness[violation < FAILED]
        self._low = np.minimum(self._low, good.min(axis=0, initial=np.inf))
        self._high = np.maximum(self._high, good.max(axis=0, initial=-np.inf))

    def _search(self) -> Iterator[Genomes]:
        """All batches; what was yielded has been told when the next one is wanted."""
        space = self._nursery.space
        low = Genomes({p.name: p.bounds.low[None].astype(p.dtype) for p in space.parts})
        start = self._nursery.initial(1, low)
        scan = self._changed(start, self._moves(start, first=True))
        yield from self._cut(Genomes.concat(start, self._nursery.fresh(scan)))
        weightings = _weightings(len(self._low))
        yield from self._descend(start, weightings[0], 1, coarse=True)
        breadth, most = 1, max(1, len(self._moves(start)))
        while breadth < 4 * most:
            for weights in weightings:
                yield from self._descend(start, weights, breadth)
            breadth *= 4
        for weights in cycle(weightings):
            yield (start := self._nursery.offspring(1, self._nursery.sample))
            if len(start):  # else the space is used up
                yield from self._descend(start, weights, 1)

    def _descend(
        self, here: Genomes, weights: Array, breadth: int, coarse: bool = False
    ) -> Iterator[Genomes]:
        """Take one move after another until none helps."""
        if self._known[here.keys()[0]][1] >= FAILED:
            return
        if not self._effects:
            first = self._moves(here, first=True)
            self._effects = {gene: {_now(here, gene): np.zeros_like(weights)} for gene, _ in first}
            yield from self._measure(self._changed(here, first))
        extent = np.where(self._high > self._low, self._high - self._low, 1.0)
        broken: set[Move] = set()  # failed in this descent
        chosen: Genomes | None = here
        while chosen is not None:
            chosen = yield from self._step(chosen, weights / extent, breadth, broken, coarse)

    def _step(
        self, here: Genomes, weights: Array, breadth: int, broken: set[Move], coarse: bool
    ) -> Generator[Genomes, None, Genomes | None]:
        """Measure until the ``breadth`` best moves are up to date; the best of them, if any."""
        mutants = self._mutants(here)
        yield from self._measure(mutants)
        moves = self._moves(here, first=coarse)
        around = Genomes.concat(self._changed(here, moves), mutants)
        keys = around.keys()
        for rounds in count():
            change, fresh = self._changes(here, moves, keys, broken)
            order = _order(change, weights)
            stale = ~fresh[order]
            if not stale[:breadth].any() or (rounds >= PATIENCE and not stale.all()):
                return around.take(order[~stale][:1]) if not stale.all() else None
            yield from self._measure(around.take(order[stale][:breadth]))

    def _measure(self, genomes: Genomes) -> Iterator[Genomes]:
        """Those rows that were never asked for, in batches."""
        return self._cut(self._nursery.fresh(genomes))

    def _cut(self, genomes: Genomes) -> Iterator[Genomes]:
        """Batches of at most one population."""
        for first in range(0, len(genomes), self._size):
            yield genomes.take(slice(first, first + self._size))

    def _changes(
        self, here: Genomes, moves: list[Move], keys: list[bytes], broken: set[Move]
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Change of fitness by each neighbour, (n, m), NaN where not allowed; and which are known.

        Neighbours by a move come first; what is known of one becomes the effect of its move.
        """
        values, penalty = self._known[here.keys()[0]]
        change = np.full((len(keys), len(values)), np.nan)
        fresh = np.array([key in self._known for key in keys], dtype=np.bool_)
        for i in np.flatnonzero(fresh):
            there, worse = self._known[keys[i]]
            if worse >= FAILED:
                broken.update(moves[i : i + 1])
                continue
            if i < len(moves):
                gene, value = moves[i]
                self._effects[gene][value] = self._effect(gene, _now(here, gene)) + there - values
            if worse <= penalty:
                change[i] = there - values
        for i in np.flatnonzero(~fresh[: len(moves)]):
            gene, value = moves[i]
            if moves[i] not in broken:
                change[i] = self._effect(gene, value) - self._effect(gene, _now(here, gene))
        return change, fresh

    def _effect(self, gene: Gene, value: float) -> Array:
        """What a value does to the fitness, (m,), up to a constant per gene.

        Between measured values of an ordered gene it is interpolated; for others it is their mean.
        """
        known = self._effects[gene]
        if value in known:
            return known[value]
        if not self._bounds[gene[0]].ordered[gene[1]]:
            return np.array([known[v] for v in sorted(known)]).mean(axis=0)
        below = max((v for v in known if v < value), default=None)
        above = min((v for v in known if v > value), default=None)
        if below is None:
            return known[min(known)]
        if above is None:
            return known[below]
        share = (value - below) / (above - below)
        return known[below] + share * (known[above] - known[below])

    def _moves(self, here: Genomes, *, first: bool = False) -> list[Move]:
        """Other values of every gene; only the ones to be measured first, if asked for."""
        return [
            ((name, i), value)
            for name, bounds in self._bounds.items()
            for i in range(len(bounds))
            for value in _values(bounds, i, first)
            if value != _now(here, (name, i))
        ]

    def _changed(self, here: Genomes, moves: list[Move]) -> Genomes:
        """One legal neighbour per move."""
        rows = {name: values.repeat(len(moves), axis=0) for name, values in here.parts.items()}
        for row, ((name, i), value) in enumerate(moves):
            rows[name][row, i] = value
        return self._nursery.space.repair(Genomes(rows))

    def _mutants(self, here: Genomes) -> Genomes:
        """Random neighbours in the subset parts."""
        found = [self._nursery.nothing()]
        for part in self._nursery.space.parts:
            if part.name in self._bounds:
                continue
            rows = here.take([0] * part.shape[0])
            mutate = self._nursery.variation.mutation[part.name]
            mutated = mutate(rows[part.name], part.bounds, self._nursery.rng)
            found.append(Genomes({**rows.parts, part.name: mutated}))
        return self._nursery.space.repair(Genomes.concat(*found))


def _now(here: Genomes, gene: Gene) -> float:
    return float(here[gene[0]][0, gene[1]])


def _values(bounds: Bounds, i: int, first: bool) -> list[float]:
    """Values a gene moves between, ascending: all, or the quarters of its range."""
    low, high = float(bounds.low[i]), float(bounds.high[i])
    whole = not np.issubdtype(bounds.low.dtype, np.floating)
    if whole and (not bounds.ordered[i] or (not first and high - low < MOST_LEVELS)):
        return np.arange(low, high + 1).tolist()
    marks = low + (high - low) * QUARTERS
    return sorted(set((np.floor(marks + 0.5) if whole else marks).tolist()))


def _weightings(m: int) -> list[Array]:
    """Weights of loss and costs: all costs alike, then each of them heavy in turn; shape (m,)."""
    if m < 3:
        return [np.ones(m)]
    heavy = HEAVY * np.eye(m - 1) + (1.0 - HEAVY) / (m - 1)
    return [np.r_[1.0, costs] for costs in (heavy.mean(axis=0), *heavy)]


def _order(change: Array, weights: Array) -> NDArray[np.intp]:
    """Neighbours that save something, best first, given their changes of fitness, (n, m) or NaN."""
    scaled = change * weights
    rise = scaled[:, 0]
    fall = -scaled[:, 1:].sum(axis=1) if len(weights) > 1 else -rise
    useful = np.flatnonzero(fall > FLAT)  # not NaN
    rise, fall = rise[useful], fall[useful]
    price = np.where(rise > 0, rise / fall, rise).round(DIGITS)
    return useful[np.lexsort((np.where(rise > 0, fall, -fall), price))]
