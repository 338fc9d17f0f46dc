"""Steepest descent in cost for loss, one gene at a time: the greedy yardstick."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators import Bounds
from operators.discrete import DISCRETE

from ..genomes import Genomes
from ..problem import Array
from . import Population, Settings, read_extra
from .baselines import Kept
from .guard import FAILED
from .nursery import Nursery

Step = tuple[str, int, int]  # part, gene, and 1 for up or -1 for down


class Greedy:
    """From an untouched start, always the step with the least rise in loss per fall in cost.

    Loss is the first objective; cost is the sum of the others, each scaled by the range met so
    far. With one objective, the step with the largest fall is taken. Starts at the first warm
    start, else with every gene at its low bound. Each round judges all one-step changes of the
    present genome: one level up or down for ordered genes, every other value for unordered ones,
    and, for real and subset parts, as many random mutants as the part has genes. Steps that did
    not lower the cost are not tried again in the same descent. Where no step helps, a new descent
    starts at a random genome. A step must not raise the violation.
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
        self._useless: set[Step] = set()
        self._visited: set[bytes] = set()
        self._here = self._around = self._queue = nursery.nothing()
        self._steps: list[Step | None] = []

    @property
    def population(self) -> Population:
        """The best candidates so far."""
        return self._kept.population

    def ask(self) -> Genomes:
        """The next neighbours to judge, at most one population of them."""
        while len(self._queue) == 0:
            if not self._descend() and not self._restart():
                return self._nursery.nothing()
        batch = self._queue.take(slice(self._size))
        self._queue = self._queue.take(slice(self._size, None))
        return batch

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Remember the values."""
        self._kept.add(genomes, fitness, violation)
        for key, values, penalty in zip(genomes.keys(), fitness, violation, strict=True):
            self._known[key] = values, float(penalty)
        good = fitness[violation < FAILED]
        self._low = np.minimum(self._low, good.min(axis=0, initial=np.inf))
        self._high = np.maximum(self._high, good.max(axis=0, initial=-np.inf))

    def _descend(self) -> bool:
        """Take the best step of the judged round; False when none helps."""
        if len(self._here) == 0:
            return False
        (values, penalty), keys = self._known[self._here.keys()[0]], self._around.keys()
        if penalty >= FAILED or not keys:
            return False
        rise, fall = self._changes(values, np.stack([self._known[k][0] for k in keys]))
        worse = np.array([self._known[k][1] > penalty for k in keys])
        seen = np.array([k in self._visited for k in keys])
        self._useless |= {s for s, f in zip(self._steps, fall, strict=True) if s and f <= 0}
        helps = np.flatnonzero((fall > 0) & ~worse & ~seen)
        if helps.size == 0:
            return False
        self._move(self._around.take([helps[(rise[helps] / fall[helps]).argmin()]]))
        return True

    def _restart(self) -> bool:
        """Begin a new descent; False when no new start can be found."""
        if self._known:
            start = self._nursery.offspring(1, self._nursery.sample)
        else:
            start = self._nursery.initial(1, self._untouched())
        if len(start) == 0:
            return False
        self._useless, self._visited, self._queue = set(), set(), start
        self._move(start)
        return True

    def _move(self, here: Genomes) -> None:
        self._here = here
        self._visited.add(here.keys()[0])
        self._steps, self._around = self._neighbours(here)
        self._queue = Genomes.concat(self._queue, self._nursery.fresh(self._around))

    def _changes(self, here: Array, there: Array) -> tuple[Array, Array]:
        """Rise in loss and fall in cost of each neighbour, both shape (n,)."""
        if len(here) == 1:
            fall = here[0] - there[:, 0]
            return -(fall**2), fall  # rise per fall is then least where the fall is largest
        extent = np.where(self._high > self._low, self._high - self._low, 1.0)
        change = (there - here) / extent
        return change[:, 0], -change[:, 1:].sum(axis=1)

    def _untouched(self) -> Genomes:
        space = self._nursery.space
        return space.repair(
            Genomes({p.name: p.bounds.low[None].astype(p.dtype) for p in space.parts})
        )

    def _neighbours(self, here: Genomes) -> tuple[list[Step | None], Genomes]:
        steps: list[Step | None] = []
        found: list[Genomes] = [self._nursery.nothing()]
        for part in self._nursery.space.parts:
            row = here[part.name]
            if part.kind in DISCRETE:
                moves = [
                    (s, gene, value)
                    for s, gene, value in _one_step(part.name, row[0], part.bounds)
                    if s not in self._useless
                ]
                changed = np.repeat(row, len(moves), axis=0)
                for i, (_, gene, value) in enumerate(moves):
                    changed[i, gene] = value
                steps += [step for step, _, _ in moves]
            else:
                changed = self._mutants(part.name, row, part.bounds)
                steps += [None] * len(changed)
            others = {name: np.repeat(v, len(changed), axis=0) for name, v in here.parts.items()}
            found.append(Genomes({**others, part.name: changed}))
        return steps, self._nursery.space.repair(Genomes.concat(*found))

    def _mutants(self, name: str, row: NDArray[Any], bounds: Bounds) -> NDArray[Any]:
        mutation = self._nursery.variation.mutation[name]
        return mutation(np.repeat(row, row.shape[1], axis=0), bounds, self._nursery.rng)


def _one_step(name: str, row: NDArray[Any], bounds: Bounds) -> list[tuple[Step | None, int, int]]:
    """Every (step, gene, new value) one step away; steps of unordered genes have no direction."""
    moves: list[tuple[Step | None, int, int]] = []
    for gene, (value, low, high) in enumerate(
        zip(row.astype(int), bounds.low.astype(int), bounds.high.astype(int), strict=True)
    ):
        if bounds.ordered[gene]:
            ends = [(1, value + 1), (-1, value - 1)]
            moves += [((name, gene, sign), gene, v) for sign, v in ends if low <= v <= high]
        else:
            moves += [(None, gene, v) for v in range(low, high + 1) if v != value]
    return moves
